package sink

import "github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"

// Delivery says how events are sent to a sink.
type Delivery struct {
	Target
	Mode       ContentMode
	Retry      *Retry  // nil: no retries, and events that keep failing do not go to the dead letter sink
	DeadLetter *Target // nil: no dead letter sink
}

// State is how far the delivery of an event has come.
type State int

// The states of an event.
const (
	Pending      State = iota // not accepted yet
	Refused                   // the sink will never accept it; only the dead letter sink is left
	Exhausted                 // its retries are used up; only the dead letter sink is left
	Accepted                  // the sink accepted it
	DeadLettered              // the dead letter sink accepted it
)

func (s State) settled() bool { return s == Accepted || s == DeadLettered }

// Item is an event to deliver, with its progress.
type Item struct {
	Event    *cloudevent.Event
	OrderKey string // items with the same key are delivered one after the other; empty: in any order
	State    State
	Attempts int   // requests to the sink that count as attempts: failed probes do not
	Err      error // of the last attempt; nil before the first, and while the item waits for an earlier one
	// DeadLetterErr is why the dead letter sink did not accept the item, DeadLetterAttempts how often it did not.
	DeadLetterErr      error
	DeadLetterAttempts int
	// BeforeEncoding is called before the event is encoded, and what it returns afterwards. Nil: nothing is called.
	BeforeEncoding func() (after func())
	// Tag belongs to the caller: it leads from an item back to the caller's own record of the event.
	Tag any
}

// encoding calls do, which encodes the event.
func (i *Item) encoding(do func()) {
	if i.BeforeEncoding == nil {
		do()
		return
	}
	after := i.BeforeEncoding()
	do()
	after() // not deferred: it must not be called when encoding panics
}

// Settled reports whether the sink or the dead letter sink accepted the item.
func (i *Item) Settled() bool { return i.State.settled() }

// record saves the outcome of an attempt at the sink. counts is false for an attempt that must not use up a retry.
func (i *Item) record(err error, counts bool, delivery Delivery) {
	i.Err = err
	if counts {
		i.Attempts++
	}
	if err == nil {
		i.State = Accepted
		return
	}
	switch verdict := delivery.Verdict(i, 0, 0); {
	case verdict.Reason == ReasonRefused:
		i.State = Refused
	case verdict.Action == ActionDeadLetterSink:
		i.State = Exhausted
	}
}
