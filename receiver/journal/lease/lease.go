// Package lease lets one process at a time lead where several share a buffer.
//
// The lease is a key of the state bucket with the name of its holder, who writes it again and again. Others see by its revision
// that it changes. They compare times of their own clock only, so it does not matter what other clocks say.
package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const (
	// The leader renews its lease renewals times per lease time. If it cannot, it stops after yieldQuarters quarters of the lease
	// time, before another may begin.
	renewals      = 8
	yieldQuarters = 3
	// A request of the lease may take 1/requests of the lease time.
	requests = 5
	// PollInterval is how often the others check whether the lease is free. The leader cannot announce that it is gone.
	PollInterval = 500 * time.Millisecond
)

const leaseKey = "leader"

// Times are the time limits of a lease.
type Times struct {
	Lease      time.Duration // how long the leader may be silent
	MaxRequest time.Duration // of any request to the buffer
}

// RenewInterval is how often the leader renews its lease.
func (t Times) RenewInterval() time.Duration { return t.Lease / renewals }

// YieldAfter is how old a lease may get before its holder gives it up.
func (t Times) YieldAfter() time.Duration { return t.Lease * yieldQuarters / 4 }

// Request bounds a request of the lease.
func (t Times) Request() time.Duration { return min(t.Lease/requests, t.MaxRequest) }

// Lease is a lease that this process holds.
type Lease struct {
	bucket   bucket
	holder   string
	revision uint64
	renewed  time.Time
}

// Acquire waits until nobody holds the lease, and takes it. A holder is alive while the revision changes. A lease that this
// holder had before, and could not release, it takes at once.
func Acquire(ctx context.Context, state jetstream.KeyValue, times Times, holder string) (*Lease, error) {
	b := bucket{state, times}
	for seen, since := uint64(0), time.Now(); ; {
		found, err := b.read(ctx)
		if err == nil && found.revision != seen {
			seen, since = found.revision, time.Now()
		}
		if err == nil && (found.holder == "" || found.holder == holder || time.Since(since) >= times.Lease) {
			begun := time.Now()
			if revision, err := b.write(ctx, holder, found.revision); err == nil {
				return &Lease{bucket: b, holder: holder, revision: revision, renewed: begun}, nil
			} // else another process was faster, or there is no answer
		}
		if err := store.Sleep(ctx, PollInterval); err != nil {
			return nil, err
		}
	}
}

// bucket has the lease.
type bucket struct {
	state jetstream.KeyValue
	times Times
}

type entry struct {
	holder   string
	revision uint64
}

func (b bucket) read(ctx context.Context) (entry, error) {
	ctx, cancel := context.WithTimeout(ctx, b.times.Request())
	defer cancel()
	found, err := b.state.Get(ctx, leaseKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("reading the lease: %w", err)
	}
	return entry{string(found.Value()), found.Revision()}, nil
}

// write writes who holds the lease, if nobody else has written it since a revision.
func (b bucket) write(ctx context.Context, holder string, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.times.Request())
	defer cancel()
	if revision == 0 {
		return b.state.Create(ctx, leaseKey, []byte(holder))
	}
	return b.state.Update(ctx, leaseKey, []byte(holder), revision)
}

// Keep renews the lease until the context ends, another process has it, or it is so old that one soon may.
func (l *Lease) Keep(ctx context.Context) {
	ticker := time.NewTicker(l.bucket.times.RenewInterval())
	defer ticker.Stop()
	for held := true; held; {
		sure, cancel := context.WithDeadline(ctx, l.renewed.Add(l.bucket.times.YieldAfter()))
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
	revision, err := l.bucket.write(ctx, l.holder, l.revision)
	if err == nil {
		l.revision, l.renewed = revision, begun
		return true
	}
	if !store.IsTaken(err) {
		return true
	}
	found, err := l.bucket.read(ctx)
	if err == nil && found.holder == l.holder { // an earlier attempt succeeded, and its answer was lost
		l.revision = found.revision
	}
	return err != nil || found.holder == l.holder
}

// Release lets another process take over at once.
func (l *Lease) Release() {
	_, _ = l.bucket.write(context.Background(), "", l.revision) // if it fails, the others wait for the lease time
}
