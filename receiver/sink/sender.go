package sink

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"
)

const (
	// passConcurrency is how many requests of one batch are under way at once.
	sendConcurrency = 32
	// forgetAfter is how long a sink that nothing was sent to is remembered.
	idleLimiterTimeout = 10 * time.Minute
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
	OrderKey string // those with the same, unless it is empty, are delivered one after the other
	State    State
	Attempts int   // how often it was sent to the sink, not counting trials of a sink that does not work
	Err      error // of the last attempt; nil while it waits for one before it
	// DeadLetterErr is why the dead letter sink did not accept it, and DeadLetterAttempts how often it did not.
	DeadLetterErr      error
	DeadLetterAttempts int
}

// Settled tells whether nothing is left to be done.
func (i *Item) Settled() bool { return i.State.settled() }

// Sender delivers events, and knows of each sink how much it can bear. It is safe for concurrent use.
type Sender struct {
	poster      Poster
	concurrency int
	metrics     *Metrics

	mu       sync.Mutex // guards what follows
	limiters map[[sha256.Size]byte]*sinkLimiter
	swept    time.Time
}

// Options configures a [Sender].
type Options struct {
	Poster      Poster   // default: a Client
	Concurrency int      // requests to one sink at the same time; default DefaultConcurrency
	Metrics     *Metrics // default: not registered
}

// NewSender returns a sender.
func NewSender(options Options) *Sender {
	s := &Sender{poster: options.Poster, concurrency: options.Concurrency, metrics: options.Metrics, limiters: map[[sha256.Size]byte]*sinkLimiter{}, swept: time.Now()}
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
func (s *Sender) SendOnce(ctx context.Context, delivery Delivery, items []*Item) {
	s.SendUntil(ctx, delivery, items, func([]*Item) bool { return true })
}

// PassWhile is a Pass that can be cut short: whenever something is over, more is told of it and says whether to begin
// anything else. Of an item that fails those are over too that it keeps back. It may be called by several at once.
func (s *Sender) SendUntil(ctx context.Context, delivery Delivery, items []*Item, more func(over []*Item) bool) {
	var group errgroup.Group
	group.SetLimit(sendConcurrency)
	var enough atomic.Bool
	for train := range sequences(delivery.Mode, items) {
		if ctx.Err() != nil || enough.Load() {
			break
		}
		group.Go(func() error {
			for onward := true; onward && len(train) > 0 && !enough.Load(); {
				onward = s.send(ctx, delivery, train[0])
				over := train[0].items
				if train = train[1:]; !onward {
					for _, kept := range train {
						over = append(over, kept.items...)
					}
				}
				if !more(over) {
					enough.Store(true)
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
		pause = max(pause, d.pause(item.Err, item.Attempts))
	}
	return pause, again
}

// Pause is how long an item that is not settled has to wait for its next attempt.
func (d Delivery) Pause(item *Item) time.Duration {
	if item.State == Pending {
		return d.pause(item.Err, item.Attempts)
	}
	return d.pause(item.DeadLetterErr, item.DeadLetterAttempts)
}

func (d Delivery) pause(err error, attempts int) time.Duration {
	pause := asError(err).After
	if err != nil && attempts > 0 && d.Retry != nil {
		pause = max(pause, d.Retry.delay(attempts))
	}
	return pause
}

// Pause is how long nothing need be prepared for a sink, because it would not be sent. While a sink does not work it is
// one caller a second who may try.
func (s *Sender) BlockedFor(target Target) time.Duration { return s.limiterFor(target).blockedFor() }

// deliver sends a request and tells whether what comes after it in its train may be sent.
func (s *Sender) send(ctx context.Context, delivery Delivery, next request) bool {
	if next.items[0].State == Pending { // so are the others: whatever is for the dead letter sink is alone
		err, counts := next.err, true
		if err != nil {
			err = &Error{Err: err, final: true}
		} else {
			counts, err = s.post(ctx, delivery.Target, delivery.Mode, next.payload)
		}
		for _, item := range next.items {
			item.record(err, counts, delivery)
		}
	}
	onward := true
	for _, item := range next.items {
		if (item.State == Refused || item.State == Exhausted) && delivery.DeadLetter != nil {
			s.sendDeadLetter(ctx, delivery, item)
		}
		if item.State == Pending || item.State == Exhausted { // it may still be accepted
			onward = false
		}
	}
	return onward
}

// record takes note of an attempt.
func (i *Item) record(err error, counts bool, delivery Delivery) {
	i.Err = err
	if counts {
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
func (s *Sender) sendDeadLetter(ctx context.Context, delivery Delivery, item *Item) {
	counts := true
	payload, err := binary(deadLetter(delivery.URI, item))
	if err == nil {
		counts, err = s.post(ctx, *delivery.DeadLetter, Binary, payload)
	}
	item.DeadLetterErr = err
	if err != nil && counts {
		item.DeadLetterAttempts++
	}
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
	status, said := Describe(item.Err)
	if status != 0 {
		event.SetExtension("knativeerrorcode", strconv.Itoa(status))
	}
	if said != "" {
		event.SetExtension("knativeerrordata", said)
	}
	return &event
}

// Describe says why a sink did not accept an event: with what status and what words it answered or, without an answer, in
// a word of ours. The words are for dead letters, and not for logs.
func Describe(err error) (status int, said string) {
	failure := asError(err)
	if failure.Status == 0 && failure.Answer == "" {
		return 0, outcomeOf(err) // the cause may have addresses
	}
	return failure.Status, failure.Answer
}

// post makes a request when the sink can bear it, and tells whether it counts as an attempt: what was not sent does not,
// and neither does what was sent to see whether the sink works again and was not accepted.
func (s *Sender) post(ctx context.Context, target Target, mode ContentMode, payload Payload) (counts bool, err error) {
	gate := s.limiterFor(target)
	trial, err := gate.Acquire(ctx)
	if err != nil {
		return false, err
	}
	begin := time.Now()
	err = s.poster.Post(ctx, target, payload)
	took := time.Since(begin)
	// That the batch's time was over says nothing of the sink, unless it had a good part of its own.
	cut := ctx.Err() != nil && (errors.Is(ctx.Err(), context.Canceled) || took < target.Timeout/2)
	gate.Release(trial, err, cut && err != nil)
	label, outcome := string(cmp.Or(mode, Binary)), outcomeOf(err)
	if cut && err != nil {
		outcome = "aborted"
	}
	s.metrics.attempts.WithLabelValues(label, outcome).Inc()
	s.metrics.duration.WithLabelValues(label).Observe(took.Seconds())
	return !trial || !Temporary(err), err
}

// gate returns that of a sink.
func (s *Sender) limiterFor(target Target) *sinkLimiter {
	key := sha256.Sum256([]byte(target.URI + "\x00" + target.CACerts + "\x00" + target.Audience))
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.swept) > idleLimiterTimeout {
		s.swept = now
		for key, gate := range s.limiters {
			if gate.forgettable(now) {
				delete(s.limiters, key)
			}
		}
	}
	found, ok := s.limiters[key]
	if !ok {
		found = newSinkLimiter(s.concurrency, s.metrics)
		s.limiters[key] = found
	}
	return found
}
