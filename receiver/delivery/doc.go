// Package delivery keeps the state of delivery of each webhook: what was received and delivered, whether its sink fails and why,
// what waits, and what was given up. The report to the operator, /status, the metrics by webhook and the lines of the log about
// sinks are four views of it.
//
// A [State] has a [Webhook] for each webhook that has a route, and forgets it with the route. The path of a batch updates counters
// without a lock; only a failed attempt, and the first success after one, takes the lock of its webhook. What waits and what is
// held as dead letters belongs to the buffer, and is asked for when somebody looks.
//
// Nothing here can delay or change a delivery: no method waits for anybody.
package delivery
