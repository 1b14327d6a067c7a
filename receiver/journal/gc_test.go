package journal_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// Large events that nothing refers to are removed, and no others.
func TestSweep(t *testing.T) {
	t.Parallel()
	for name, setEngine := range map[string]func(*testing.T, *journal.Options){
		"alone": func(t *testing.T, options *journal.Options) {
			options.Engine = &engine.Embedded{Dir: t.TempDir(), Reserve: options.Limits.Reserve, Logger: options.Logger}
		},
		"not alone": func(t *testing.T, options *journal.Options) {
			options.Engine = &engine.External{URLs: []string{newExternal(t).url()}, Logger: options.Logger}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, _ := shared(t)
			setEngine(t, &options)
			testSweep(t, journal.New(options))
		})
	}
}

func testSweep(t *testing.T, j *journal.Journal) {
	t.Helper()
	journal.SweepEvery(j, 50*time.Millisecond)
	o := run(t, j)
	large := func(seed int) string { return strconv.Quote(incompressible(strings.Repeat("x", 9<<20), seed)) }
	o.bury("shop/dead", large(1), journal.ReasonRefused)
	o.append(batch("shop/rest", large(2)))
	o.append(batch("shop/batch", large(3)))
	var rest journal.Position
	o.work(func(ctx context.Context, w *journal.Consumer) {
		unit, err := w.Next(ctx, "shop/rest", 0)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := w.Requeue(ctx, unit, unit.Events)
		if err != nil {
			t.Fatal(err)
		}
		rest = parts[0].Position
	})
	messages := journal.ObjectMessages(t, j)
	o.work(func(ctx context.Context, w *journal.Consumer) {
		for range 3 { // by which those that are referred to have been found as often
			if err := journal.Abandon(t, j, []byte(large(4))[:1<<20]); err != nil { //nolint:contextcheck // that of the test
				t.Error(err)
			}
			until(t, "sweeping", func() bool { return journal.ObjectMessages(t, j) <= messages }) //nolint:contextcheck // that of the test
		}
		if got := journal.ObjectMessages(t, j); got != messages { //nolint:contextcheck // that of the test
			t.Errorf("large events are of %d messages, want %d", got, messages)
		}
		for seed, read := range map[int]func() (*journal.StoredBatch, error){
			2: func() (*journal.StoredBatch, error) { return w.Get(ctx, rest) },
			3: func() (*journal.StoredBatch, error) { return w.Next(ctx, "shop/batch", 0) },
		} {
			if unit, err := read(); err != nil || string(unit.Events[0].Raw) != large(seed) {
				t.Errorf("%d is not as it was: %v", seed, err)
			}
		}
	})
	seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10)
	if _, entry, err := o.DeadLetter(t.Context(), seqs[0]); err != nil || string(entry.Raw) != large(1) {
		t.Errorf("the dead letter is not as it was: %v", err)
	}
}

// What a process has left of large events when it ended is gone as soon as there is another, so that new ones have room.
func TestSweepAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := func(seed int) string { return strconv.Quote(incompressible(strings.Repeat("x", 9<<20), seed)) }
	o := open(t, dir, 2*journal.MinBytes)
	o.append(batch("shop/a", large(1)))
	messages := journal.ObjectMessages(t, o.Journal)
	for err := error(nil); err == nil; { // until there is no room
		err = journal.Abandon(t, o.Journal, []byte(large(2))[:1<<20])
	}
	if _, err := o.Append(t.Context(), batch("shop/a", large(3))); !errors.Is(err, journal.ErrFull) {
		t.Fatalf("got %v, want %v", err, journal.ErrFull)
	}
	o.stop()
	o = open(t, dir, 2*journal.MinBytes)
	if got := journal.ObjectMessages(t, o.Journal); got != messages {
		t.Errorf("large events are of %d messages, want %d", got, messages)
	}
	o.append(batch("shop/a", large(3)))
	o.work(func(ctx context.Context, w *journal.Consumer) {
		for _, seed := range []int{1, 3} {
			unit, err := w.Next(ctx, "shop/a", 0)
			if err != nil || string(unit.Events[0].Raw) != large(seed) {
				t.Fatalf("%d is not as it was: %v", seed, err)
			}
			if err := w.Ack(ctx, unit); err != nil {
				t.Error(err)
			}
		}
	})
}

// Where the server does not hand over a message that it has, nothing is known of what it refers to.
func TestNothingIsSweptUnseen(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 2*journal.MinBytes)
	o.append(batch("shop/a", strconv.Quote(incompressible(strings.Repeat("x", 9<<20), 1))))
	o.work(func(ctx context.Context, w *journal.Consumer) {
		if loose, err := journal.LooseBut(ctx, w, 0); loose > 0 || err != nil {
			t.Errorf("%d belong to nothing, error %v", loose, err)
		}
		if loose, err := journal.LooseBut(ctx, w, 1); err == nil {
			t.Errorf("%d belong to nothing, no error", loose)
		}
	})
}

// Of a large event nothing is left: neither of one that is delivered, nor of one whose batch finds no room, or is a
// duplicate.
func TestNothingIsLeftOfLargeEvents(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 2*journal.MinBytes)
	large := strconv.Quote(incompressible(strings.Repeat("x", 9<<20), 1))
	o.append(batch("shop/a", large))
	if !o.append(batch("shop/a", large)) {
		t.Error("it is no duplicate")
	}
	o.work(func(ctx context.Context, w *journal.Consumer) {
		unit, err := w.Next(ctx, "shop/a", 0)
		if err == nil {
			err = w.Ack(ctx, unit)
		}
		if err != nil {
			t.Error(err)
		}
	})
	events := []string{strconv.Quote(incompressible(strings.Repeat("x", 9<<20), 2))}
	for seed := range 2 { // the last finds no room
		events = append(events, strconv.Quote(incompressible(strings.Repeat("x", 9<<20), seed+3)))
	}
	if _, err := o.Append(t.Context(), batch("shop/a", events...)); !errors.Is(err, journal.ErrFull) {
		t.Errorf("got %v, want %v", err, journal.ErrFull)
	}
	if messages := journal.ObjectMessages(t, o.Journal); messages > 0 {
		t.Errorf("%d messages are left", messages)
	}
}
