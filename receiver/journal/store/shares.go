package store

import (
	"context"
	"sync"
	"time"
)

// The shares are kept up to date without being read again for so long. Of an exclusive buffer others remove messages, and of a shared one
// they also store some.
const (
	sharesMaxAge       = 10 * time.Minute
	sharedSharesMaxAge = time.Minute
)

// Shares knows how many bytes of a stream each owner has. They are read when the largest one is first asked for.
type Shares struct {
	maxAge time.Duration

	mu    sync.Mutex
	bytes map[string]int64 // nil: not read
	read  time.Time
}

// NewShares returns shares that know nothing yet.
func NewShares(exclusive bool) *Shares {
	if exclusive {
		return &Shares{maxAge: sharesMaxAge}
	}
	return &Shares{maxAge: sharedSharesMaxAge}
}

// Add changes the share of an owner.
func (s *Shares) Add(owner string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes != nil {
		s.bytes[owner] += bytes
	}
}

// Forget is for an owner that has no messages.
func (s *Shares) Forget(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bytes, owner)
}

// Largest returns the owner with the largest share; empty if there are no messages. It uses read to find out the shares.
func (s *Shares) Largest(ctx context.Context, read func(context.Context) (map[string]int64, error)) (owner string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bytes) == 0 || time.Since(s.read) > s.maxAge {
		if s.bytes, err = read(ctx); err != nil {
			return "", err
		}
		s.read = time.Now()
	}
	most := int64(-1)
	for name, bytes := range s.bytes {
		if bytes > most {
			owner, most = name, bytes
		}
	}
	return owner, nil
}
