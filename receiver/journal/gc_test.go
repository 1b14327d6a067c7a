package journal_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// Unreferenced large events are removed, and no others.
func TestGCRemovesUnreferencedObjects(t *testing.T) {
	t.Parallel()
	for name, setEngine := range map[string]func(*testing.T, *journal.Options){
		"exclusive": func(t *testing.T, options *journal.Options) {
			options.Engine = &engine.Embedded{Dir: t.TempDir(), Reserve: smallReserve, Logger: options.Logger}
		},
		"shared": func(t *testing.T, options *journal.Options) {
			options.Engine = &engine.External{URLs: []string{newExternal(t).url()}, Logger: options.Logger}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, _ := shared(t)
			setEngine(t, &options)
			testGC(t, journal.New(options))
		})
	}
}

func testGC(t *testing.T, j *journal.Journal) {
	t.Helper()
	journal.CollectEvery(j, 50*time.Millisecond)
	o := run(t, j)
	large := func(seed int) string { return largeEvent(9<<20, seed) }
	o.deadLetter("shop/dead", large(1), journal.ReasonRefused)
	o.append(batch("shop/rest", large(2)))
	o.append(batch("shop/batch", large(3)))
	var rest journal.Position
	o.work(func(ctx context.Context, w *journal.Consumer) {
		stored, err := w.Next(ctx, "shop/rest", 0)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := w.Requeue(ctx, stored, stored.Events)
		if err != nil {
			t.Fatal(err)
		}
		rest = parts[0].Position
	})
	messages := o.messages(objectStream)
	o.work(func(ctx context.Context, w *journal.Consumer) {
		for range 3 { // so that the referenced ones have been looked at as often
			if err := o.abandon([]byte(large(4))[:1<<20]); err != nil { //nolint:contextcheck // that of the test
				t.Error(err)
			}
			until(t, "garbage collection", func() bool { return o.messages(objectStream) <= messages }) //nolint:contextcheck // that of the test
		}
		if got := o.messages(objectStream); got != messages { //nolint:contextcheck // that of the test
			t.Errorf("large events are of %d messages, want %d", got, messages)
		}
		for seed, read := range map[int]func() (*journal.StoredBatch, error){
			2: func() (*journal.StoredBatch, error) { return w.Get(ctx, rest) },
			3: func() (*journal.StoredBatch, error) { return w.Next(ctx, "shop/batch", 0) },
		} {
			if stored, err := read(); err != nil || string(stored.Events[0].Raw) != large(seed) {
				t.Errorf("%d is not as it was: %v", seed, err)
			}
		}
	})
	seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10)
	if _, entry, err := o.DeadLetter(t.Context(), seqs[0]); err != nil || string(entry.Raw) != large(1) {
		t.Errorf("the dead letter is not as it was: %v", err)
	}
}

// What an earlier process has left is removed at the start, so that new large events have space.
func TestGCAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := func(seed int) string { return largeEvent(9<<20, seed) }
	o := open(t, dir, 2*journal.MinBytes)
	o.append(batch("shop/a", large(1)))
	messages := o.messages(objectStream)
	chunk := []byte(large(2))[:1<<20]
	for err := error(nil); err == nil; { // until there is no space
		err = o.abandon(chunk)
	}
	if !o.isFull(batch("shop/a", large(3))) {
		t.Fatal("there is space")
	}
	o.stop()
	o = open(t, dir, 2*journal.MinBytes)
	if got := o.messages(objectStream); got != messages {
		t.Errorf("large events are of %d messages, want %d", got, messages)
	}
	o.append(batch("shop/a", large(3)))
	o.work(func(ctx context.Context, w *journal.Consumer) {
		for _, seed := range []int{1, 3} {
			stored, err := w.Next(ctx, "shop/a", 0)
			if err != nil || string(stored.Events[0].Raw) != large(seed) {
				t.Fatalf("%d is not as it was: %v", seed, err)
			}
			if err := w.Ack(ctx, stored); err != nil {
				t.Error(err)
			}
		}
	})
}

// If the server skips a message, it is not known what that refers to, and nothing is removed.
func TestGCRemovesNothingWhenMessagesAreSkipped(t *testing.T) {
	t.Parallel()
	options, logged := shared(t)
	options.Engine = &engine.Embedded{Dir: t.TempDir(), Reserve: smallReserve, Logger: options.Logger}
	j := journal.New(options)
	journal.CollectEvery(j, 20*time.Millisecond)
	o := run(t, j)
	o.append(batch("shop/a", largeEvent(9<<20, 1)))
	before := o.messages(objectStream)
	o.hide(1)
	o.work(func(ctx context.Context, c *journal.Consumer) {
		until(t, "three failures", func() bool {
			return strings.Count(logged.String(), "Looking for unreferenced large events failed") >= 3
		})
		if after := o.messages(objectStream); after != before { //nolint:contextcheck // that of the test
			t.Errorf("large events have %d messages, want %d", after, before)
		}
		o.hide(0)
		if read, err := c.Next(ctx, "shop/a", 0); err != nil || len(read.Events) != 1 {
			t.Errorf("the event cannot be read: %v", err)
		}
	})
}

// Large events leave no object behind: neither delivered ones, nor duplicates, nor those for which there was no space.
func TestLargeEventsLeaveNoObjects(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 2*journal.MinBytes)
	large := func(seed int) string { return largeEvent(9<<20, seed) }
	o.append(batch("shop/a", large(1)))
	if !o.isDuplicate(batch("shop/a", large(1))) {
		t.Error("it is no duplicate")
	}
	o.ack(o.next("shop/a", 0))
	if messages := o.messages(objectStream); messages > 0 {
		t.Errorf("%d messages are left of a large event that is delivered", messages)
	}
	three := batch("shop/a", large(2), large(3), large(4)) // there is space for two
	if !o.isFull(three) {
		t.Fatal("there is space")
	}
	stored := len(o.objects())
	if !o.isFull(three) || len(o.objects()) != stored || stored != 2 {
		t.Errorf("there are %d objects, then %d, want 2", stored, len(o.objects()))
	}
	for from, i := uint64(0), 2; i < 5; i++ {
		event := o.next("shop/a", from)
		if event == nil || string(event.Events[0].Raw) != large(i) {
			t.Fatalf("event %d is not there", i)
		}
		from = event.Position.Seq + 1
		o.ack(event)
		if i == 2 && o.append(three) || i > 2 && !o.isDuplicate(three) {
			t.Errorf("when %d events are delivered it is a duplicate: %t", i-1, i == 2)
		}
	}
	if messages := o.messages(objectStream); messages > 0 {
		t.Errorf("%d messages are left", messages)
	}
}
