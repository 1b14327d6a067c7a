package receiver

import (
	"context"
	"sync"
)

// allowance bounds memory, about: who has begun may take more than there is, so that nobody has to give up half way.
type allowance struct {
	size int64

	mu      sync.Mutex
	taken   int64
	waiting []waiting // in order of arrival
}

type waiting struct {
	bytes int64
	ready chan struct{}
}

func newAllowance(size int64) *allowance { return &allowance{size: size} }

// take waits for its turn, and until there is as much as is wanted or everything.
func (a *allowance) take(ctx context.Context, bytes int64) error {
	a.mu.Lock()
	if len(a.waiting) == 0 && a.fits(bytes) {
		a.taken += bytes
		a.mu.Unlock()
		return nil
	}
	mine := waiting{bytes, make(chan struct{})}
	a.waiting = append(a.waiting, mine)
	a.mu.Unlock()
	select {
	case <-mine.ready:
		return nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, other := range a.waiting {
		if other.ready == mine.ready {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			a.serve()
			return ctx.Err()
		}
	}
	a.taken -= bytes // it was served at the same moment
	a.serve()
	return ctx.Err()
}

// try takes if it need not wait.
func (a *allowance) try(bytes int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) > 0 || a.taken+bytes > a.size {
		return false
	}
	a.taken += bytes
	return true
}

// force takes without waiting.
func (a *allowance) force(bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken += bytes
}

// give gives back.
func (a *allowance) give(bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken -= bytes
	a.serve()
}

func (a *allowance) serve() {
	for len(a.waiting) > 0 && a.fits(a.waiting[0].bytes) {
		a.taken += a.waiting[0].bytes
		close(a.waiting[0].ready)
		a.waiting = a.waiting[1:]
	}
}

// share is as much as one should take, so that there is some for others while it is slow.
func (a *allowance) share() int64 { return min(cycleBytes, a.size/shares) }

// fits tells whether there is room. There is for anything when nothing is taken.
func (a *allowance) fits(bytes int64) bool { return a.taken <= 0 || a.taken+bytes <= a.size }
