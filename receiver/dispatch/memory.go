package dispatch

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// memoryLimit bounds the memory of loaded batches, approximately: what a batch takes is known only after it was read.
type memoryLimit struct {
	size      int64
	semaphore *semaphore.Weighted
}

func newMemoryLimit(size int64) *memoryLimit {
	return &memoryLimit{size, semaphore.NewWeighted(size)}
}

// share is as much as one cycle may take, so that others get memory while it is slow.
func (m *memoryLimit) share() int64 { return min(cycleBytes, m.size/memoryShares) }

// reservation is the memory that a cycle has taken. Only that cycle uses it.
type reservation struct {
	limit *memoryLimit
	bytes int64
}

// grow takes more memory. It waits only for the first batch, in the order of the requests; of a later one it reports whether
// there is memory now. A batch that is larger than the limit gets all of it.
func (r *reservation) grow(ctx context.Context, bytes int64) (bool, error) {
	bytes = min(bytes, r.limit.size)
	if r.bytes > 0 {
		return r.tryGrow(bytes), nil
	}
	if err := r.limit.semaphore.Acquire(ctx, bytes); err != nil {
		return false, err
	}
	r.bytes += bytes
	return true, nil
}

// tryGrow takes more memory if that needs no waiting.
func (r *reservation) tryGrow(bytes int64) bool {
	if !r.limit.semaphore.TryAcquire(bytes) {
		return false
	}
	r.bytes += bytes
	return true
}

func (r *reservation) release() {
	r.limit.semaphore.Release(r.bytes)
	r.bytes = 0
}
