package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
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

func rawEvent(text string) []byte {
	name, id, _ := strings.Cut(text, " ")
	return fmt.Appendf(nil, `{"event":%q,"_id":%q}`, name, id)
}

func batchAt(seq uint64, events ...string) *journal.StoredBatch {
	batch := &journal.StoredBatch{Position: journal.Position{Seq: seq}, Origin: seq, Webhook: "shop/a", Received: time.Now(), EventCount: len(events)}
	var raw [][]byte
	for _, text := range events {
		raw = append(raw, rawEvent(text))
	}
	batch.Value = mandrilltest.Batch(raw...)
	return batch
}

func remainderAt(seq, origin uint64, events ...string) *journal.StoredBatch {
	batch := &journal.StoredBatch{Position: journal.Position{Remainder: true, Seq: seq}, Origin: origin, Webhook: "shop/a", Received: time.Now(), EventCount: len(events)}
	for _, text := range events {
		batch.Events = append(batch.Events, journal.PendingEvent{ID: text, Raw: rawEvent(text), Attempts: 1})
	}
	return batch
}

// startDispatcher runs a dispatcher until it fails or the test ends.
func startDispatcher(t *testing.T, consumer dispatch.Consumer, sinks *fakeSinks) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := runDispatcher(ctx, t, consumer, sinks)
	failed, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		failed <- <-ended
	}()
	t.Cleanup(func() { cancel(); <-done })
	return failed
}

// runDispatcher runs a dispatcher until it fails or ctx ends.
func runDispatcher(ctx context.Context, t *testing.T, consumer dispatch.Consumer, sinks *fakeSinks) <-chan error {
	t.Helper()
	table := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	loadRoutes(t, table, "a")
	return runDispatcherWith(ctx, t, dispatch.Options{Routes: table}, consumer, sinks)
}

// loadRoutes replaces all routes by those of some webhooks.
func loadRoutes(t *testing.T, table *routing.Routes, webhooks ...string) {
	t.Helper()
	document := &routes.Document{Routes: []routes.Route{}}
	for _, webhook := range webhooks {
		document.Routes = append(document.Routes, routes.Route{Name: "shop/" + webhook, URL: hookURL(webhook), Source: "/s", Sink: routes.Sink{URI: "http://" + webhook + ".example/"}})
	}
	data, err := document.Encode()
	if err == nil {
		err = table.Load("routes", data)
	}
	if err != nil {
		t.Error(err)
	}
	table.Complete()
}

// runDispatcherWith runs a dispatcher with options until it fails or ctx ends.
func runDispatcherWith(ctx context.Context, t *testing.T, options dispatch.Options, consumer dispatch.Consumer, sinks *fakeSinks) <-chan error {
	t.Helper()
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	options.Sender, options.Metrics = sink.NewSender(sink.Options{Poster: sinks}), dispatch.NewMetrics(prometheus.NewRegistry(), metrics.Events)
	options.Logger = slog.New(slog.DiscardHandler)
	dispatcher := dispatch.New(options)
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- dispatcher.Run(ctx, consumer)
	}()
	return ended
}
