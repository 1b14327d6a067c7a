package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// bufferBytes is more than any of the backlogs.
const bufferBytes = 32 << 30

// waiting measures what a backlog costs: memory with nothing and with much of it, the time to open it, and what it takes
// to deliver it.
func backlog(ctx context.Context, o options) ([]row, error) {
	ctx, died := context.WithCancelCause(ctx)
	defer died(nil)
	folder, config := filepath.Join(o.dir, "waiting"), filepath.Join(o.dir, "routes.yaml")
	if err := writeRoutes(config, "http://127.0.0.1:1"); err != nil { // nobody listens there
		return nil, err
	}
	p, err := startReceiver(ctx, died, folder, config)
	if err != nil {
		return nil, err
	}
	err = p.awaitBacklog(ctx, 0)
	idle, memoryErr := p.Memory()
	if err := errors.Join(err, memoryErr, p.Stop()); err != nil {
		return nil, err
	}
	events, err := fillTo(ctx, folder, int64(o.backlogGB)<<30)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if p, err = startReceiver(ctx, died, folder, config); err != nil {
		return nil, err
	}
	rows, err := measureRestart(ctx, p, begin, o.backlogGB, events)
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	delivered, err := measureDelivery(ctx, p, config, events)
	rows = append([]row{{"Memory, idle", mib(idle)}}, rows...)
	return append(rows, delivered...), errors.Join(err, p.Stop())
}

// reopened measures a receiver that was started with a backlog.
func measureRestart(ctx context.Context, p *receiverProcess, begin time.Time, gb, events int) ([]row, error) {
	if err := p.awaitReady(ctx); err != nil {
		return nil, err
	}
	ready := time.Since(begin)
	if err := p.awaitBacklog(ctx, events); err != nil {
		return nil, err
	}
	known := time.Since(begin)
	now, err := p.Memory()
	peak, peakErr := p.PeakMemory()
	return []row{
		{fmt.Sprintf("Memory with %d GB waiting, %d events, for a sink that is down", gb, events), fmt.Sprintf("%s, peak %s", mib(now), mib(peak))},
		{"Restart: ready, per GB", ms(ready / time.Duration(gb))},
		{"Restart: all of the backlog known, per GB", ms(known / time.Duration(gb))},
	}, errors.Join(err, peakErr)
}

// deliver lets the backlog go, 100 events in a request.
func measureDelivery(ctx context.Context, p *receiverProcess, config string, events int) ([]row, error) {
	sink, err := newSinkServer(ctx, -1)
	if err != nil {
		return nil, err
	}
	defer sink.server.Close() //nolint:errcheck // nothing depends on it
	begin := time.Now()
	if err := writeRoutes(config, sink.url()); err != nil {
		return nil, err
	}
	if err := p.awaitBacklog(ctx, 0); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	peak, err := p.PeakMemory()
	return []row{
		{"Delivery of it, 100 events in a request", fmt.Sprintf("%.0f events/s", rate(events, took))},
		{"Peak memory until it was delivered", mib(peak)},
	}, err
}

// fill keeps batches until a folder has so many bytes.
func fillTo(ctx context.Context, folder string, bytes int64) (events int, err error) {
	j, stop, err := openJournal(ctx, folder, bufferBytes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	generator := newBatchGenerator(4)
	stored, err := folderBytes(folder)
	for ; err == nil && stored < bytes; stored, err = folderBytes(folder) {
		batches := []journal.Batch{}
		for range 50 {
			batches = append(batches, journalBatch(generator.events(batchEvents)))
		}
		if _, err := forEachBatch(batches, func(batch journal.Batch) error { _, err := j.Append(ctx, batch); return err }); err != nil {
			return 0, err
		}
		events += len(batches) * batchEvents
	}
	return events, err
}

func folderBytes(folder string) (total int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

func writeRoutes(path, uri string) error {
	data, err := (&routes.Document{Routes: []routes.Route{{
		Name: "bench", URL: hookURL, Keys: []string{hookKey}, Source: "/bench", Sink: routes.Sink{URI: uri}, Delivery: routes.Delivery{ContentMode: "Batched"},
	}}}).Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
