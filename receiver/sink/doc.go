// Package sink delivers CloudEvents to HTTP sinks.
//
// A [Sender] takes the items of one or more batches and makes one attempt for each ([Sender.SendOnce], or
// [Sender.SendUntil] to stop early). It does not wait between attempts: [Delivery.Verdict] tells the caller whether and
// when to try again.
//
// States of an item: Pending until the sink accepts it (Accepted). A permanent error makes it Refused; with a dead letter
// sink, running out of retries makes it Exhausted. Both go to the dead letter sink, if there is one, which makes them
// DeadLettered. Accepted and DeadLettered are final.
//
// Order: items with the same order key form a sequence. A sequence is sent one request after the other, and stops at an
// item that may still be accepted later. Sequences are sent concurrently.
//
// Circuit: all batches of a webhook to one sink share a limiter; webhooks that name the same sink share nothing. It bounds the
// requests in flight (additive increase, multiplicative decrease), honours Retry-After, and opens the circuit after ten
// failures in a row. An open circuit lets one circuit probe at a time through, after a pause that doubles with each failed
// probe. A failed probe does not count as an attempt.
package sink
