package receiver

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// budget bounds the memory of all bodies that are held at the same time. A body takes its share as it arrives, so that
// an announced length, or a sender that stops, costs next to nothing.
type budget struct {
	bytes *semaphore.Weighted
	size  int64
	wait  time.Duration // how long a body may wait for its share
	taken atomic.Int64
}

func newBudget(size int64) *budget {
	return &budget{bytes: semaphore.NewWeighted(size), size: size, wait: inflightWait}
}

// scarce tells whether more than half is taken.
func (b *budget) scarce() bool { return b.taken.Load() > b.size/2 }

// share is what one body has taken.
type share struct {
	budget *budget
	taken  int64
}

// take takes more, and waits for it if need be.
func (s *share) take(ctx context.Context, bytes int64) error {
	if bytes > s.budget.size { // would never succeed
		return errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, s.budget.wait)
	defer cancel()
	if s.budget.bytes.Acquire(ctx, bytes) != nil {
		return errBusy
	}
	s.taken += bytes
	s.budget.taken.Add(bytes)
	return nil
}

// give gives some back.
func (s *share) give(bytes int64) {
	s.budget.bytes.Release(bytes)
	s.budget.taken.Add(-bytes)
	s.taken -= bytes
}

// release gives everything back.
func (s *share) release() { s.give(s.taken) }
