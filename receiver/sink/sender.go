package sink

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"strconv"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"
)

const (
	// passConcurrency is how many requests of one batch are under way at once.
	passConcurrency = 32
	// forgetAfter is how long a sink that nothing was sent to is remembered.
	forgetAfter = 10 * time.Minute
)

// Poster makes one request to a sink. [Client] is one.
type Poster interface {
	Post(ctx context.Context, target Target, payload Payload) error
}

// Delivery says how events are sent to a sink.
type Delivery struct {
	Target
	Mode       ContentMode
	Retry      *Retry  // nil: no retries, and events that keep failing are not for the dead letter sink
	DeadLetter *Target // nil: none
}

// State is what has become of an event.
type State int

// The states of an event. Refused and Exhausted ones are tried at the dead letter sink again, where there is one.
const (
	Pending      State = iota // not accepted yet
	Refused                   // the sink will never accept it
	Exhausted                 // its retries are used up
	Accepted                  // the sink accepted it
	DeadLettered              // the dead letter sink accepted it
)

func (s State) settled() bool { return s == Accepted || s == DeadLettered }

// Item is an event to be delivered, and how far that has come.
type Item struct {
	Event    *cloudevents.Event
	Order    string // those with the same, unless it is empty, are delivered one after the other
	State    State
	Attempts int   // how often it was sent to the sink
	Err      error // of the last attempt; nil while it waits for one before it
	// DeadLetterErr is why the dead letter sink did not accept it.
	DeadLetterErr error
}

// Settled tells whether nothing is left to be done.
func (i *Item) Settled() bool { return i.State.settled() }

// Sender delivers events, and knows of each sink how much it can bear. It is safe for concurrent use.
type Sender struct {
	poster      Poster
	concurrency int
	metrics     *Metrics

	mu    sync.Mutex // guards what follows
	gates map[[sha256.Size]byte]*gate
	swept time.Time
}

// Options configures a [Sender].
type Options struct {
	Poster      Poster   // default: a Client
	Concurrency int      // requests to one sink at the same time; default DefaultConcurrency
	Metrics     *Metrics // default: not registered
}

// NewSender returns a sender.
func NewSender(options Options) *Sender {
	s := &Sender{poster: options.Poster, concurrency: options.Concurrency, metrics: options.Metrics, gates: map[[sha256.Size]byte]*gate{}, swept: time.Now()}
	if s.poster == nil {
		s.poster = &Client{}
	}
	if s.concurrency == 0 {
		s.concurrency = DefaultConcurrency
	}
	if s.metrics == nil {
		s.metrics = NewMetrics(nil)
	}
	return s
}

// Pass makes one attempt for each item that is not settled, and takes those that the sink will not get to the dead
// letter sink. An item that fails keeps those of its order back. Pass returns when every attempt is over.
func (s *Sender) Pass(ctx context.Context, delivery Delivery, items []*Item) {
	var group errgroup.Group
	group.SetLimit(passConcurrency)
	for train := range trains(delivery.Mode, items) {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			for _, next := range train {
				if !s.deliver(ctx, delivery, next) {
					break
				}
			}
			return nil
		})
	}
	_ = group.Wait()
}

// Next tells whether another pass may bring items further, and after which pause.
func (d Delivery) Next(items []*Item) (pause time.Duration, again bool) {
	for _, item := range items {
		if item.State != Pending || item.Err == nil || d.Retry == nil || item.Attempts > d.Retry.Max {
			continue
		}
		again = true
		pause = max(pause, details(item.Err).After)
		if item.Attempts > 0 {
			pause = max(pause, d.Retry.delay(item.Attempts))
		}
	}
	return pause, again
}

// deliver sends a request and tells whether what comes after it in its train may be sent.
func (s *Sender) deliver(ctx context.Context, delivery Delivery, next request) bool {
	if next.items[0].State == Pending { // so are the others: whatever is for the dead letter sink is alone
		err := next.err
		if err != nil {
			err = &Error{Err: err, final: true}
		} else {
			err = s.post(ctx, delivery.Target, delivery.Mode, next.payload)
		}
		for _, item := range next.items {
			item.record(err, delivery)
		}
	}
	onward := true
	for _, item := range next.items {
		if (item.State == Refused || item.State == Exhausted) && delivery.DeadLetter != nil {
			s.bury(ctx, delivery, item)
		}
		if item.State == Pending || item.State == Exhausted { // it may still be accepted
			onward = false
		}
	}
	return onward
}

// record takes note of an attempt.
func (i *Item) record(err error, delivery Delivery) {
	i.Err = err
	if !details(err).unsent {
		i.Attempts++
	}
	switch {
	case err == nil:
		i.State = Accepted
	case !Temporary(err):
		i.State = Refused
	case delivery.Retry != nil && delivery.DeadLetter != nil && i.Attempts > delivery.Retry.Max:
		i.State = Exhausted
	}
}

// bury sends an item to the dead letter sink.
func (s *Sender) bury(ctx context.Context, delivery Delivery, item *Item) {
	payload, err := binary(deadLetter(delivery.URI, item))
	if err == nil {
		err = s.post(ctx, *delivery.DeadLetter, Binary, payload)
	}
	item.DeadLetterErr = err
	if err != nil {
		s.metrics.deadLetters.WithLabelValues("failed").Inc()
		return
	}
	s.metrics.deadLetters.WithLabelValues("accepted").Inc()
	item.State = DeadLettered
}

// deadLetter is an item's event with what Knative says in a dead letter.
func deadLetter(uri string, item *Item) *cloudevents.Event {
	event := *item.Event
	event.Context = item.Event.Context.Clone()
	if destination, err := url.Parse(uri); err == nil {
		destination.User, destination.RawQuery, destination.ForceQuery, destination.Fragment = nil, "", false, "" // may be secret
		event.SetExtension("knativeerrordest", destination.String())
	}
	failure := details(item.Err)
	said := failure.Answer
	if failure.Status != 0 {
		event.SetExtension("knativeerrorcode", strconv.Itoa(failure.Status))
	} else {
		said = outcomeOf(item.Err) // the cause may have addresses
	}
	if said != "" {
		event.SetExtension("knativeerrordata", said)
	}
	return &event
}

// post makes a request when the sink can bear it.
func (s *Sender) post(ctx context.Context, target Target, mode ContentMode, payload Payload) error {
	gate := s.gate(target)
	trial, err := gate.enter(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = s.poster.Post(ctx, target, payload)
	took := time.Since(begin)
	// That the batch's time was over says nothing of the sink, unless it had a good part of its own.
	cut := ctx.Err() != nil && (errors.Is(ctx.Err(), context.Canceled) || took < target.Timeout/2)
	gate.leave(trial, err, cut && err != nil)
	label, outcome := string(cmp.Or(mode, Binary)), outcomeOf(err)
	if cut && err != nil {
		outcome = "aborted"
	}
	s.metrics.attempts.WithLabelValues(label, outcome).Inc()
	s.metrics.duration.WithLabelValues(label).Observe(took.Seconds())
	return err
}

// gate returns that of a sink.
func (s *Sender) gate(target Target) *gate {
	key := sha256.Sum256([]byte(target.URI + "\x00" + target.CACerts + "\x00" + target.Audience))
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.swept) > forgetAfter {
		s.swept = now
		for key, gate := range s.gates {
			if gate.forget(now) {
				delete(s.gates, key)
			}
		}
	}
	found, ok := s.gates[key]
	if !ok {
		found = newGate(s.concurrency, s.metrics)
		s.gates[key] = found
	}
	return found
}
