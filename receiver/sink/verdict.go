package sink

import "time"

// Action is what to do next with an event.
type Action int

// The actions.
const (
	ActionDone           Action = iota // nothing: the sink or the dead letter sink accepted it
	ActionWait                         // send it when its turn comes: it has not been sent, because an earlier event goes first
	ActionRetry                        // send it to the sink again
	ActionDeadLetterSink               // send it to the dead letter sink
	ActionDeadLetter                   // give it up: it becomes a dead letter in the buffer, or fails its batch in mode Direct
)

// Reason says why an event cannot be delivered to its sink.
type Reason string

// The reasons, as dead letters in the buffer show them.
const (
	ReasonRefused   Reason = "refused"   // the sink will never accept it
	ReasonExhausted Reason = "exhausted" // its retries are used up
	ReasonExpired   Reason = "expired"   // it failed for longer than events are tried
)

// Verdict is what to do next with an event.
type Verdict struct {
	Action Action
	After  time.Duration // the pause before ActionRetry or ActionDeadLetterSink
	Reason Reason        // of ActionDeadLetterSink and ActionDeadLetter
}

// Verdict decides what to do next with an item, from its state and its last attempt. Nothing else decides between done,
// retry and dead letter. An item that failed and is older than maxAge is given up; a maxAge of 0 is no limit.
func (d Delivery) Verdict(item *Item, age, maxAge time.Duration) Verdict {
	reason := d.undeliverable(item)
	expired := maxAge > 0 && age > maxAge && (item.Err != nil || item.DeadLetterErr != nil)
	switch {
	case item.Settled():
		return Verdict{Action: ActionDone}
	case reason != "" && !d.deadLetterSinkMayAccept(item, reason):
		return Verdict{Action: ActionDeadLetter, Reason: reason}
	case expired:
		return Verdict{Action: ActionDeadLetter, Reason: ReasonExpired}
	case reason != "":
		return Verdict{Action: ActionDeadLetterSink, Reason: reason, After: d.pause(item.DeadLetterErr, item.DeadLetterAttempts)}
	case item.Err == nil:
		return Verdict{Action: ActionWait}
	}
	return Verdict{Action: ActionRetry, After: d.pause(item.Err, item.Attempts)}
}

// undeliverable returns why the sink must not get an item again; empty if it may.
func (d Delivery) undeliverable(item *Item) Reason {
	retriesUsedUp := d.Retry == nil || item.Attempts > d.Retry.Max
	switch {
	case item.State == Refused:
		return ReasonRefused
	case item.State == Exhausted:
		return ReasonExhausted
	case item.Err == nil:
		// The route may have got fewer retries since the last attempt. With a dead letter sink the item is sent once more.
		if item.Attempts > 0 && retriesUsedUp && d.DeadLetter == nil {
			return ReasonExhausted
		}
		return ""
	case !Temporary(item.Err):
		return ReasonRefused
	case retriesUsedUp:
		return ReasonExhausted
	}
	return ""
}

// deadLetterSinkMayAccept reports whether an item that the sink will not get goes to the dead letter sink, again or for
// the first time. Without Retry only refused items do: the sender of the batch repeats the others.
func (d Delivery) deadLetterSinkMayAccept(item *Item, reason Reason) bool {
	switch {
	case d.DeadLetter == nil:
		return false
	case d.Retry == nil:
		return reason == ReasonRefused
	}
	return item.DeadLetterAttempts <= d.Retry.Max
}

// Next folds the verdicts on the items of a batch that is retried at once: it reports whether a further attempt may deliver
// any of them, and after which pause.
func (d Delivery) Next(items []*Item) (pause time.Duration, again bool) {
	for _, item := range items {
		if verdict := d.Verdict(item, 0, 0); verdict.Action == ActionRetry {
			pause, again = max(pause, verdict.After), true
		}
	}
	return pause, again
}

// pause returns how long to wait after some attempts, the last of which ended with err.
func (d Delivery) pause(err error, attempts int) time.Duration {
	pause := asError(err).After
	if err != nil && attempts > 0 && d.Retry != nil {
		pause = max(pause, d.Retry.delay(attempts))
	}
	return pause
}
