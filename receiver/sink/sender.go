package sink

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

const (
	// sendConcurrency bounds the requests in flight of one call.
	sendConcurrency = 32
	// idleLimiterTimeout is how long the limiter of a webhook and its sink is kept after the last request.
	idleLimiterTimeout = 10 * time.Minute
)

// Poster makes one request to a sink. [Client] implements it.
type Poster interface {
	// Post returns the status of the answer, 0 without one, and an error unless the sink accepted the request. It does not read the
	// payload after it has returned.
	Post(ctx context.Context, target Target, payload Payload) (status int, err error)
}

// Observer is notified of each request to the sink of a webhook that ended. Requests to dead letter sinks, and those that ended
// because the receiver stops, do not count. It must not block.
type Observer interface {
	// Attempted has why the sink did not accept the request, and its status: both are zero if it did. CircuitOpen is the state of
	// the circuit afterwards.
	Attempted(webhook string, reason reports.Reason, status int, circuitOpen bool)
}

// Recorder is notified of each request that ended, with its items as they were before. Requests that ended because the receiver stops
// do not count. It must not block, nor keep or change the items.
type Recorder interface{ Attempted(request Request) }

// Request is a request to a sink that ended.
type Request struct {
	Webhook        string
	Items          []*Item
	DeadLetterSink bool
	Took           time.Duration
	Outcome        string // as the metrics name it
	Reason         string // why the sink did not accept it: one of those of reports
	Status         int
	Answer         string
}

// Sender delivers events, with a limiter for each webhook and sink. It is safe for concurrent use.
type Sender struct {
	poster      Poster
	concurrency int
	metrics     *Metrics
	observer    Observer // nil: none
	recorder    Recorder // nil: none

	mu        sync.Mutex // guards what follows
	limiters  map[limiterKey]*sinkLimiter
	lastSweep time.Time
}

// Options configures a [Sender].
type Options struct {
	Poster      Poster   // default: a Client
	Concurrency int      // requests of one webhook to one sink at the same time; default DefaultConcurrency
	Metrics     *Metrics // default: not registered
	Observer    Observer // nil: none
	Recorder    Recorder // nil: none
}

// NewSender returns a sender.
func NewSender(options Options) *Sender {
	s := &Sender{
		poster: options.Poster, concurrency: options.Concurrency, metrics: options.Metrics, observer: options.Observer, recorder: options.Recorder,
		limiters: map[limiterKey]*sinkLimiter{}, lastSweep: time.Now(),
	}
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

// SendOnce makes one attempt for each item that is not settled, and sends refused and exhausted items to the dead letter
// sink. It returns when all requests have ended.
func (s *Sender) SendOnce(ctx context.Context, delivery Delivery, items []*Item) {
	s.SendUntil(ctx, delivery, items, func([]*Item) bool { return true })
}

// SendUntil is like [Sender.SendOnce], except that it starts no further requests once onDone returns false. It calls
// onDone after each request, with the items that are done for this call: those of the request and, if it stops its
// sequence, the later items of the sequence. onDone may be called concurrently.
func (s *Sender) SendUntil(ctx context.Context, delivery Delivery, items []*Item, onDone func(done []*Item) (goOn bool)) {
	run := &sending{sender: s, ctx: ctx, delivery: delivery, onDone: onDone}
	if delivery.Mode == Batched {
		run.sendBatches(items)
	} else {
		run.sendSingly(groupByOrder(items))
	}
}

// sending is a call of SendUntil.
type sending struct {
	sender   *Sender
	ctx      context.Context //nolint:containedctx // of the call
	delivery Delivery
	onDone   func([]*Item) (goOn bool)
	stopped  atomic.Bool
}

func (r *sending) mayStart() bool { return r.ctx.Err() == nil && !r.stopped.Load() }

// sendBatches sends sequences of requests with several events.
func (r *sending) sendBatches(items []*Item) {
	var group errgroup.Group
	group.SetLimit(sendConcurrency)
	for sequence := range batchSequences(items) {
		if !r.mayStart() {
			break
		}
		group.Go(func() error {
			for i := 0; i < len(sequence) && !r.stopped.Load(); i++ {
				payload := Payload{Fields: []byte(batchedFields), Body: sequence[i].body, Reused: true}
				goOn := r.send(sequence[i].items, payload, func() (done []*Item) {
					for _, later := range sequence[i+1:] {
						done = append(done, later.items...)
					}
					return done
				})
				sequence[i].release()
				if !goOn {
					break
				}
			}
			return nil
		})
	}
	_ = group.Wait()
}

// sendSingly sends groups of events that need an order, each event in a request of its own. Each worker takes the next group when it has
// sent one: no event is handed to another goroutine.
func (r *sending) sendSingly(groups [][]*Item) {
	var next atomic.Int64
	work := func() {
		var buffer []byte
		for i := int(next.Add(1)) - 1; i < len(groups) && r.mayStart(); i = int(next.Add(1)) - 1 {
			buffer = r.sendGroup(groups[i], buffer)
		}
	}
	workers := min(sendConcurrency, len(groups))
	var others sync.WaitGroup
	for range workers - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

// sendGroup sends events one after the other. It returns the buffer, which may have grown.
func (r *sending) sendGroup(group []*Item, buffer []byte) []byte {
	for i, item := range group {
		var payload Payload
		item.encoding(func() { payload = r.delivery.Mode.encode(item.Event, buffer[:0]) })
		buffer = payload.Fields
		if !r.send(group[i:i+1], payload, func() []*Item { return group[i+1:] }) {
			break
		}
	}
	return buffer
}

// send makes a request for some items, and reports whether the rest of their sequence may be sent. If not, the rest is done as well.
func (r *sending) send(items []*Item, payload Payload, rest func() []*Item) (goOn bool) {
	goOn = r.sender.send(r.ctx, r.delivery, items, payload)
	done := items
	if !goOn {
		done = append(done[:len(done):len(done)], rest()...)
	}
	if !r.onDone(done) {
		r.stopped.Store(true)
	}
	return goOn && !r.stopped.Load()
}

// BlockedFor returns for how long requests to a target would be rejected, because its circuit is open or it sent
// Retry-After; 0 if one may be made now. It changes nothing: see [Sender.ClaimProbe].
func (s *Sender) BlockedFor(target Target) time.Duration { return s.limiterFor(target).blockedFor() }

// ClaimProbe reports whether the caller may send to a target. While the circuit is open it lets one caller a second do
// so, which makes the probe; [Sender.BlockedFor] then makes the others wait.
func (s *Sender) ClaimProbe(target Target) bool { return s.limiterFor(target).claimProbe() }

// send makes a request, and sends its items to the dead letter sink if they are for it. It reports whether the rest of
// the sequence may be sent.
func (s *Sender) send(ctx context.Context, delivery Delivery, items []*Item, payload Payload) (goOn bool) {
	// Only pending items share a request: one that is for the dead letter sink is alone in its own.
	if items[0].State == Pending {
		counts, err := s.post(ctx, delivery.Target, delivery.Mode, payload, s.observer, items)
		for _, item := range items {
			item.record(err, counts, delivery)
		}
	}
	goOn = true
	for _, item := range items {
		if (item.State == Refused || item.State == Exhausted) && delivery.DeadLetter != nil {
			s.sendDeadLetter(ctx, delivery, item)
		}
		if item.State == Pending || item.State == Exhausted { // it may still be accepted, and later events must not overtake it
			goOn = false
		}
	}
	return goOn
}

// post makes a request as soon as the limiter of the target admits it. It reports whether the request counts as an
// attempt: one that was not sent does not, nor does a probe that failed. The observer may be nil.
func (s *Sender) post(ctx context.Context, target Target, mode ContentMode, payload Payload, observer Observer, items []*Item) (counts bool, err error) {
	limiter := s.limiterFor(target)
	probe, err := limiter.Acquire(ctx)
	if err != nil {
		return false, err
	}
	begin := time.Now()
	status, err := s.poster.Post(ctx, target, payload)
	took := time.Since(begin)
	// A request that ended with the context of its batch does not count against the sink, unless the sink had at least half
	// its timeout.
	aborted := err != nil && ctx.Err() != nil && (errors.Is(ctx.Err(), context.Canceled) || took < target.Timeout/2)
	open := limiter.Release(probe, err, aborted)
	if observer != nil && !aborted {
		observer.Attempted(target.Webhook, ReasonOf(err), statusOf(err), open)
	}
	outcome := outcomeOf(err)
	if aborted {
		outcome = outcomeAborted
	}
	if s.recorder != nil && !aborted {
		s.recorder.Attempted(newRequest(target, items, took, status, err))
	}
	s.metrics.count(cmp.Or(mode, Binary), outcome, took)
	return !probe || !Temporary(err), err
}

func newRequest(target Target, items []*Item, took time.Duration, status int, err error) Request {
	request := Request{Webhook: target.Webhook, Items: items, DeadLetterSink: items[0].State != Pending, Took: took, Outcome: outcomeOf(err), Status: status}
	if err != nil {
		failure := asError(err)
		request.Reason, request.Status, request.Answer = string(ReasonOf(err)), failure.Status, failure.Answer
	}
	return request
}

// limiterKey is what requests with the same limiter have in common.
type limiterKey struct{ uri, caCerts, audience, webhook string }

// limiterFor returns the limiter of a target, which it shares with no other webhook, and removes limiters that have been idle for long.
func (s *Sender) limiterFor(target Target) *sinkLimiter {
	key := limiterKey{target.URI, target.CACerts, target.Audience, target.Webhook}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.lastSweep) > idleLimiterTimeout {
		s.lastSweep = now
		for key, limiter := range s.limiters {
			if limiter.expire(now) {
				delete(s.limiters, key)
			}
		}
	}
	limiter, ok := s.limiters[key]
	if !ok {
		limiter = newSinkLimiter(s.concurrency, s.metrics)
		s.limiters[key] = limiter
	}
	return limiter
}
