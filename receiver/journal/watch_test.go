package journal_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// When the JetStream consumer is gone, Watch continues with another one.
func TestWatchContinuesWithAnotherConsumer(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	o := run(t, journal.New(options))
	stream := e.batches()
	const batches = 30
	got := make(chan uint64, 10*batches)
	o.work(func(ctx context.Context, w *journal.Consumer) {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- w.Watch(ctx, func(notice journal.BatchInfo) { got <- notice.Seq }, func() {}) }()
		for want := uint64(1); want <= batches; want++ {
			o.append(batch("shop/a", strconv.FormatUint(want, 10))) //nolint:contextcheck // that of the test
			if seq := <-got; seq != want {
				t.Errorf("told of %d, want %d", seq, want)
			}
			if want%10 > 0 {
				continue
			}
			for name := range stream.ConsumerNames(ctx).Name() {
				if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
					t.Error(err)
				}
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Watch ends with its context, also while the server does not answer.
func TestWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	o, way := behindProxy(t)
	o.append(batch("shop/a", "1"))
	o.work(func(ctx context.Context, w *journal.Consumer) {
		ctx, cancel := context.WithTimeout(ctx, 6*time.Second) // when it creates another consumer
		defer cancel()
		goOn := func() {}
		ended := make(chan error, 1)
		go func() { ended <- w.Watch(ctx, func(journal.BatchInfo) { goOn = way.stall() }, func() {}) }()
		defer func() { goOn() }()
		select {
		case err := <-ended:
			if err != nil || ctx.Err() == nil {
				t.Errorf("it ended before it should, error %v", err)
			}
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
}

// A request that nobody answers is repeated while a leader may be elected.
func TestRequestsAreRepeated(t *testing.T) {
	t.Parallel()
	o, way := behindProxy(t)
	o.append(batch("shop/a", "1"))
	o.work(func(ctx context.Context, w *journal.Consumer) {
		end := way.stall()
		defer end()
		taken := make(chan error, 1)
		var stored *journal.StoredBatch
		go func() {
			var err error
			stored, err = w.Next(ctx, "shop/a", 0)
			taken <- err
		}()
		select {
		case err := <-taken:
			t.Errorf("it gave up: %v", err)
			return
		case <-time.After(7 * time.Second): // longer than a request may take
		}
		end()
		if err := <-taken; err != nil {
			t.Fatal(err)
		}
		if err := w.Ack(ctx, stored); err != nil {
			t.Error(err)
		}
	})
}

// Next waits for a batch that a replica has announced before the leader has it.
func TestNextWaitsForTheLeader(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	o := run(t, journal.New(options))
	o.work(func(ctx context.Context, w *journal.Consumer) {
		o.append(batch("shop/a", "1")) //nolint:contextcheck // that of the test
		o.lag(3)
		if _, err := w.Next(ctx, "shop/a", 0); err != nil || o.lags() {
			t.Errorf("it gave up: %v", err)
		}
		begun := time.Now()
		if _, err := w.Next(ctx, "shop/b", 0); err == nil || time.Since(begun) > 5*time.Second {
			t.Errorf("what does not come: %v after %s", err, time.Since(begun))
		}
	})
}

// A deleted webhook is remembered until it is there again, also where streams are shared.
func TestDeletedWebhooksComeAndGo(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	o := run(t, journal.New(options))
	o.work(func(ctx context.Context, w *journal.Consumer) {
		for webhook, since := range map[string]time.Time{"shop/a": time.UnixMilli(1), "shop/b c": time.UnixMilli(2)} {
			if err := w.MarkDeleted(ctx, webhook, since); err != nil {
				t.Error(err)
			}
		}
		if err := w.MarkDeleted(ctx, "shop/a", time.Time{}); err != nil {
			t.Error(err)
		}
		deleted, err := w.DeletedWebhooks(ctx)
		if err != nil || len(deleted) != 1 || deleted["shop/b c"] != time.UnixMilli(2) {
			t.Errorf("deleted webhooks are %v, error %v", deleted, err)
		}
	})
}

// The initial listing completes although batches are deleted before they are announced.
func TestWatchCompletesWithoutDeletedBatches(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	options.LeaseTime = time.Hour
	o := run(t, journal.New(options))
	const batches = 1000 // more than are read ahead
	for i := range batches {
		o.append(batch("shop/a", strconv.Itoa(i)))
	}
	stream := e.batches()
	o.work(func(ctx context.Context, w *journal.Consumer) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		told, known := uint64(0), false
		err := w.Watch(ctx, func(journal.BatchInfo) {
			if told++; told == 1 {
				if err := stream.Purge(ctx); err != nil {
					t.Error(err)
				}
			}
		}, func() { known = true; cancel() })
		if err != nil || !known || told == batches {
			t.Errorf("known %t after %d of %d, error %v", known, told, batches, err)
		}
	})
}

// A JetStream consumer that does not announce a batch is replaced.
func TestWatchReplacesAStaleConsumer(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	options.LeaseTime = time.Hour
	o := run(t, journal.New(options))
	stream := e.batches()
	o.work(func(ctx context.Context, w *journal.Consumer) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		known := make(chan struct{})
		got := make(chan journal.BatchInfo, 1)
		ended := make(chan error, 1)
		go func() {
			ended <- w.Watch(ctx, func(notice journal.BatchInfo) { got <- notice }, func() { close(known) })
		}()
		<-known
		var name string
		until(t, "there is a consumer", func() bool {
			for each := range stream.ConsumerNames(ctx).Name() {
				name = each
			}
			return name != ""
		})
		until(t, "a paused consumer", func() bool {
			info, err := stream.PauseConsumer(ctx, name, time.Now().Add(time.Hour))
			return err == nil && info.Paused
		})
		o.append(batch("shop/a", "1")) //nolint:contextcheck // that of the test
		select {
		case <-got:
		case err := <-ended:
			t.Errorf("it ended: %v", err)
		case <-ctx.Done():
			t.Error("it is not told of the batch")
		}
		cancel()
	})
}
