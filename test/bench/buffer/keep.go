package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// opened runs a journal in a folder. The engine is for what goes past the journal.
func opened(ctx context.Context, dir string, total int64) (j *journal.Journal, engine *journal.Embedded, stop func() error, err error) {
	limits, err := journal.Divide(total, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	engine = &journal.Embedded{Dir: dir, Limits: limits, Logger: logger}
	j = journal.New(journal.Options{Engine: engine, Limits: limits, Logger: logger})
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- j.Run(running) }()
	waiting, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if err := j.Opened(waiting); err != nil {
		cancel()
		return nil, nil, nil, errors.Join(err, <-ended)
	}
	return j, engine, func() error { cancel(); return <-ended }, nil
}

// ack compares how long it takes until a batch is on disk with a bare write and fsync of the same bytes, in turns.
func ack(ctx context.Context, o options) ([]row, error) {
	j, _, stop, err := opened(ctx, filepath.Join(o.dir, "ack"), bufferBytes)
	if err != nil {
		return nil, err
	}
	defer stop() //nolint:errcheck // only read from
	file, err := os.Create(filepath.Join(o.dir, "raw"))
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // not read any more
	make := newMaker(1)
	var ours, raw times
	size := 0
	for range o.samples {
		batch := kept(make.events(batchEvents))
		size += len(batch.Value)
		begin := time.Now()
		if _, err := j.Append(ctx, batch); err != nil {
			return nil, err
		}
		ours = append(ours, time.Since(begin))
		begin = time.Now()
		if _, err := file.Write(batch.Value); err != nil {
			return nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
		raw = append(raw, time.Since(begin))
	}
	return []row{
		{fmt.Sprintf("A batch of 1000 events, %d KB, on disk", size/o.samples/1000), ours.String()},
		{"Write and fsync of the same bytes", raw.String()},
		{"Ratio (aim: at most 3)", fmt.Sprintf("p50 %s, p99 %s", ratio(ours.at(0.5).Seconds(), raw.at(0.5).Seconds()), ratio(ours.at(0.99).Seconds(), raw.at(0.99).Seconds()))},
	}, nil
}

const inflight = 8 // batches at the same time

// each does something with every batch, so many at a time, and returns how long it took.
func each(batches []journal.Batch, do func(journal.Batch) error) (time.Duration, error) {
	var group sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, inflight)
	begin := time.Now()
	for worker := range inflight {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(batches)) && errs[worker] == nil; i = next.Add(1) - 1 {
				errs[worker] = do(batches[i])
			}
		})
	}
	group.Wait()
	return time.Since(begin), errors.Join(errs...)
}

// ingest compares how many events a second are kept with what the engine stores of the same batches when it is given
// them as they are, with the same settings.
func ingest(ctx context.Context, o options) ([]row, error) {
	make := newMaker(2)
	batches := []journal.Batch{}
	for range o.batches {
		batches = append(batches, kept(make.events(batchEvents)))
	}
	j, _, stop, err := opened(ctx, filepath.Join(o.dir, "ingest"), bufferBytes)
	if err != nil {
		return nil, err
	}
	ours, err := each(batches, func(batch journal.Batch) error { _, err := j.Append(ctx, batch); return err })
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	limits, err := journal.Divide(bufferBytes, 0)
	if err != nil {
		return nil, err
	}
	conn, closeEngine, err := (&journal.Embedded{Dir: filepath.Join(o.dir, "engine"), Limits: limits, Logger: slog.New(slog.DiscardHandler)}).Open(ctx)
	if err != nil {
		return nil, err
	}
	defer closeEngine()
	theirs, err := stored(ctx, conn, batches)
	if err != nil {
		return nil, err
	}
	events := len(batches) * batchEvents
	return []row{
		{fmt.Sprintf("Kept, %d batches at a time", inflight), fmt.Sprintf("%.0f events/s", rate(events, ours))},
		{"The engine's own limit with the same batches", fmt.Sprintf("%.0f events/s", rate(events, theirs))},
		{"Ratio (aim: at least 0.6)", ratio(rate(events, ours), rate(events, theirs))},
	}, nil
}

// stored gives batches to the engine as they are.
func stored(ctx context.Context, conn *nats.Conn, batches []journal.Batch) (time.Duration, error) {
	stream, err := jetstream.New(conn)
	if err != nil {
		return 0, err
	}
	if _, err := stream.CreateStream(ctx, jetstream.StreamConfig{Name: "raw", Subjects: []string{"raw"}, Storage: jetstream.FileStorage}); err != nil {
		return 0, err
	}
	return each(batches, func(batch journal.Batch) error {
		_, err := stream.Publish(ctx, "raw", batch.Value)
		return err
	})
}
