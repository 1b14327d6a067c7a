package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// openJournal runs a journal in a directory and waits until it is available.
func openJournal(ctx context.Context, dir string, total int64) (j *journal.Journal, stop func() error, err error) {
	limits, err := journal.SplitLimits(total, 0)
	if err != nil {
		return nil, nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	j = journal.New(journal.Options{Engine: &engine.Embedded{Dir: dir, Reserve: limits.Reserve, Logger: logger}, Limits: limits, Logger: logger})
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- j.Run(running) }()
	waiting, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if err := j.WaitAvailable(waiting); err != nil {
		cancel()
		return nil, nil, errors.Join(err, <-ended)
	}
	return j, func() error { cancel(); return <-ended }, nil
}

// ack compares the latency of storing a batch with a bare write and fsync of the same bytes. The two alternate.
func ack(ctx context.Context, o options) ([]row, error) {
	j, stop, err := openJournal(ctx, filepath.Join(o.dir, "ack"), bufferBytes)
	if err != nil {
		return nil, err
	}
	defer stop() //nolint:errcheck // nothing depends on it
	file, err := os.Create(filepath.Join(o.dir, "raw"))
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the file is not used again
	generator := newBatchGenerator(1)
	var journalTimes, rawTimes latencies
	size := 0
	for range o.samples {
		batch := journalBatch(generator.events(batchEvents))
		size += len(batch.Value)
		begin := time.Now()
		if _, err := j.Append(ctx, batch); err != nil {
			return nil, err
		}
		journalTimes = append(journalTimes, time.Since(begin))
		begin = time.Now()
		if _, err := file.Write(batch.Value); err != nil {
			return nil, err
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
		rawTimes = append(rawTimes, time.Since(begin))
	}
	return []row{
		{fmt.Sprintf("A batch of 1000 events, %d KB, on disk", size/o.samples/1000), journalTimes.String()},
		{"Write and fsync of the same bytes", rawTimes.String()},
		{"Ratio (aim: at most 3)", fmt.Sprintf("p50 %s, p99 %s", ratio(journalTimes.quantile(0.5).Seconds(), rawTimes.quantile(0.5).Seconds()), ratio(journalTimes.quantile(0.99).Seconds(), rawTimes.quantile(0.99).Seconds()))},
	}, nil
}

const inflight = 8 // concurrent batches

// forEachBatch calls do for each batch, inflight at a time, and returns how long it took.
func forEachBatch(batches []journal.Batch, do func(journal.Batch) error) (time.Duration, error) {
	begin := time.Now()
	err := inParallel(len(batches), func(i int) error { return do(batches[i]) })
	return time.Since(begin), err
}

// inParallel calls do with 0 to n-1, inflight at a time.
func inParallel(n int, do func(i int) error) error {
	var group sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, inflight)
	for worker := range inflight {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[worker] == nil; i = int(next.Add(1)) - 1 {
				errs[worker] = do(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// rounds is how often the compared methods alternate, so that other load on the machine affects all of them.
const rounds = 8

// storeMethod is a way to store batches.
type storeMethod struct {
	store func(journal.Batch) error
	stop  func()
}

// ingest compares the rate of storing batches with that of JetStream alone, which gets the same bytes with the same settings.
func ingest(ctx context.Context, o options) ([]row, error) {
	generator := newBatchGenerator(2)
	batches := []journal.Batch{}
	for range o.batches {
		batches = append(batches, journalBatch(generator.events(batchEvents)))
	}
	opens := [...]func(context.Context, string, []journal.Batch) (*storeMethod, error){viaJournal, viaReceiver, viaJetStream}
	var methods [len(opens)]*storeMethod
	for i, open := range opens {
		var err error
		if methods[i], err = open(ctx, filepath.Join(o.dir, strconv.Itoa(i)), batches); err != nil {
			return nil, err
		}
		defer methods[i].stop()
	}
	var took [len(methods)]time.Duration
	for part := range slices.Chunk(batches, max(1, len(batches)/rounds)) {
		for i, method := range methods {
			elapsed, err := forEachBatch(part, method.store)
			if err != nil {
				return nil, err
			}
			took[i] += elapsed
		}
	}
	events := len(batches) * batchEvents
	journalRate, receiverRate, jetstreamRate := rate(events, took[0]), rate(events, took[1]), rate(events, took[2])
	return []row{
		{fmt.Sprintf("Stored, %d batches at a time", inflight), fmt.Sprintf("%.0f events/s", journalRate)},
		{"JetStream alone, the same batches", fmt.Sprintf("%.0f events/s", jetstreamRate)},
		{"Ratio", ratio(journalRate, jetstreamRate)},
		{"As requests, including form, signature and splitting", fmt.Sprintf("%.0f events/s", receiverRate)},
		{"Ratio (aim: at least 0.6)", ratio(receiverRate, jetstreamRate)},
	}, nil
}

// viaJournal stores batches in a journal.
func viaJournal(ctx context.Context, dir string, _ []journal.Batch) (*storeMethod, error) {
	j, stop, err := openJournal(ctx, dir, bufferBytes)
	if err != nil {
		return nil, err
	}
	return &storeMethod{
		store: func(batch journal.Batch) error { _, err := j.Append(ctx, batch); return err },
		stop:  func() { _ = stop() }, // nothing depends on it
	}, nil
}

// viaReceiver passes batches to a receiver as Mandrill does, without the network.
func viaReceiver(ctx context.Context, dir string, batches []journal.Batch) (*storeMethod, error) {
	r, err := newReceiverParts("http://127.0.0.1:1", routes.Delivery{}, 1)
	if err != nil {
		return nil, err
	}
	requests := make(map[*byte]*http.Request, len(batches))
	for _, batch := range batches {
		if requests[&batch.Value[0]], err = mandrilltest.NewRequest(ctx, webhookURL(0), webhookURL(0), hookKey, batch.Value); err != nil {
			return nil, err
		}
	}
	j, stop, err := openJournal(ctx, dir, bufferBytes)
	if err != nil {
		return nil, err
	}
	handler := receiver.NewHandler(receiver.Options{Routes: r.routes, Sender: r.sender, Metrics: r.metrics, Logger: r.logger, Buffer: j})
	return &storeMethod{
		store: func(batch journal.Batch) error { return wantOK(handler, requests[&batch.Value[0]]) },
		stop:  func() { _ = stop() }, // nothing depends on it
	}, nil
}

// wantOK passes a request to a receiver, which must answer 200.
func wantOK(handler http.Handler, request *http.Request) error {
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	if response.Code != http.StatusOK {
		return fmt.Errorf("a batch got status %d", response.Code)
	}
	return nil
}

// viaJetStream publishes batches to JetStream as they are.
func viaJetStream(ctx context.Context, dir string, _ []journal.Batch) (*storeMethod, error) {
	limits, err := journal.SplitLimits(bufferBytes, 0)
	if err != nil {
		return nil, err
	}
	connection, err := (&engine.Embedded{Dir: dir, Reserve: limits.Reserve, Logger: slog.New(slog.DiscardHandler)}).Open(ctx)
	if err != nil {
		return nil, err
	}
	stop := connection.Close
	stream, err := jetstream.New(connection.Conn)
	if err == nil {
		_, err = stream.CreateStream(ctx, jetstream.StreamConfig{Name: "raw", Subjects: []string{"raw"}, Storage: jetstream.FileStorage})
	}
	if err != nil {
		stop()
		return nil, err
	}
	return &storeMethod{store: func(batch journal.Batch) error { _, err := stream.Publish(ctx, "raw", batch.Value); return err }, stop: stop}, nil
}
