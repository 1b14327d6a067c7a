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
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// bufferBytes is more than any backlog here.
const bufferBytes = 32 << 30

// backlog measures a large backlog: the memory with and without it, the time to open it, and the rate of its delivery.
func backlog(ctx context.Context, o options) ([]row, error) {
	ctx, died := context.WithCancelCause(ctx)
	defer died(nil)
	dir, config := filepath.Join(o.dir, "waiting"), filepath.Join(o.dir, "routes.yaml")
	if err := writeRoutes(config, "http://127.0.0.1:1"); err != nil { // nothing listens there
		return nil, err
	}
	p, err := startReceiver(ctx, died, dir, config)
	if err != nil {
		return nil, err
	}
	err = p.awaitBacklog(ctx, 0)
	idle, memoryErr := p.program.Memory()
	if err := errors.Join(err, memoryErr, p.program.Stop()); err != nil {
		return nil, err
	}
	events, err := fillTo(ctx, dir, int64(o.backlogGB)<<30)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if p, err = startReceiver(ctx, died, dir, config); err != nil {
		return nil, err
	}
	rows, err := measureRestart(ctx, p, begin, o.backlogGB, events)
	if err != nil {
		return nil, errors.Join(err, p.program.Stop())
	}
	delivered, err := measureDelivery(ctx, p, config, events)
	rows = append([]row{{"Memory, idle", mib(idle)}}, rows...)
	return append(rows, delivered...), errors.Join(err, p.program.Stop())
}

// measureRestart measures a receiver that was started with a backlog.
func measureRestart(ctx context.Context, p *receiverProcess, begin time.Time, gb, events int) ([]row, error) {
	if err := p.awaitReady(ctx); err != nil {
		return nil, err
	}
	ready := time.Since(begin)
	if err := p.awaitBacklog(ctx, events); err != nil {
		return nil, err
	}
	known := time.Since(begin)
	now, err := p.program.Memory()
	peak, peakErr := p.program.PeakMemory()
	return []row{
		{fmt.Sprintf("Memory with a backlog of %d GB, %d events, sink down", gb, events), fmt.Sprintf("%s, peak %s", mib(now), mib(peak))},
		{"Restart: ready, per GB", ms(ready / time.Duration(gb))},
		{"Restart: backlog listed, per GB", ms(known / time.Duration(gb))},
	}, errors.Join(err, peakErr)
}

// measureDelivery routes the backlog to a sink that works, 100 events in a request.
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
	peak, err := p.program.PeakMemory()
	return []row{
		{"Delivery of the backlog, 100 events per request", fmt.Sprintf("%.0f events/s", rate(events, took))},
		{"Peak memory until the backlog was delivered", mib(peak)},
	}, err
}

// fillTo stores batches until a directory has a number of bytes.
func fillTo(ctx context.Context, dir string, bytes int64) (events int, err error) {
	j, stop, err := openJournal(ctx, dir, bufferBytes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	generator := newBatchGenerator(4)
	stored, err := harness.FileBytes(dir, "")
	for ; err == nil && stored < bytes; stored, err = harness.FileBytes(dir, "") {
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

func writeRoutes(path, uri string) error {
	data, err := (&routes.Document{Routes: []routes.Route{{
		Name: webhookName(0), URL: webhookURL(0), Keys: []string{hookKey}, Source: "/bench", Sink: routes.Sink{URI: uri}, Delivery: routes.Delivery{ContentMode: "Batched"},
	}}}).Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
