package sink

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// DefaultConcurrency bounds the requests to one sink at the same time.
	DefaultConcurrency = 64
	// halvingInterval is the least time between two reductions: requests that were under way together fail together.
	halvingInterval = time.Second
	// circuitThreshold is how many requests in a row must fail before the circuit opens. A few events that a sink
	// cannot digest do not come to that, because others are accepted in between; a batch for a sink that is down does.
	circuitThreshold = 10
	// While the circuit is open nothing is sent, at first for minPause, and twice as long after each trial that fails. A
	// batch that finds it open costs its webhook one of Mandrill's attempts, so the pause stays far below their interval.
	minPause = time.Second
	maxPause = 30 * time.Second
	// trialInterval is how long one who may try has until another may.
	probeInterval = time.Second
)

var (
	errCircuitOpen = errors.New("it has failed too often, and is left alone for a while")
	errRetryAfter  = errors.New("it has asked to be left alone for longer than the batch has")
)

// gate is what is known of one sink, and who may send to it. Those who have to wait have their turn.
type sinkLimiter struct {
	max     float64
	metrics *Metrics

	mu        sync.Mutex // guards what follows
	waiters   list.List  // of *waiter
	timer     *time.Timer
	inflight  int
	limit     float64   // of inflight: halved when the sink is overloaded, grows with what it accepts
	halved    time.Time // when it was last halved
	notBefore time.Time // nothing is sent earlier, because the sink said so
	used      time.Time

	failures     int           // in a row
	open         bool          // the circuit is open
	until        time.Time     // when it may be tried
	pause        time.Duration // the present one
	probing      bool          // a trial is under way
	probeOffered time.Time     // when somebody was last told to try
}

type waiter struct {
	deadline time.Time // zero: none, and no time to wait for what the sink asks
	ready    chan error
	probe    bool
}

func newSinkLimiter(concurrency int, metrics *Metrics) *sinkLimiter {
	return &sinkLimiter{max: float64(concurrency), limit: float64(concurrency), metrics: metrics, used: time.Now()}
}

// enter waits for its turn and tells whether the request is a trial. Each enter without an error is followed by a leave.
func (g *sinkLimiter) Acquire(ctx context.Context) (trial bool, err error) {
	if ctx.Err() != nil {
		return false, &Error{Err: ctx.Err()}
	}
	deadline, _ := ctx.Deadline()
	w := &waiter{deadline: deadline, ready: make(chan error, 1)}
	g.mu.Lock()
	g.used = time.Now()
	place := g.waiters.PushBack(w)
	g.admit()
	g.mu.Unlock()
	select {
	case err := <-w.ready:
		return w.probe, err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case err := <-w.ready: // at the same moment
		return w.probe, err
	default:
	}
	g.waiters.Remove(place)
	return false, &Error{Err: ctx.Err()}
}

// admit lets in those whose turn has come, and sends away those who would wait in vain.
func (g *sinkLimiter) admit() {
	now := time.Now()
	if g.open && now.Before(g.until) {
		g.rejectWaiters(g.until, errCircuitOpen)
		return
	}
	if now.Before(g.notBefore) {
		g.rejectWaiters(g.notBefore, errRetryAfter)
		g.admitAfter(g.notBefore.Sub(now))
		return
	}
	for g.waiters.Len() > 0 {
		if g.open && g.probing || !g.open && g.inflight >= int(g.limit) {
			return
		}
		w := g.waiters.Remove(g.waiters.Front()).(*waiter)
		g.inflight++
		w.probe = g.open
		g.probing = g.open
		w.ready <- nil
	}
}

// dismiss sends away whoever has no time until then, or, when the circuit is open, everybody.
func (g *sinkLimiter) rejectWaiters(until time.Time, cause error) {
	for place := g.waiters.Front(); place != nil; {
		next, w := place.Next(), place.Value.(*waiter)
		if g.open || w.deadline.Before(until) { // also without a deadline: who has time can come again
			g.waiters.Remove(place)
			w.ready <- &Error{Err: cause, After: time.Until(until)}
		}
		place = next
	}
}

// closed is how long nothing can be sent. When the sink may be tried it is the caller who does, and others a little later.
func (g *sinkLimiter) blockedFor() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	until := g.notBefore
	if g.open {
		until = g.until
		if !now.Before(until) {
			until = g.probeOffered.Add(probeInterval)
		}
	}
	if pause := until.Sub(now); pause > 0 {
		return pause
	}
	g.probeOffered = now
	return 0
}

// wake admits again after a time.
func (g *sinkLimiter) admitAfter(after time.Duration) {
	if g.waiters.Len() == 0 {
		return
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	g.timer = time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.admit()
	})
}

// leave takes note of how a request went. One that was cut short says nothing of the sink.
func (g *sinkLimiter) Release(trial bool, err error, cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
	g.used = time.Now()
	if trial {
		g.probing = false
	}
	switch {
	case cut:
	case Temporary(err):
		g.recordFailure(trial, asError(err))
	default:
		g.recordAnswer(err == nil)
	}
	g.admit()
}

func (g *sinkLimiter) recordAnswer(accepted bool) {
	g.failures, g.pause = 0, 0
	g.closeCircuit()
	if accepted {
		g.limit = min(g.limit+1/g.limit, g.max)
	}
}

// shut closes the circuit.
func (g *sinkLimiter) closeCircuit() {
	if g.open {
		g.open = false
		g.metrics.circuits.Dec()
	}
}

func (g *sinkLimiter) recordFailure(trial bool, failure *Error) {
	now := time.Now()
	if failure.overloaded() && now.Sub(g.halved) >= halvingInterval {
		g.limit, g.halved = max(g.limit/2, 1), now
	}
	if until := now.Add(failure.After); until.After(g.notBefore) {
		g.notBefore = until
	}
	g.failures++
	if g.open && !trial || !g.open && g.failures < circuitThreshold {
		return
	}
	if !g.open {
		g.open = true
		g.metrics.circuits.Inc()
	}
	g.pause = min(max(2*g.pause, minPause), maxPause)
	g.until = now.Add(g.pause)
	if failure.After > 0 { // the sink knows better
		g.until = now.Add(failure.After)
	}
}

// forget tells whether nothing was sent for so long that what is known may be forgotten.
func (g *sinkLimiter) forgettable(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inflight > 0 || g.waiters.Len() > 0 || now.Sub(g.used) < idleLimiterTimeout || now.Before(g.notBefore) || now.Before(g.until) {
		return false
	}
	g.closeCircuit()
	return true
}
