// Package receiver answers at webhook URLs. It turns Mandrill's signed POSTs into stored batches or delivered CloudEvents, and
// knows nothing of Kubernetes.
//
// # The way of a batch
//
//   - accept (accept.go, bodyreader.go): find the routes for the path, refuse what can be refused without the body, read the
//     body within the memory for bodies (inflight.go) and the time for it (bodydeadline.go), and parse the form.
//   - verify (verify.go): find the route with a key that made the signature over its registered URL.
//   - split (split.go): cut the JSON array into events, byte for byte.
//   - store or deliver: in Buffered mode the batch is stored in the buffer (buffered.go), and 200 means that it is on disk. In
//     Direct mode (direct.go) the events are sent while Mandrill waits, and 200 means that the sink or the dead letter sink
//     has accepted each of them, now or when the batch came before.
//   - answer ([Handler.ServeHTTP]): one place answers, counts and logs. Every refusal is an [Error] of a [Kind], and one table
//     (errors.go) says which status, outcome and log level a kind has.
//
// # The packages
//
//	receiver            HTTP: request to buffer or sink
//	receiver/routing    the routes in use: which webhook a request is for, and where its events go
//	receiver/mapping    events to CloudEvents: types, ids, attributes
//	receiver/sink       requests to sinks: encoding, retries, concurrency, circuit, dead letter sinks
//	receiver/journal    the buffer: batches on disk, progress, dead letters, the lease to deliver
//	receiver/dispatch   delivery from the buffer; runs where the lease is held
//	receiver/admin      health, metrics, dead letters
//	receiver/telemetry  spans and counters that both ways of delivery share
//	receiver/kube       routes from Secrets; the only part that knows Kubernetes
//
// docs/glossary.md explains the words.
package receiver
