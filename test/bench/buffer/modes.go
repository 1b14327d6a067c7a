package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	modesRounds = 5
	modesBatch  = 100 // events of a batch
	modesEvents = 20_000
)

// deliveryMode is a way to deliver, of which modes measures the processor time.
type deliveryMode struct {
	name     string
	delivery routes.Delivery
}

func deliveryModes() (all []deliveryMode) {
	for _, mode := range []string{routes.ModeDirect, routes.ModeBuffered} {
		for _, content := range []string{"Binary", "Structured", "Batched"} {
			all = append(all, deliveryMode{mode + ", " + content, routes.Delivery{Mode: mode, ContentMode: content}})
		}
	}
	return all
}

// modes measures the processor time that an event takes in each mode, from the request to the sink's answer, of a receiver with a buffer.
// Rounds measure all modes in turns.
func modes(ctx context.Context, o options) ([]row, error) {
	ctx, died := context.WithCancelCause(ctx)
	defer died(nil)
	sink, err := newSinkServer(ctx, -1)
	if err != nil {
		return nil, err
	}
	defer sink.server.Close() //nolint:errcheck // nothing depends on it
	all := deliveryModes()
	config := filepath.Join(o.dir, "modes.yaml")
	if err := writeModes(config, all, sink.url()); err != nil {
		return nil, err
	}
	listen, err := loopback.Address(ctx)
	if err != nil {
		return nil, err
	}
	p, err := startReceiverAt(ctx, died, listen, filepath.Join(o.dir, "modes"), config)
	if err != nil {
		return nil, err
	}
	if err := p.awaitBacklog(ctx, 0); err != nil {
		return nil, errors.Join(err, p.program.Stop())
	}
	used := make([]latencies, len(all))
	generator := newBatchGenerator(5)
	for round := range modesRounds + 1 {
		for i := range all {
			took, err := p.measureMode(ctx, generator, sink, "http://"+listen, i)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", all[i].name, err), p.program.Stop())
			}
			if round > 0 { // connections and caches are cold in the first one
				used[i] = append(used[i], took)
			}
		}
	}
	var rows []row
	for i, mode := range all {
		perEvent := float64(used[i].quantile(0.5).Nanoseconds()) / 1000 / modesEvents
		rows = append(rows, row{mode.name + ", batches of " + strconv.Itoa(modesBatch), fmt.Sprintf("%.1f µs an event, %.1f %% of a core for 1000 events/s", perEvent, perEvent/10)})
	}
	return rows, p.program.Stop()
}

func writeModes(path string, all []deliveryMode, uri string) error {
	document := routes.Document{}
	for i, mode := range all {
		document.Routes = append(document.Routes, routes.Route{
			Name: webhookName(i), URL: webhookURL(i), Keys: []string{hookKey}, Source: "/bench", Sink: routes.Sink{URI: uri}, Delivery: mode.delivery,
		})
	}
	data, err := document.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// measureMode sends batches to a route and returns the receiver's processor time until all events have arrived.
func (p *receiverProcess) measureMode(ctx context.Context, g *batchGenerator, sink *sinkServer, receiver string, mode int) (time.Duration, error) {
	requests := make([]*http.Request, modesEvents/modesBatch)
	for i := range requests {
		request, err := mandrilltest.NewRequest(ctx, receiver+strings.TrimPrefix(webhookURL(mode), "https://hooks.example.com"), webhookURL(mode), hookKey, mandrilltest.Batch(g.events(modesBatch)...))
		if err != nil {
			return 0, err
		}
		requests[i] = request
	}
	before, err := p.program.CPU()
	if err != nil {
		return 0, err
	}
	arrived := sink.events.Load()
	if err := sendAll(requests); err != nil {
		return 0, err
	}
	if err := sink.await(ctx, arrived+modesEvents); err != nil {
		return 0, err
	}
	after, err := p.program.CPU()
	return after - before, err
}

// sendAll sends requests, some at a time, each of which must be answered with 200.
func sendAll(requests []*http.Request) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inflight}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	return inParallel(len(requests), func(i int) error {
		response, err := client.Do(requests[i])
		if err != nil {
			return err
		}
		_ = response.Body.Close() // only the status matters
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("a batch got status %d", response.StatusCode)
		}
		return nil
	})
}

// await waits until a number of events have arrived in all.
func (s *sinkServer) await(ctx context.Context, events int64) error {
	timeout := time.After(time.Minute)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for s.events.Load() < events {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return fmt.Errorf("%d events are lost", events-s.events.Load())
		case <-ticker.C:
		}
	}
	return nil
}
