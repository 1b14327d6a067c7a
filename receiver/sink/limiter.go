package sink

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// DefaultConcurrency bounds the requests of one webhook to its sink at the same time.
	DefaultConcurrency = 64
	// halvingInterval is the minimum time between two reductions of the limit: requests that were in flight together fail
	// together and must count once.
	halvingInterval = time.Second
	// circuitThreshold is how many requests in a row must fail to open the circuit. A few events that a sink cannot process
	// do not add up to it, because others are accepted in between. A batch for a sink that is down does.
	circuitThreshold = 10
	// minOpenTime is how long an open circuit rejects everything. It doubles with each failed probe, up to maxOpenTime. In
	// mode Direct a batch that meets an open circuit has used one of Mandrill's attempts, so it stays far below the
	// interval between those.
	minOpenTime = time.Second
	maxOpenTime = 30 * time.Second
	// probeInterval is how long a caller that claimed the probe has before another one may claim it.
	probeInterval = time.Second
)

var (
	errCircuitOpen = errors.New("the circuit is open after too many failed requests in a row")
	errRetryAfter  = errors.New("the sink's Retry-After is longer than the time left")
)

// sinkLimiter decides when requests of one webhook to one sink may be sent. It combines a limit on requests in flight, which adapts by
// additive increase and multiplicative decrease, with a circuit breaker. Requests that have to wait are admitted in the
// order in which they came.
type sinkLimiter struct {
	maxLimit float64
	metrics  *Metrics

	mu         sync.Mutex // guards what follows
	waiters    list.List  // of *waiter
	admitTimer *time.Timer
	inflight   int
	limit      float64   // of inflight: halved when the sink is overloaded, grows with each accepted request
	lastHalved time.Time // of limit
	notBefore  time.Time // the sink's Retry-After
	lastUsed   time.Time

	failures  int           // in a row
	open      bool          // the circuit
	openUntil time.Time     // a probe may be sent from then on
	openTime  time.Duration // the current pause between probes
	probing   bool          // a probe is in flight
	lastClaim time.Time     // of the probe
}

// waiter is a request that waits to be admitted.
type waiter struct {
	deadline time.Time // zero: none, and the request does not wait for Retry-After
	ready    chan error
	probe    bool
}

func newSinkLimiter(concurrency int, metrics *Metrics) *sinkLimiter {
	return &sinkLimiter{maxLimit: float64(concurrency), limit: float64(concurrency), metrics: metrics, lastUsed: time.Now()}
}

// Acquire waits until a request may be sent, and reports whether it is a probe. Unless it returns an error, the caller
// must call Release.
func (l *sinkLimiter) Acquire(ctx context.Context) (probe bool, err error) {
	if ctx.Err() != nil {
		return false, &Error{Err: ctx.Err()}
	}
	l.mu.Lock()
	l.lastUsed = time.Now()
	if !l.open && l.waiters.Len() == 0 && l.inflight < int(l.limit) && !l.lastUsed.Before(l.notBefore) { // nearly always
		l.inflight++
		l.mu.Unlock()
		return false, nil
	}
	deadline, _ := ctx.Deadline()
	w := &waiter{deadline: deadline, ready: make(chan error, 1)}
	element := l.waiters.PushBack(w)
	l.admit()
	l.mu.Unlock()
	select {
	case err := <-w.ready:
		return w.probe, err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case err := <-w.ready: // admitted at the same moment
		return w.probe, err
	default:
	}
	l.waiters.Remove(element)
	return false, &Error{Err: ctx.Err()}
}

// admit lets the first waiters send as far as the limits allow, and rejects those that would time out. The caller
// holds mu.
func (l *sinkLimiter) admit() {
	now := time.Now()
	if l.open && now.Before(l.openUntil) {
		l.rejectWaiters(l.openUntil, errCircuitOpen)
		return
	}
	if now.Before(l.notBefore) {
		l.rejectWaiters(l.notBefore, errRetryAfter)
		l.admitAfter(l.notBefore.Sub(now))
		return
	}
	for l.waiters.Len() > 0 {
		if l.open && l.probing || !l.open && l.inflight >= int(l.limit) {
			return
		}
		w := l.waiters.Remove(l.waiters.Front()).(*waiter)
		l.inflight++
		w.probe = l.open
		l.probing = l.open
		w.ready <- nil
	}
}

// rejectWaiters rejects the waiters whose deadline is before until. While the circuit is open it rejects all.
func (l *sinkLimiter) rejectWaiters(until time.Time, cause error) {
	for element := l.waiters.Front(); element != nil; {
		next, w := element.Next(), element.Value.(*waiter)
		if l.open || w.deadline.Before(until) { // no deadline counts as before: such a caller comes again
			l.waiters.Remove(element)
			w.ready <- &Error{Err: cause, After: time.Until(until)}
		}
		element = next
	}
}

// admitAfter calls admit after a time, if a request waits.
func (l *sinkLimiter) admitAfter(after time.Duration) {
	if l.waiters.Len() == 0 {
		return
	}
	if l.admitTimer != nil {
		l.admitTimer.Stop()
	}
	l.admitTimer = time.AfterFunc(after, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.admit()
	})
}

// blockedFor returns for how long nothing can be sent.
func (l *sinkLimiter) blockedFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blockedAt(time.Now())
}

// claimProbe reports whether the caller may send. If so, an open circuit is blocked for others until probeInterval has
// passed.
func (l *sinkLimiter) claimProbe() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.blockedAt(now) > 0 {
		return false
	}
	l.lastClaim = now
	return true
}

func (l *sinkLimiter) blockedAt(now time.Time) time.Duration {
	until := l.notBefore
	if l.open {
		until = l.openUntil
		if !now.Before(until) {
			until = l.lastClaim.Add(probeInterval)
		}
	}
	return max(until.Sub(now), 0)
}

// Release ends a request that Acquire admitted, with its error, and reports whether the circuit is open now. The outcome of an
// aborted request does not depend on the sink.
func (l *sinkLimiter) Release(probe bool, err error, aborted bool) (open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inflight--
	l.lastUsed = time.Now()
	if probe {
		l.probing = false
	}
	switch {
	case aborted:
	case err != nil && Temporary(err):
		l.recordFailure(probe, asError(err))
	default:
		l.recordAnswer(err == nil)
	}
	l.admit()
	return l.open
}

// recordAnswer notes that the sink works: it accepted or refused a request.
func (l *sinkLimiter) recordAnswer(accepted bool) {
	l.failures, l.openTime = 0, 0
	l.closeCircuit()
	if accepted {
		l.limit = min(l.limit+1/l.limit, l.maxLimit)
	}
}

func (l *sinkLimiter) closeCircuit() {
	if l.open {
		l.open = false
		l.metrics.openCircuits.Dec()
	}
}

// recordFailure notes a temporary failure, and opens the circuit when there were too many.
func (l *sinkLimiter) recordFailure(probe bool, failure *Error) {
	now := time.Now()
	if failure.overloaded() && now.Sub(l.lastHalved) >= halvingInterval {
		l.limit, l.lastHalved = max(l.limit/2, 1), now
	}
	if until := now.Add(failure.After); until.After(l.notBefore) {
		l.notBefore = until
	}
	l.failures++
	if l.open && !probe || !l.open && l.failures < circuitThreshold {
		return
	}
	if !l.open {
		l.open = true
		l.metrics.openCircuits.Inc()
	}
	l.openTime = min(max(2*l.openTime, minOpenTime), maxOpenTime)
	l.openUntil = now.Add(l.openTime)
	if failure.After > 0 { // Retry-After replaces our guess
		l.openUntil = now.Add(failure.After)
	}
}

// expire reports whether the limiter has been idle for so long that it may be removed, and closes its circuit if so.
func (l *sinkLimiter) expire(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inflight > 0 || l.waiters.Len() > 0 || now.Sub(l.lastUsed) < idleLimiterTimeout || now.Before(l.notBefore) || now.Before(l.openUntil) {
		return false
	}
	l.closeCircuit()
	return true
}
