// Package lease elects the one process that delivers from a shared buffer. The lease is a key of the state bucket with the name of
// its holder, who writes it again and again. Others see by its revision that it changes. They compare times of their own clock
// only, so it does not matter what other clocks say.
package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const key = "leader"

// The time limits. The package comment of journal has a table of those that depend on each other.
const (
	// DefaultTime is how long the leader may be silent before another member takes over.
	DefaultTime = 12 * time.Second
	// The leader renews its lease renewals times per lease time. If it cannot, it stops after yieldQuarters quarters of the
	// lease time, before another may begin.
	renewals      = 8
	yieldQuarters = 3
	// A request of the lease may take 1/requests of the lease time.
	requests = 5
	// PollInterval is how often the others check whether the lease is free. The leader cannot announce that it is gone.
	PollInterval = 500 * time.Millisecond
)

// Election is where processes elect a leader. All of them must have the same Time.
type Election struct {
	State   jetstream.KeyValue
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

// Acquire waits until nobody holds the lease, and takes it. A holder is alive while the revision changes. A lease that this
// holder had before, and could not release, it takes at once.
func (e *Election) Acquire(ctx context.Context, holder string) (*Lease, error) {
	for seen, since := uint64(0), time.Now(); ; {
		found, err := e.read(ctx)
		if err == nil && found.revision != seen {
			seen, since = found.revision, time.Now()
		}
		if err == nil && (found.holder == "" || found.holder == holder || time.Since(since) >= e.Time) {
			begun := time.Now()
			if revision, err := e.write(ctx, holder, found.revision); err == nil {
				return &Lease{election: e, holder: holder, revision: revision, renewed: begun}, nil
			} // else another process was faster, or there is no answer
		}
		if err := store.Sleep(ctx, PollInterval); err != nil {
			return nil, err
		}
	}
}

type entry struct {
	holder   string
	revision uint64
}

func (e *Election) read(ctx context.Context) (entry, error) {
	ctx, cancel := context.WithTimeout(ctx, e.RequestTimeout())
	defer cancel()
	found, err := e.State.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("reading the lease: %w", err)
	}
	return entry{string(found.Value()), found.Revision()}, nil
}

// write writes who holds the lease, if nobody else has written it since a revision.
func (e *Election) write(ctx context.Context, holder string, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, e.RequestTimeout())
	defer cancel()
	if revision == 0 {
		return e.State.Create(ctx, key, []byte(holder))
	}
	return e.State.Update(ctx, key, []byte(holder), revision)
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
	revision, err := l.election.write(ctx, l.holder, l.revision)
	if err == nil {
		l.revision, l.renewed = revision, begun
		return true
	}
	if !store.IsTaken(err) {
		return true
	}
	found, err := l.election.read(ctx)
	if err == nil && found.holder == l.holder { // an earlier attempt succeeded, and its answer was lost
		l.revision = found.revision
	}
	return err != nil || found.holder == l.holder
}

// Release lets another process take over at once.
func (l *Lease) Release() {
	_, _ = l.election.write(context.Background(), "", l.revision) // if it fails, the others wait for the lease time
}
