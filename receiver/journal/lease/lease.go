// Package lease has leases of processes that deliver from a shared buffer. A lease is a key of the state bucket with the name of its
// holder, who writes it again and again. Others see by its revision that it changes. They compare times of their own clock only, so
// it does not matter what other clocks say.
package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// The time limits. The package comment of journal has a table of those that depend on each other.
const (
	// DefaultTime is how long a holder may be silent before others take over.
	DefaultTime = 12 * time.Second
	// A holder renews its lease renewals times per lease time. If it cannot, it stops after yieldQuarters quarters of the
	// lease time, before another may begin.
	renewals      = 8
	yieldQuarters = 3
	// A request of the lease may take 1/requests of the lease time.
	requests = 5
	// PollInterval is how often others look at the leases. A holder that is lost cannot announce it.
	PollInterval = 500 * time.Millisecond
)

// Election is where processes hold a lease. All of them must have the same Time.
type Election struct {
	State   jetstream.KeyValue
	Key     string
	Time    time.Duration // how long a holder may be silent
	Timeout time.Duration // of a request, if less than Time allows
}

// RenewInterval is how often a holder renews its lease.
func (e *Election) RenewInterval() time.Duration { return e.Time / renewals }

// YieldAfter is how long a holder goes on that cannot renew its lease.
func (e *Election) YieldAfter() time.Duration { return e.Time * yieldQuarters / 4 }

// RequestTimeout bounds a request of the lease.
func (e *Election) RequestTimeout() time.Duration { return min(e.Time/requests, e.Timeout) }

// Lease is a lease that this process holds.
type Lease struct {
	election *Election
	holder   string
	revision uint64
	renewed  time.Time
}

// Take takes the lease for a holder if nobody has written it since a revision; 0: if nobody ever has.
func (e *Election) Take(ctx context.Context, holder string, revision uint64) (*Lease, error) {
	begun := time.Now()
	written, err := e.Write(ctx, holder, revision)
	if err != nil {
		return nil, err
	}
	return &Lease{election: e, holder: holder, revision: written, renewed: begun}, nil
}

// Read returns what is written, and its revision; 0: nothing is.
func (e *Election) Read(ctx context.Context) (value string, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.RequestTimeout())
	defer cancel()
	found, err := e.State.Get(ctx, e.Key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("reading a lease: %w", err)
	}
	return string(found.Value()), found.Revision(), nil
}

// Write writes a value if nobody else has written one since a revision.
func (e *Election) Write(ctx context.Context, value string, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, e.RequestTimeout())
	defer cancel()
	if revision == 0 {
		return e.State.Create(ctx, e.Key, []byte(value))
	}
	return e.State.Update(ctx, e.Key, []byte(value), revision)
}

// Keep renews the lease until the context ends, another process has it, or it is so old that one soon may.
func (l *Lease) Keep(ctx context.Context) {
	ticker := time.NewTicker(l.election.RenewInterval())
	defer ticker.Stop()
	for held := true; held; {
		sure, cancel := context.WithDeadline(ctx, l.renewed.Add(l.election.YieldAfter()))
		select {
		case <-sure.Done():
			held = false
		case <-ticker.C:
			held = l.renew(sure)
		}
		cancel()
	}
}

// renew tries to renew the lease, and reports whether no other process has taken it.
func (l *Lease) renew(ctx context.Context) bool {
	begun := time.Now()
	revision, err := l.election.Write(ctx, l.holder, l.revision)
	if err == nil {
		l.revision, l.renewed = revision, begun
		return true
	}
	if !store.IsTaken(err) {
		return true
	}
	holder, revision, err := l.election.Read(ctx)
	if err == nil && holder == l.holder { // an earlier attempt succeeded, and its answer was lost
		l.revision = revision
	}
	return err != nil || holder == l.holder
}

// Release lets others take over at once. The lease is not held again.
func (l *Lease) Release() {
	_, _ = l.election.Write(context.Background(), "", l.revision) // if it fails, the others wait for the lease time
}
