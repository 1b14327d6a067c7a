package receiver

import (
	"context"
	"slices"
	"sync"
	"time"
)

// byteLimiter bounds the memory of all bodies that are held at the same time. A body reserves memory as it arrives, so that an
// announced length, or a sender that stops, costs next to nothing.
//
// Requests for little memory go first and have a reserve: a batch of common size finds memory beside large bodies and does not
// queue behind them. Otherwise the oldest body goes first: it is done soonest, and frees what it holds. Every other grant goes
// to the smallest request, so that a small batch does not queue behind many slow bodies that have grown.
type byteLimiter struct {
	size    int64
	reserve int64         // for small requests
	wait    time.Duration // how long a body may wait for memory

	mu            sync.Mutex // guards what follows
	free          int64
	bodies        int64     // so far
	waiters       []*waiter // in their order
	smallestFirst bool      // the next grant goes to the smallest request
}

// waiter is a body that waits for memory.
type waiter struct {
	bytes   int64
	body    int64         // its number
	granted chan struct{} // closed when it has the memory
}

// before reports whether a waiter has its turn before another.
func (w *waiter) before(other *waiter) bool {
	if small := w.bytes <= smallBody; small != (other.bytes <= smallBody) {
		return small
	}
	return w.body < other.body
}

// newByteLimiter returns a limiter in which a body of the largest size, and a copy of it, fit beside the reserve.
func newByteLimiter(size, largest int64) *byteLimiter {
	return &byteLimiter{size: size, reserve: max(0, min(size/4, size-2*largest)), wait: inflightWait, free: size}
}

func (l *byteLimiter) fits(bytes int64) bool {
	if bytes > smallBody {
		return bytes <= l.free-l.reserve
	}
	return bytes <= l.free
}

// scarce reports whether more than half of the memory is taken.
func (l *byteLimiter) scarce() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.free < l.size/2
}

// nextNumber numbers bodies by age.
func (l *byteLimiter) nextNumber() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bodies++
	return l.bodies
}

// acquire waits for memory for a body. It returns errBusy when there is none in time.
func (l *byteLimiter) acquire(ctx context.Context, body, bytes int64) error {
	w := l.enqueue(&waiter{bytes, body, make(chan struct{})})
	if w == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiters, w)
	if i < 0 { // it was granted just now
		return nil
	}
	l.waiters = slices.Delete(l.waiters, i, i+1)
	l.grant()
	return errBusy
}

// enqueue returns the waiter, or nil when it has the memory already.
func (l *byteLimiter) enqueue(w *waiter) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.IndexFunc(l.waiters, w.before)
	if at < 0 {
		at = len(l.waiters)
	}
	l.waiters = slices.Insert(l.waiters, at, w)
	l.grant()
	if !slices.Contains(l.waiters, w) {
		return nil
	}
	return w
}

func (l *byteLimiter) release(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free += bytes
	l.grant()
}

// grant gives free memory to the waiters whose turn it is.
func (l *byteLimiter) grant() {
	for len(l.waiters) > 0 {
		i := l.next()
		if !l.fits(l.waiters[i].bytes) {
			return
		}
		l.free -= l.waiters[i].bytes
		close(l.waiters[i].granted)
		l.waiters = slices.Delete(l.waiters, i, i+1)
		l.smallestFirst = !l.smallestFirst
	}
}

// next returns the waiter whose turn it is: the first one, or the one with the smallest request.
func (l *byteLimiter) next() (i int) {
	if l.smallestFirst {
		for j, other := range l.waiters {
			if other.bytes < l.waiters[i].bytes {
				i = j
			}
		}
	}
	return i
}

// reservation is the memory that one body has taken.
type reservation struct {
	limiter *byteLimiter
	body    int64 // its number, from the first growth on
	held    int64
}

// grow takes more memory, and waits for it if necessary.
func (r *reservation) grow(ctx context.Context, bytes int64) error {
	if bytes > r.limiter.size { // would never succeed
		return errBusy
	}
	if r.body == 0 {
		r.body = r.limiter.nextNumber()
	}
	if err := r.limiter.acquire(ctx, r.body, bytes); err != nil {
		return err
	}
	r.held += bytes
	collector.add(bytes)
	return nil
}

func (r *reservation) shrink(bytes int64) {
	r.limiter.release(bytes)
	r.held -= bytes
	collector.add(-bytes)
}

func (r *reservation) release() { r.shrink(r.held) }
