package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// batchType is the content type of CloudEvents in a batch.
const batchType = "application/cloudevents-batch+json"

// sinkServer accepts everything at once, and counts requests and events.
type sinkServer struct {
	listener net.Listener
	server   *http.Server
	requests atomic.Int64
	events   atomic.Int64
	first    atomic.Int64 // when the first request came, in nanoseconds since 1970
	last     atomic.Int64 // when the wanted number of requests had come
	want     int64
	done     chan struct{} // closed then
}

func newSinkServer(ctx context.Context, want int) (*sinkServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sinkServer{listener: listener, want: int64(want), done: make(chan struct{})}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(listener) }() // ends with Close
	return s, nil
}

func (s *sinkServer) url() string { return "http://" + s.listener.Addr().String() }

// took returns the time between the first request and the last one that was wanted.
func (s *sinkServer) took() time.Duration { return time.Duration(s.last.Load() - s.first.Load()) }

func (s *sinkServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	events := 1
	if r.Header.Get("Content-Type") == batchType {
		body, _ := io.ReadAll(r.Body)
		events = bytes.Count(body, []byte(`"specversion"`))
	} else {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	s.events.Add(int64(events))
	w.WriteHeader(http.StatusAccepted)
	if s.first.Load() == 0 {
		s.first.CompareAndSwap(0, time.Now().UnixNano())
	}
	if s.requests.Add(1) == s.want {
		s.last.Store(time.Now().UnixNano())
		close(s.done)
	}
}

// receiverParts is what Direct mode and the buffer share.
type receiverParts struct {
	metrics *receiver.Metrics
	routes  *routing.Routes
	sender  *sink.Sender
	logger  *slog.Logger
}

func newReceiverParts(uri string, delivery routes.Delivery, webhooks int) (*receiverParts, error) {
	r := &receiverParts{metrics: receiver.NewMetrics(prometheus.NewRegistry()), logger: slog.New(slog.DiscardHandler)}
	r.routes = &routing.Routes{Logger: r.logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	r.sender = sink.NewSender(sink.Options{Metrics: sink.NewMetrics(nil)})
	document := routes.Document{}
	for i := range webhooks {
		document.Routes = append(document.Routes, routes.Route{
			Name: webhookName(i), URL: webhookURL(i), Keys: []string{hookKey}, Source: "/bench", Sink: routes.Sink{URI: uri}, Delivery: delivery,
		})
	}
	data, err := document.Encode()
	if err != nil {
		return nil, err
	}
	defer r.routes.Complete()
	return r, r.routes.Load("bench", data)
}

// drain compares the rate at which a backlog is delivered with that of Direct mode: the same sink, one request for each event, from the
// first one to the last. The two alternate. It does so for one webhook, and for several, whose cycles overlap.
func drain(ctx context.Context, o options) ([]row, error) {
	var rows []row
	for _, webhooks := range []int{1, inflight} {
		found, err := drainOf(ctx, o, webhooks)
		if err != nil {
			return nil, err
		}
		rows = append(rows, found...)
	}
	return rows, nil
}

func drainOf(ctx context.Context, o options, webhooks int) ([]row, error) {
	generator := newBatchGenerator(uint64(2 + webhooks)) //nolint:gosec // a small number
	var direct, buffered time.Duration
	count := max(1, o.batches/4/drainRounds)
	for round := range drainRounds {
		batches := make([]journal.Batch, count)
		for i := range batches {
			batches[i] = journalBatch(generator.events(batchEvents))
			batches[i].Webhook = webhookName(i % webhooks)
		}
		took, err := measureDirect(ctx, batches, webhooks)
		if err != nil {
			return nil, err
		}
		direct += took
		dir := filepath.Join(o.dir, fmt.Sprintf("drain-%d-%d", webhooks, round))
		if took, err = measureBuffered(ctx, dir, batches, webhooks); err != nil {
			return nil, err
		}
		buffered += took
	}
	events, of := count*drainRounds*batchEvents, fmt.Sprintf("%d webhooks", webhooks)
	if webhooks == 1 {
		of = "one webhook"
	}
	return []row{
		{fmt.Sprintf("Direct, %d batches at a time, %s", inflight, of), fmt.Sprintf("%.0f events/s", rate(events, direct))},
		{"From the buffer, " + of, fmt.Sprintf("%.0f events/s", rate(events, buffered))},
		{"Ratio (aim: at least 1.0)", ratio(rate(events, buffered), rate(events, direct))},
	}, nil
}

// drainRounds is how often Direct mode and the buffer alternate.
const drainRounds = 5

func measureDirect(ctx context.Context, batches []journal.Batch, webhooks int) (time.Duration, error) {
	sink, err := newSinkServer(ctx, len(batches)*batchEvents)
	if err != nil {
		return 0, err
	}
	defer sink.server.Close() //nolint:errcheck // nothing depends on it
	r, err := newReceiverParts(sink.url(), routes.Delivery{Mode: routes.ModeDirect}, webhooks)
	if err != nil {
		return 0, err
	}
	handler := receiver.NewHandler(receiver.Options{Routes: r.routes, Sender: r.sender, Metrics: r.metrics, Logger: r.logger})
	requests := make([]*http.Request, len(batches))
	for i, batch := range batches {
		if requests[i], err = mandrilltest.NewRequest(ctx, webhookURL(i%webhooks), webhookURL(i%webhooks), hookKey, batch.Value); err != nil {
			return 0, err
		}
	}
	err = inParallel(len(requests), func(i int) error { return wantOK(handler, requests[i]) })
	return sink.took(), err
}

func measureBuffered(ctx context.Context, dir string, batches []journal.Batch, webhooks int) (time.Duration, error) {
	sink, err := newSinkServer(ctx, len(batches)*batchEvents)
	if err != nil {
		return 0, err
	}
	defer sink.server.Close() //nolint:errcheck // nothing depends on it
	r, err := newReceiverParts(sink.url(), routes.Delivery{}, webhooks)
	if err != nil {
		return 0, err
	}
	j, stop, err := openJournal(ctx, dir, bufferBytes)
	if err != nil {
		return 0, err
	}
	defer stop() //nolint:errcheck // nothing depends on it
	if _, err := forEachBatch(batches, func(batch journal.Batch) error { _, err := j.Append(ctx, batch); return err }); err != nil {
		return 0, err
	}
	dispatcher := dispatch.New(dispatch.Options{Routes: r.routes, Sender: r.sender, Metrics: dispatch.NewMetrics(prometheus.NewRegistry(), r.metrics.Events), Logger: r.logger})
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan error, 1)
	go func() {
		worked <- j.Lead(working, func(ctx context.Context, consumer *journal.Consumer) error { return dispatcher.Run(ctx, consumer) })
	}()
	select {
	case <-sink.done:
	case <-ctx.Done():
	}
	cancel()
	return sink.took(), <-worked
}
