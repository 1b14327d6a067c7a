package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// patience is above what a busy machine takes for several leases, or for megabytes with the race detector.
const patience = 5 * time.Minute

// opened is a journal of a server in this process.
type opened struct {
	*journal.Journal
	*tap
	t    *testing.T
	stop func()
}

func open(t *testing.T, dir string, total int64) *opened {
	t.Helper()
	limits, err := journal.SplitLimits(total, 0)
	if err != nil {
		t.Fatal(err)
	}
	return openLimited(t, dir, limits)
}

// smallReserve is the reserve of buffers whose volume does not become full. A whole one is up to 64 MiB, written at every first start.
const smallReserve = 1 << 20

func openLimited(t *testing.T, dir string, limits journal.Limits) *opened {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	return run(t, journal.New(journal.Options{Engine: &engine.Embedded{Dir: dir, Reserve: smallReserve, Logger: logger}, Limits: limits, Logger: logger}))
}

func run(t *testing.T, j *journal.Journal) *opened {
	t.Helper()
	tap := tapped(t, j)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	o := &opened{Journal: j, tap: tap, t: t, stop: func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}}
	t.Cleanup(o.stop)
	waiting, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := j.WaitAvailable(waiting); err != nil {
		t.Fatal(err)
	}
	return o
}

// batch is a batch of some events.
func batch(webhook string, events ...string) journal.Batch {
	raw := make([][]byte, len(events))
	for i, event := range events {
		raw[i] = []byte(event)
	}
	return journal.Batch{
		Webhook: webhook, Received: time.UnixMilli(1795227543123), Value: []byte("[" + strings.Join(events, ",") + "]"), Events: raw,
		IDs: func() []string {
			ids := make([]string, len(events))
			for i := range ids {
				ids[i] = strconv.Itoa(i)
			}
			return ids
		},
	}
}

// append stores a batch, and reports whether it was stored before. After several attempts that is not known: it reports false.
func (o *opened) append(b journal.Batch) (duplicate bool) {
	o.t.Helper()
	duplicate, attempts := journaltest.Append(o.t, o.Journal, b)
	return duplicate && attempts == 1
}

// isDuplicate stores a batch that was stored before, and reports whether that was noticed. An append of several attempts does not say so:
// it asks again.
func (o *opened) isDuplicate(b journal.Batch) (duplicate bool) {
	o.t.Helper()
	until(o.t, "a quick answer", func() bool {
		begun := time.Now()
		duplicate, _ = journaltest.Append(o.t, o.Journal, b)
		return duplicate || !journal.Repeats(o.Journal) || time.Since(begun) < store.MinPause // before a second attempt
	})
	return duplicate
}

// isFull reports whether there is no space for a batch.
func (o *opened) isFull(b journal.Batch) bool {
	o.t.Helper()
	_, _, err := journaltest.TryAppend(o.t, o.Journal, b)
	if err != nil && !errors.Is(err, journal.ErrFull) {
		o.t.Error(err)
	}
	return err != nil
}

// work does something as the leader.
func (o *opened) work(do func(context.Context, *journal.Consumer)) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	_ = o.Lead(ctx, func(ctx context.Context, w *journal.Consumer) error {
		defer cancel()
		do(ctx, w)
		return nil
	})
}

// next is the first batch of a webhook at a position; nil: there is none.
func (o *opened) next(webhook string, from uint64) (found *journal.StoredBatch) {
	o.t.Helper()
	o.work(func(ctx context.Context, c *journal.Consumer) {
		var err error
		if found, err = c.Next(ctx, webhook, from); err != nil && !errors.Is(err, journal.ErrNotFound) {
			o.t.Error(err)
		}
	})
	return found
}

// ack finishes a batch.
func (o *opened) ack(batch *journal.StoredBatch) {
	o.t.Helper()
	o.work(func(ctx context.Context, c *journal.Consumer) {
		if err := c.Ack(ctx, batch); err != nil {
			o.t.Error(err)
		}
	})
}

// largeEvent is an event of so many bytes without the quotes, which cannot be compressed.
func largeEvent(size, seed int) string {
	return `"` + incompressible(strings.Repeat("x", size), seed) + `"` // strconv.Quote takes seconds with the race detector
}

// incompressible replaces every letter of a text. The race detector would make it take seconds, and has nothing to find: what it
// writes is its own.
//
//go:norace
func incompressible(text string, seed int) string {
	out := []byte(text)
	state := uint64(seed + 7)
	for i := range out {
		state = state*6364136223846793005 + 1442695040888963407
		out[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[state>>58]
	}
	return string(out)
}
