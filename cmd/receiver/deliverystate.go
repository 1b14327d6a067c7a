package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"iter"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/report"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// defaultTokenFile is where the chart mounts the token for the operator.
const defaultTokenFile = "/var/run/secrets/mandrill-operator/token" //nolint:gosec // a path

// follow makes a state follow the routes in use.
func follow(table *routing.Routes, state *delivery.State, stored *buffer) {
	table.Observe = func(webhooks iter.Seq[string]) {
		state.SetWebhooks(webhooks)
		if stored != nil {
			stored.metrics.Removals.SetWebhooks(webhooks)
		}
	}
}

// newReports returns the sender of reports, nil without --operator-url.
func (o *options) newReports(state *delivery.State, registry prometheus.Registerer, logger *slog.Logger) *report.Sender {
	metrics := report.NewMetrics(registry)
	if o.operatorURL == "" {
		return nil
	}
	return report.New(report.Options{
		URL: o.operatorURL, TokenFile: o.reportTokenFile, Source: state, Receiver: o.name, Instance: o.instance, Metrics: metrics, Logger: logger,
	})
}

// statusHandler answers at /status, and leaves the other paths to next.
func (o *options) statusHandler(state *delivery.State, sender *report.Sender, ready func(context.Context) error, next http.Handler) http.Handler {
	options := delivery.StatusOptions{Receiver: o.name, Ready: ready}
	if sender != nil {
		options.Reports = func() delivery.ReportStatus {
			sent := sender.Status()
			status := delivery.ReportStatus{Failure: sent.Failure}
			if at := sent.LastAccepted.UTC(); !sent.LastAccepted.IsZero() {
				status.LastAcceptedAt = &at
			}
			return status
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /status", state.StatusHandler(options))
	mux.Handle("/", next)
	return mux
}

// watch returns a function that keeps the state of the buffer up to date.
func (b *buffer) watch(state *delivery.State, instance string) func(context.Context) error {
	state.SetBacklog(b.dispatcher)
	state.SetBuffer(reports.Buffer{ID: instance, State: reports.BufferUnavailable}) // until it is open
	return func(ctx context.Context) error {
		state.Watch(ctx, newBufferState(b.journal, instance))
		return nil
	}
}

// bufferState is the state of a buffer for reports. [journal.Journal] knows most of it.
type bufferState struct {
	journal *journal.Journal

	mu   sync.Mutex
	last reports.Buffer // as of when the buffer was available
}

func newBufferState(stored *journal.Journal, instance string) *bufferState {
	return &bufferState{journal: stored, last: reports.Buffer{ID: instance}} // nobody shares what was never open
}

// Status implements [delivery.Buffer].
func (b *bufferState) Status(ctx context.Context) reports.Buffer {
	used, err := b.journal.Usage(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		unavailable := b.last
		unavailable.State = reports.BufferUnavailable
		return unavailable
	}
	b.last = reports.Buffer{ID: used.ID, State: reports.BufferAvailable, UsedBytes: used.Used, MaxBytes: used.Max}
	if used.Full {
		b.last.State = reports.BufferFull
	}
	return b.last
}

// HeldDeadLetters implements [delivery.Buffer].
func (b *bufferState) HeldDeadLetters(ctx context.Context) (map[string]int64, error) {
	return b.journal.HeldDeadLetters(ctx)
}

// newInstance returns a random name for this process.
func newInstance() string {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// logStarted logs that the receiver has started, once it has its configuration.
func logStarted(ctx context.Context, table *routing.Routes, logger *slog.Logger, attributes ...any) {
	for {
		changed := table.Changed()
		if table.Ready() {
			logger.Info("Started", attributes...)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}
