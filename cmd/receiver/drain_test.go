package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A drain ends when the buffer was empty twice in a row: between two looks an event may be in neither stream that was looked at.
func TestDrainEndsWhenTheBufferStaysEmpty(t *testing.T) {
	t.Parallel()
	empty := map[string]uint64{"batches": 0, "remainders": 0, "dead_letters": 0}
	looks := []map[string]uint64{nil, {"batches": 3}, empty, {"remainders": 1}, empty, nil, empty, {"dead_letters": 2}, empty, empty}
	var log strings.Builder
	looked := 0
	d := &drain{interval: time.Millisecond, logger: slog.New(slog.NewTextHandler(&log, nil)), stored: func(context.Context) (map[string]uint64, error) {
		looked++
		if counts := looks[looked-1]; counts != nil {
			return counts, nil
		}
		return nil, errors.New("the buffer is opening")
	}}
	if err := d.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if looked != len(looks) {
		t.Errorf("it ended after %d looks, want %d", looked, len(looks))
	}
	for _, want := range []string{"batches=3", "Only dead letters are left: redrive or purge them", "The buffer is empty"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %q:\n%s", want, log.String())
		}
	}
}

func TestDrainStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	d := &drain{interval: time.Millisecond, logger: slog.New(slog.DiscardHandler), stored: func(context.Context) (map[string]uint64, error) {
		cancel()
		return map[string]uint64{"batches": 1}, nil
	}}
	if err := d.run(ctx); err != nil {
		t.Fatal(err)
	}
}
