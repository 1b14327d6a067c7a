package receiver

import (
	"context"
	"slices"
	"sync"
	"time"
)

// budget bounds the memory of all bodies that are held at the same time. A body takes its share as it arrives, so that
// an announced length, or a sender that stops, costs next to nothing. Those that want little are first, and have a reserve:
// a batch of common size finds room beside large bodies, and need not queue behind them. Else the eldest is first: it is
// done soonest, and what it holds is free then. But every other time it is the turn of what wants least: a small batch need
// not queue behind many bodies that are slow and have grown.
type byteLimiter struct {
	size    int64
	reserve int64         // for those that want little
	wait    time.Duration // how long a body may wait for its share

	mu      sync.Mutex // guards what follows
	free    int64
	bodies  int64     // so far
	waiters []*waiter // in their order
	least   bool      // it is the turn of the one that wants least
}

// waiter is a body that waits for a share.
type waiter struct {
	bytes   int64
	body    int64         // its number
	granted chan struct{} // closed when it has it
}

// before tells whether one waiter is before another.
func (w *waiter) before(other *waiter) bool {
	if little := w.bytes <= smallBody; little != (other.bytes <= smallBody) {
		return little
	}
	return w.body < other.body
}

// newBudget returns a budget in which a body of the largest size, and a copy of it, has room beside the reserve.
func newByteLimiter(size, largest int64) *byteLimiter {
	return &byteLimiter{size: size, reserve: max(0, min(size/4, size-2*largest)), wait: inflightWait, free: size}
}

// fits tells whether there is room for a share.
func (b *byteLimiter) fits(bytes int64) bool {
	if bytes > smallBody {
		return bytes <= b.free-b.reserve
	}
	return bytes <= b.free
}

// scarce tells whether more than half is taken.
func (b *byteLimiter) scarce() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free < b.size/2
}

// number gives a body its number, which tells how old it is.
func (b *byteLimiter) nextSequence() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bodies++
	return b.bodies
}

// take takes some for a body, and waits for it if need be.
func (b *byteLimiter) acquire(ctx context.Context, body, bytes int64) error {
	next := b.enqueue(&waiter{bytes, body, make(chan struct{})})
	if next == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.wait)
	defer cancel()
	select {
	case <-next.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiters, next)
	if i < 0 { // it was granted just now
		return nil
	}
	b.waiters = slices.Delete(b.waiters, i, i+1)
	b.grant()
	return errBusy
}

// queue takes some, or returns what waits for it.
func (b *byteLimiter) enqueue(next *waiter) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	place := slices.IndexFunc(b.waiters, next.before)
	if place < 0 {
		place = len(b.waiters)
	}
	b.waiters = slices.Insert(b.waiters, place, next)
	b.grant()
	if !slices.Contains(b.waiters, next) {
		return nil
	}
	return next
}

// give gives some back.
func (b *byteLimiter) release(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += bytes
	b.grant()
}

// grant gives those that wait, in turn, what is free.
func (b *byteLimiter) grant() {
	for len(b.waiters) > 0 {
		i := b.next()
		if !b.fits(b.waiters[i].bytes) {
			return
		}
		b.free -= b.waiters[i].bytes
		close(b.waiters[i].granted)
		b.waiters = slices.Delete(b.waiters, i, i+1)
		b.least = !b.least
	}
}

// next is whose turn it is: the first, or the one that wants least.
func (b *byteLimiter) next() (i int) {
	if b.least {
		for j, other := range b.waiters {
			if other.bytes < b.waiters[i].bytes {
				i = j
			}
		}
	}
	return i
}

// share is what one body has taken.
type reservation struct {
	limiter *byteLimiter
	body    int64 // its number, from when it first takes something
	held    int64
}

// take takes more, and waits for it if need be.
func (s *reservation) grow(ctx context.Context, bytes int64) error {
	if bytes > s.limiter.size { // would never succeed
		return errBusy
	}
	if s.body == 0 {
		s.body = s.limiter.nextSequence()
	}
	if err := s.limiter.acquire(ctx, s.body, bytes); err != nil {
		return err
	}
	s.held += bytes
	return nil
}

// give gives some back.
func (s *reservation) shrink(bytes int64) {
	s.limiter.release(bytes)
	s.held -= bytes
}

// release gives everything back.
func (s *reservation) release() { s.shrink(s.held) }
