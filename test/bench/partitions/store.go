package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

const (
	backlogBatch = 100 // events of a batch in the backlog
	storing      = 16  // batches that are stored at a time
)

// openJournal opens the shared buffer as a receiver does. It stores, and does not deliver.
func openJournal(ctx context.Context, nats *natsProcess) (j *journal.Journal, stop func() error, err error) {
	limits, err := journal.SplitLimits(bufferBytes, 0)
	if err != nil {
		return nil, nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	j = journal.New(journal.Options{Engine: &engine.External{URLs: []string{nats.url.String()}, Logger: logger}, Limits: limits, Logger: logger})
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- j.Run(running) }()
	waiting, done := context.WithTimeout(ctx, startTimeout)
	defer done()
	if err := j.WaitAvailable(waiting); err != nil {
		cancel()
		return nil, nil, errors.Join(err, <-ended)
	}
	return j, func() error { cancel(); return <-ended }, nil
}

func journalBatch(webhook int, events [][]byte) journal.Batch {
	return journal.Batch{Webhook: webhookName(webhook), Received: time.Now(), Value: mandrilltest.Batch(events...), Events: events, IDs: func() []string {
		ids := make([]string, len(events))
		for i := range ids {
			ids[i] = strconv.Itoa(i)
		}
		return ids
	}}
}

// inParallel calls do with 0 to n-1, some of them at a time, and the number of the worker that calls it.
func inParallel(n, workers int, do func(worker, i int) error) error {
	errs := make([]error, workers)
	var next atomic.Int64
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[worker] == nil; i = int(next.Add(1)) - 1 {
				errs[worker] = do(worker, i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// fill stores a backlog of all webhooks. The batches of a webhook are stored one after the other, to keep their order.
func (m *members) fill(ctx context.Context) error {
	j, stop, err := openJournal(ctx, m.nats)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = inParallel(m.options.webhooks, storing, func(_, webhook int) error {
		g := newGenerator(uint64(time.Now().UnixNano()) + uint64(webhook)) //nolint:gosec // it wraps around
		for left := m.options.backlog; left > 0; left -= backlogBatch {
			events := m.ledger.newEvents(g, webhook, min(left, backlogBatch))
			if _, err := j.Append(ctx, journalBatch(webhook, events)); err != nil {
				return err
			}
		}
		return nil
	})
	harness.Logf("stored a backlog in %s", time.Since(begin).Round(time.Millisecond))
	return errors.Join(err, stop())
}
