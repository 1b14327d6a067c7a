package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// The lease is a key of the state bucket with the name of its holder, who writes it again and again. Others see by its revision
// that it changes. They compare times of their own clock only, so it does not matter what other clocks say.

const leaseKey = "leader"

func (s *session) renewInterval() time.Duration { return s.leaseTime / leaseRenewals }
func (s *session) yieldAfter() time.Duration    { return s.leaseTime * yieldQuarters / 4 }

// withLeaseTimeout bounds a request of the lease.
func (s *session) withLeaseTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(s.leaseTime/leaseRequests, s.store.Timeout))
}

// Lead runs do whenever this process holds the lease, until ctx ends. When ctx ends, the context of do ends, and do may finish its
// work under [Consumer.LeaseContext]. When the lease is lost or the buffer fails, both contexts end at once (see "When the lease is
// lost" in the package comment). Only one process holds the lease, which keeps the order of events. A buffer that nobody else uses
// needs no lease. Lead must not be called twice at a time.
func (j *Journal) Lead(ctx context.Context, do func(context.Context, *Consumer) error) error {
	retry := store.NewBackoff(j.now)
	for j.WaitAvailable(ctx) == nil {
		retry.Begin()
		if err := j.lead(ctx, do); err != nil && ctx.Err() == nil {
			j.logger.Error("Delivery from the buffer was interrupted and starts again", "error", err.Error())
		}
		if retry.Wait(ctx) != nil {
			break
		}
	}
	return nil //nolint:nilerr // it was told to end
}

// lead runs do once.
func (j *Journal) lead(ctx context.Context, do func(context.Context, *Consumer) error) error {
	s := j.current.Load()
	if s == nil {
		return nil
	}
	leaseCtx, lose := context.WithCancel(context.WithoutCancel(ctx)) // after a planned stop, work in flight finishes
	defer lose()
	defer context.AfterFunc(s.lifetime, lose)() //nolint:contextcheck // the lease ends with either
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leaseCtx, cancel)()
	if !s.store.Exclusive {
		held, err := s.acquire(ctx, j.holder)
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			held.keep(leaseCtx)
			lose()
		}()
		defer func() { lose(); <-ended; held.release() }() //nolint:contextcheck // the lease is released although the context has ended
		j.logger.Info("This receiver became the leader and delivers what is in the buffer")
	}
	j.metrics.leader.Set(1)
	defer j.metrics.leader.Set(0)
	consumer := j.newConsumer(s, leaseCtx)
	go consumer.runGC(ctx)
	err := do(ctx, consumer)
	if err != nil && leaseCtx.Err() == nil {
		j.fail(s) // the buffer may be the cause
	}
	return err
}

func (j *Journal) newConsumer(s *session, lease context.Context) *Consumer { //nolint:revive // it is not the context of this call
	return &Consumer{session: s, journal: j, lease: lease, incomplete: map[Position][]uint64{}}
}

// lease is a lease that this process holds.
type lease struct {
	session  *session
	holder   string
	revision uint64
	renewed  time.Time
}

// acquire waits until nobody holds the lease, and takes it. A holder is alive while the revision changes. A lease that this
// holder had before, and could not release, it takes at once.
func (s *session) acquire(ctx context.Context, holder string) (*lease, error) {
	for seen, since := uint64(0), time.Now(); ; {
		entry, err := s.readLease(ctx)
		if err == nil && entry.revision != seen {
			seen, since = entry.revision, time.Now()
		}
		if err == nil && (entry.holder == "" || entry.holder == holder || time.Since(since) >= s.leaseTime) {
			begun := time.Now()
			if revision, err := s.writeLease(ctx, holder, entry.revision); err == nil {
				return &lease{session: s, holder: holder, revision: revision, renewed: begun}, nil
			} // else another process was faster, or there is no answer
		}
		if err := store.Sleep(ctx, leasePollInterval); err != nil {
			return nil, err
		}
	}
}

type leaseEntry struct {
	holder   string
	revision uint64
}

func (s *session) readLease(ctx context.Context) (leaseEntry, error) {
	ctx, cancel := s.withLeaseTimeout(ctx)
	defer cancel()
	entry, err := s.state.Get(ctx, leaseKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return leaseEntry{}, nil
	}
	if err != nil {
		return leaseEntry{}, fmt.Errorf("reading the lease: %w", err)
	}
	return leaseEntry{string(entry.Value()), entry.Revision()}, nil
}

// writeLease writes who holds the lease, if nobody else has written it since a revision.
func (s *session) writeLease(ctx context.Context, holder string, revision uint64) (uint64, error) {
	ctx, cancel := s.withLeaseTimeout(ctx)
	defer cancel()
	if revision == 0 {
		return s.state.Create(ctx, leaseKey, []byte(holder))
	}
	return s.state.Update(ctx, leaseKey, []byte(holder), revision)
}

// keep renews the lease until the context ends, another process has it, or it is so old that one soon may.
func (l *lease) keep(ctx context.Context) {
	ticker := time.NewTicker(l.session.renewInterval())
	defer ticker.Stop()
	for held := true; held; {
		sure, cancel := context.WithDeadline(ctx, l.renewed.Add(l.session.yieldAfter()))
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
func (l *lease) renew(ctx context.Context) bool {
	begun := time.Now()
	revision, err := l.session.writeLease(ctx, l.holder, l.revision)
	if err == nil {
		l.revision, l.renewed = revision, begun
		return true
	}
	if !store.IsTaken(err) {
		return true
	}
	entry, err := l.session.readLease(ctx)
	if err == nil && entry.holder == l.holder { // an earlier attempt succeeded, and its answer was lost
		l.revision = entry.revision
	}
	return err != nil || entry.holder == l.holder
}

// release lets another process take over at once.
func (l *lease) release() {
	ctx, cancel := l.session.withLeaseTimeout(context.Background())
	defer cancel()
	_, _ = l.session.writeLease(ctx, "", l.revision) // if it fails, the others wait for leaseTime
}
