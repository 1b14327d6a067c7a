package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/natsfiles"
)

// reportingEngine is an engine that reports repairs.
type reportingEngine struct {
	journal.Engine
	report natsfiles.Report
}

func (e *reportingEngine) Open(ctx context.Context) (*engine.Connection, error) {
	connection, err := e.Engine.Open(ctx)
	if err == nil {
		connection.Repairs = e.report
	}
	return connection, err
}

// Damage is counted, and so are files that were not repaired.
func TestRepairsAreCounted(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	reporting := &reportingEngine{
		Engine: &engine.Embedded{Dir: t.TempDir(), Reserve: smallReserve, Logger: logger},
		report: natsfiles.Report{Damaged: 3, Skipped: map[natsfiles.Reason]int{natsfiles.TooMuchDamage: 2}},
	}
	registry := prometheus.NewRegistry()
	run(t, journal.New(journal.Options{Engine: reporting, Limits: limits, Logger: logger, Metrics: journal.NewMetrics(registry)}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			if labels := metric.GetLabel(); len(labels) > 0 {
				name += " " + labels[0].GetValue()
			}
			got[name] = metric.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"mandrill_receiver_buffer_damaged_total": 3, "mandrill_receiver_buffer_repairs_skipped_total too_much_damage": 2,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

// stuckEngine is an engine whose server does not stop.
type stuckEngine struct{ closed bool }

func (e *stuckEngine) Open(context.Context) (*engine.Connection, error) {
	return nil, fmt.Errorf("stopping: %w", engine.ErrStuck)
}

func (e *stuckEngine) Close() { e.closed = true }

// Only a new process helps when a server does not stop, so the receiver ends.
func TestReceiverEndsWhenItsServerDoesNotStop(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	stuck := &stuckEngine{}
	j := journal.New(journal.Options{Engine: stuck, Limits: limits, Logger: slog.New(slog.DiscardHandler)})
	if err := j.Run(t.Context()); !errors.Is(err, engine.ErrStuck) || !stuck.closed {
		t.Errorf("the journal ended with %v, the engine closed: %t", err, stuck.closed)
	}
}
