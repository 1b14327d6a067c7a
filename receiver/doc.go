// Package receiver turns Mandrill's signed POSTs into CloudEvents. It knows nothing of Kubernetes.
//
// A request goes through [Handler.ServeHTTP]: accept (route, method, body), verify (signature), split (the
// batch into events), deliver (one CloudEvent each). Every refusal is an [Error] of a [Kind], and one table
// says which status, outcome and log level a kind has.
package receiver
