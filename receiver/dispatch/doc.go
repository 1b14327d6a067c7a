// Package dispatch delivers the backlog of the buffer to sinks. Of a shared buffer it delivers the partitions that this process holds, each in
// a leadership of its own. They share the memory, the limits of sinks, and what is known of webhooks.
//
// # The way of a batch
//
// A [Dispatcher] has a webhookQueue (queue.go) for each webhook with a backlog, and webhooks do not wait for each other. A
// queue works in cycles (cycle.go), each of three phases:
//
//   - load (load.go) reads the batches that are due again, and new ones, as far as the cycle and the memory allow.
//   - send (send.go) chooses the events that are due and first of their message, and hands them to the [Sender].
//   - settle (settle.go) saves the progress of each batch as soon as none of its events is in flight: Ack removes a batch
//     that is done, Requeue stores the remaining events in its place, DeadLetter keeps events that are given up.
//
// A cycle loads while the one before it sends, and sends while the last batches of that one are acknowledged, after which its own are.
// It starts no more requests after a second, so that one event that hangs delays its own batch alone, and a crash repeats about a
// second of deliveries.
//
// # Order
//
// Events of one message (_id) go out in the order in which they came. orderIndex (order.go) holds that order: for each
// message the batches with events of it, oldest first. An event is sent when its batch is the first of its message, or when
// the batches before it are in the same cycle, where the sender keeps the order, or have all their events accepted. An event
// that fails keeps back the later ones of its message, in this cycle and in the next.
//
// # Failure
//
// An error of the buffer ends [Dispatcher.Run]; the journal calls it again when the buffer works. On a planned stop only the
// context of Run ends: no further request starts, those under way get drainTime, and their progress is saved. When the lease
// is lost, [Consumer.LeaseContext] ends too: requests are cancelled and nothing is saved (see "When the lease is lost" in
// package journal). While the buffer is too full to save progress, progress stays in memory (unsaved) and the number of such
// batches is bounded.
//
// # Locks
//
// leadership.mu guards the set of queues and is taken before webhookQueue.mu, which guards the queue, its orderIndex and the
// batches in it. A cycle owns what it has loaded; its goroutine alone uses it.
//
// # Batches that end the process
//
// While a batch is loaded or mapped, or a large event of it is encoded, it is in the record of package quarantine. A batch that ended
// the process several times in a row is set aside before anything is read (quarantine.go).
//
// # Deleted webhooks
//
// The backlog of a webhook without a route is kept for the retention and then becomes dead letters (deleted.go).
package dispatch
