package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DefaultLeaseTime is how long the one who delivers may be silent before another takes over. An eighth of it is how often
// it says that it is there, and after three quarters it stops because it could not. An election that ends 7 seconds after a
// leader was lost is in time for that: they take 4 to 9, of the first of two who try.
const DefaultLeaseTime = 12 * time.Second

// lookInterval is how often those who wait look whether somebody has it. Nobody tells them: who does so goes with a server.
const leasePollInterval = 500 * time.Millisecond

const leaseKey = "leader"

func (s *session) renewInterval() time.Duration { return s.leaseTime / 8 }
func (s *session) yieldAfter() time.Duration    { return s.leaseTime * 3 / 4 }

// bounded is for a request of the lease.
func (s *session) withLeaseTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(s.leaseTime/5, s.timeout))
}

// Work runs do with the right to deliver what is in the journal, again and again until the context ends. The context of do
// ends also with the right, or when the journal does not work any more; what was begun is then to be finished, for which
// there is [Work.Right]. Of all journals with the same streams one has it at a
// time, so that what belongs together is sent in order. It is not to be called while it runs.
func (j *Journal) Lead(ctx context.Context, do func(context.Context, *Consumer) error) error {
	pause := minPause
	for ctx.Err() == nil {
		if j.WaitAvailable(ctx) != nil {
			return nil //nolint:nilerr // it was told to end
		}
		begun := j.now()
		err := j.lead(ctx, do)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if err != nil {
			j.logger.Error("Delivery from the buffer was interrupted, beginning again", "error", err.Error())
		}
		if j.now().Sub(begun) > maxPause {
			pause = minPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxPause)
	}
	return nil
}

// term is one time of having the right.
func (j *Journal) lead(ctx context.Context, do func(context.Context, *Consumer) error) error {
	s := j.current.Load()
	if s == nil {
		return nil
	}
	right, lose := context.WithCancel(context.WithoutCancel(ctx)) // what was begun is finished
	defer lose()
	defer context.AfterFunc(s.lifetime, lose)() //nolint:contextcheck // the right ends with either
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(right, cancel)()
	if !s.alone {
		held, err := s.acquire(ctx, j.holder)
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			held.keep(right)
			lose()
		}()
		defer func() { lose(); <-ended; held.release() }() //nolint:contextcheck // it is over, and others are to know
		j.logger.Info("This receiver delivers what is in the buffer")
	}
	j.metrics.leader.Set(1)
	defer j.metrics.leader.Set(0)
	work := &Consumer{session: s, journal: j, lease: right}
	go work.runGC(ctx)
	err := do(ctx, work)
	if err != nil && right.Err() == nil {
		j.fail(s) // it may be the journal
	}
	return err
}

// lease is the right to deliver.
type lease struct {
	session  *session
	holder   string
	revision uint64
	renewed  time.Time
}

// acquire waits until nobody has the right, and takes it. That somebody has it is seen by changes alone, whatever the
// clocks say. What the same holder had before, and could not give back, it has again at once.
func (s *session) acquire(ctx context.Context, holder string) (*lease, error) {
	ticker := time.NewTicker(leasePollInterval)
	defer ticker.Stop()
	for seen, since := uint64(0), time.Now(); ; {
		entry, err := s.lookup(ctx)
		if err == nil && entry.revision != seen {
			seen, since = entry.revision, time.Now()
		}
		if err == nil && (entry.holder == "" || entry.holder == holder || time.Since(since) >= s.leaseTime) {
			begun := time.Now()
			if revision, err := s.write(ctx, holder, entry.revision); err == nil {
				return &lease{session: s, holder: holder, revision: revision, renewed: begun}, nil
			} // else somebody was faster, or there is no answer
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type leaseEntry struct {
	holder   string
	revision uint64
}

func (s *session) lookup(ctx context.Context) (leaseEntry, error) {
	ctx, cancel := s.withLeaseTimeout(ctx)
	defer cancel()
	entry, err := s.state.Get(ctx, leaseKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return leaseEntry{}, nil
	}
	if err != nil {
		return leaseEntry{}, fmt.Errorf("asking who delivers: %w", err)
	}
	return leaseEntry{string(entry.Value()), entry.Revision()}, nil
}

// write says who has the right, if nobody else has written since a revision.
func (s *session) write(ctx context.Context, holder string, revision uint64) (uint64, error) {
	ctx, cancel := s.withLeaseTimeout(ctx)
	defer cancel()
	if revision == 0 {
		return s.state.Create(ctx, leaseKey, []byte(holder))
	}
	return s.state.Update(ctx, leaseKey, []byte(holder), revision)
}

// isTaken tells whether somebody else has written. Streams with several replicas have an error of their own for that.
func isTaken(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

// keep renews the lease until the context ends, somebody else has it, or it is so old that somebody else may soon.
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

// renew tries to, and tells whether nobody else has the lease.
func (l *lease) renew(ctx context.Context) bool {
	begun := time.Now()
	revision, err := l.session.write(ctx, l.holder, l.revision)
	if err == nil {
		l.revision, l.renewed = revision, begun
		return true
	}
	if !isTaken(err) {
		return true
	}
	entry, err := l.session.lookup(ctx)
	if err == nil && entry.holder == l.holder { // the answer to an earlier attempt was lost
		l.revision = entry.revision
	}
	return err != nil || entry.holder == l.holder
}

// release lets another take over at once.
func (l *lease) release() {
	ctx, cancel := l.session.withLeaseTimeout(context.Background())
	defer cancel()
	_, _ = l.session.write(ctx, "", l.revision) // else they wait
}

// Each does something with what is stored, without the right to deliver: only what several may do.
func (j *Journal) Each(ctx context.Context, do func(*Consumer) error) error {
	s := j.current.Load()
	if s == nil {
		return ErrUnavailable
	}
	return do(&Consumer{session: s, journal: j, lease: ctx})
}
