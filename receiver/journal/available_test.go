package journal_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// unsyncable is an engine whose directories of streams cannot be synced, as when they belong to somebody else.
type unsyncable struct {
	journal.Engine
	broken atomic.Bool
}

func (u *unsyncable) Open(ctx context.Context) (*engine.Connection, error) {
	connection, err := u.Engine.Open(ctx)
	if err != nil {
		return nil, err
	}
	sync := connection.SyncDir
	connection.SyncDir = func(stream string) error {
		if u.broken.Load() {
			return errors.New("permission denied")
		}
		return sync(stream)
	}
	return connection, nil
}

// Readiness follows what happens to batches: a buffer that refuses each of them is not available, though its server answers.
func TestBufferThatRefusesEveryBatchIsNotAvailable(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	broken := &unsyncable{Engine: &engine.Embedded{Dir: t.TempDir(), Reserve: smallReserve, Logger: logger}}
	o := run(t, journal.New(journal.Options{Engine: broken, Limits: limits, Logger: logger}))
	o.append(batch("shop/a", "1"))
	broken.broken.Store(true)
	if _, err := o.Append(t.Context(), batch("shop/a", "2")); !errors.Is(err, journal.ErrUnavailable) {
		t.Fatalf("got %v, want %v", err, journal.ErrUnavailable)
	}
	until(t, "the buffer is not available", func() bool { return !o.Available(t.Context()) })
	broken.broken.Store(false)
	until(t, "the buffer is available", func() bool { return o.Available(t.Context()) })
	o.append(batch("shop/a", "3"))
}

// A stream that somebody deletes from NATS is created again. What was in it is lost, and the buffer works.
func TestDeletedStreamIsCreatedAgain(t *testing.T) {
	t.Parallel()
	external := newExternal(t)
	options, _ := shared(t)
	options.Engine = &engine.External{URLs: []string{external.url()}, Logger: options.Logger}
	o := run(t, journal.New(options))
	o.append(batch("shop/a", "1"))
	if err := external.client().DeleteStream(t.Context(), "mandrill-batch"); err != nil {
		t.Fatal(err)
	}
	until(t, "a batch is stored", func() bool {
		_, err := o.Append(t.Context(), batch("shop/a", "2"))
		return err == nil
	})
	until(t, "the buffer is available", func() bool { return o.Available(t.Context()) })
}
