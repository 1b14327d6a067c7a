package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// leaseTime is how long the one who delivers may be silent before another takes over.
	leaseTime = 15 * time.Second
	// renewInterval is how often it says that it is there.
	renewInterval = leaseTime / 5
	// yieldAfter is when it stops because it could not say so: some time before another may begin.
	yieldAfter = leaseTime * 2 / 3
	leaseKey   = "leader"
)

// Work runs do with the right to deliver what is in the journal, again and again until the context ends. The context of do
// ends also with the right, or when the journal does not work any more; what was begun is then to be finished, for which
// there is [Work.Right]. Of all journals with the same streams one has it at a
// time, so that what belongs together is sent in order.
func (j *Journal) Work(ctx context.Context, do func(context.Context, *Work) error) error {
	pause := minPause
	for ctx.Err() == nil {
		if j.Opened(ctx) != nil {
			break
		}
		begun := j.now()
		err := j.term(ctx, do)
		if ctx.Err() != nil {
			break
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
func (j *Journal) term(ctx context.Context, do func(context.Context, *Work) error) error {
	s := j.current.Load()
	if s == nil {
		return nil
	}
	right, lose := context.WithCancel(context.WithoutCancel(ctx)) // what was begun is finished
	defer lose()
	defer context.AfterFunc(s.life, lose)()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(right, cancel)()
	if !j.engine.Alone() {
		held, err := s.acquire(ctx, nuid.Next())
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			held.keep(right)
			lose()
		}()
		defer func() { lose(); <-ended; held.release() }()
		j.logger.Info("This receiver delivers what is in the buffer")
	}
	j.metrics.leading.Set(1)
	defer j.metrics.leading.Set(0)
	err := do(ctx, &Work{session: s, journal: j, right: right})
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
// clocks say.
func (s *session) acquire(ctx context.Context, holder string) (*lease, error) {
	seen, since := uint64(0), time.Now()
	for {
		entry, err := s.lookup(ctx)
		if err != nil {
			return nil, err
		}
		if entry.revision != seen {
			seen, since = entry.revision, time.Now()
		}
		if entry.holder == "" || time.Since(since) > leaseTime {
			begun := time.Now()
			revision, err := s.write(ctx, holder, entry.revision)
			if err == nil {
				return &lease{session: s, holder: holder, revision: revision, renewed: begun}, nil
			}
			if !errors.Is(err, jetstream.ErrKeyExists) {
				return nil, err
			}
			continue
		}
		if err := s.await(ctx, leaseTime-time.Since(since)); err != nil {
			return nil, err
		}
	}
}

// await returns when the lease has changed, or after a time.
func (s *session) await(ctx context.Context, limit time.Duration) error {
	watcher, err := s.state.Watch(ctx, leaseKey, jetstream.UpdatesOnly())
	if err != nil {
		return fmt.Errorf("watching who delivers: %w", err)
	}
	defer watcher.Stop() //nolint:errcheck // nothing depends on it
	timeout := time.After(max(limit, 0) + time.Millisecond)
	for {
		select {
		case entry, ok := <-watcher.Updates():
			if ok && entry == nil { // what was before has been told
				continue
			}
			return nil
		case <-timeout:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type leaseEntry struct {
	holder   string
	revision uint64
}

func (s *session) lookup(ctx context.Context) (leaseEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
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
	ctx, cancel := context.WithTimeout(ctx, renewInterval)
	defer cancel()
	if revision == 0 {
		return s.state.Create(ctx, leaseKey, []byte(holder))
	}
	return s.state.Update(ctx, leaseKey, []byte(holder), revision)
}

// keep renews the lease until the context ends or it cannot be sure to have it any more.
func (l *lease) keep(ctx context.Context) {
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		begun := time.Now()
		revision, err := l.session.write(ctx, l.holder, l.revision)
		switch {
		case err == nil:
			l.revision, l.renewed = revision, begun
		case errors.Is(err, jetstream.ErrKeyExists):
			entry, lookupErr := l.session.lookup(ctx)
			if lookupErr != nil || entry.holder != l.holder { // and not an answer that was lost
				return
			}
			l.revision = entry.revision
		}
		if time.Since(l.renewed) > yieldAfter-renewInterval {
			return
		}
	}
}

// release lets another take over at once.
func (l *lease) release() {
	ctx, cancel := context.WithTimeout(context.Background(), renewInterval)
	defer cancel()
	_, _ = l.session.write(ctx, "", l.revision) // else they wait
}

// Each does something with what is stored, without the right to deliver: only what several may do.
func (j *Journal) Each(ctx context.Context, do func(*Work) error) error {
	s := j.current.Load()
	if s == nil {
		return ErrUnavailable
	}
	return do(&Work{session: s, journal: j, right: ctx})
}
