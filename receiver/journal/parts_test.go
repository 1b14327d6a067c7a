package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// large is a batch of three events that do not fit into a message together, of which a part does not compress.
func large(random int) journal.Batch {
	const size = 1075 << 10 // two are too much
	events := make([]string, 3)
	for i := range events {
		events[i] = strconv.Quote(strconv.Itoa(i) + incompressible(strings.Repeat("x", random), i) + strings.Repeat("x", size-random))
	}
	return batch("shop/a", events...)
}

// remaining are the events of a large batch, from one on, as they are requeued.
func remaining(b journal.Batch, from int) (events []journal.PendingEvent) {
	for i, raw := range b.Events {
		events = append(events, journal.PendingEvent{ID: strconv.Itoa(i), Raw: raw, Attempts: 1, Index: i})
	}
	return events[from:]
}

// waiting are the numbers of the events in the buffer, among the batches and among the remainders.
func (o *opened) waiting() (batches, remainders []string) {
	o.t.Helper()
	o.work(func(ctx context.Context, c *journal.Consumer) {
		batches, remainders = o.waitingFor(ctx, c)
	})
	return batches, remainders
}

func (o *opened) waitingFor(ctx context.Context, c *journal.Consumer) (batches, remainders []string) {
	o.t.Helper()
	numbers := func(stored *journal.StoredBatch) (numbers []string) {
		if stored.Value != nil {
			return []string{"whole"}
		}
		for _, event := range stored.Events {
			numbers = append(numbers, string(event.Raw[1:2]))
		}
		return numbers
	}
	if err := c.Remainders(ctx, func(stored *journal.StoredBatch) { remainders = append(remainders, numbers(stored)...) }); err != nil {
		o.t.Error(err)
	}
	for from := uint64(0); ; {
		stored, err := c.Next(ctx, "shop/a", from)
		if err != nil {
			if !errors.Is(err, journal.ErrNotFound) && !strings.Contains(err.Error(), "the backlog changed") { // so it is when streams are shared
				o.t.Error(err)
			}
			slices.Sort(remainders)
			return batches, remainders
		}
		batches, from = append(batches, numbers(stored)...), stored.Position.Seq+1
	}
}

// finish acknowledges everything, and expects nothing to be left.
func (o *opened) finish() {
	o.t.Helper()
	o.work(func(ctx context.Context, c *journal.Consumer) {
		ack := func(stored *journal.StoredBatch) {
			if err := c.Ack(ctx, stored); err != nil {
				o.t.Error(err)
			}
		}
		if err := c.Remainders(ctx, ack); err != nil {
			o.t.Error(err)
		}
		for {
			stored, err := c.Next(ctx, "shop/a", 0)
			if errors.Is(err, journal.ErrNotFound) {
				return
			}
			if err != nil {
				o.t.Fatal(err)
			}
			ack(stored)
		}
	})
	for _, stream := range []string{"mandrill-batch", "mandrill-remainder", objectStream} {
		if messages := o.messages(stream); messages > 0 {
			o.t.Errorf("%d messages are left in %s", messages, stream)
		}
	}
}

// A process that dies while it stores the parts of a batch has not acknowledged it. When the batch comes again the missing parts
// are added, also when those that are there were delivered meanwhile.
func TestAppendOfPartsAfterACrash(t *testing.T) {
	t.Parallel()
	b := large(1075 << 10)
	for operation := 1; operation <= 4; operation++ {
		for _, deliver := range []bool{false, true} {
			t.Run(fmt.Sprintf("before operation %d, delivered %t", operation, deliver), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				o := open(t, dir, 1<<30)
				o.crashAt(operation)
				if _, err := o.Append(t.Context(), b); (err == nil) != (operation == 4) {
					t.Fatalf("appending: %v", err)
				}
				o.stop()
				o = open(t, dir, 1<<30)
				all := []string{"0", "1", "2"}
				there, _ := o.waiting()
				if diff := cmp.Diff(all[:operation-1], there, cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
					t.Errorf("after the crash (-want +got):\n%s", diff)
				}
				want := all
				if deliver {
					o.finish()
					o.stop() // the server forgets the ids of what was deleted
					o = open(t, dir, 1<<30)
					want = all[operation-1:]
				}
				if duplicate := o.append(b); duplicate != (operation == 4) {
					t.Errorf("it is a duplicate: %t", duplicate)
				}
				got, _ := o.waiting()
				if diff := cmp.Diff(strings.Join(want, " "), strings.Join(got, " ")); diff != "" {
					t.Errorf("when it has come again (-want +got):\n%s", diff)
				}
				if !o.isDuplicate(b) {
					t.Error("now it is a duplicate")
				}
				o.finish()
				if !o.isDuplicate(b) {
					t.Error("finished, it is a duplicate still")
				}
			})
		}
	}
}

// A part that became a remainder is a duplicate when its batch comes again.
func TestPartThatBecameARemainderIsADuplicate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := large(1075 << 10)
	o := open(t, dir, 1<<30)
	o.crashAt(3)
	if _, err := o.Append(t.Context(), b); err == nil {
		t.Fatal("the crash did not happen")
	}
	o.on(nil)
	first := o.next("shop/a", 0)
	o.work(func(ctx context.Context, c *journal.Consumer) {
		if _, err := c.Requeue(ctx, first, first.Events); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		o.append(b)
		batches, remainders := o.waiting()
		if got := strings.Join(batches, " ") + " and " + strings.Join(remainders, " "); got != "1 2 and 0" {
			t.Errorf("there are %s, want 1 2 and 0", got)
		}
		o.stop()
		o = open(t, dir, 1<<30)
	}
	if !o.isDuplicate(b) {
		t.Error("it is no duplicate")
	}
	o.finish()
}

// A large batch for which there is no space is refused. Its parts that are stored are delivered, and when it comes again only the
// others are added.
func TestAppendOfPartsToAFullBuffer(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	var events []string
	for i := range 27 {
		events = append(events, strconv.Quote(string(rune('0'+i))+incompressible(strings.Repeat("x", 1075<<10), i)))
	}
	b := batch("shop/a", events...)
	if !o.isFull(b) {
		t.Fatal("there is space")
	}
	stored := o.messages("mandrill-batch")
	if !o.isFull(b) || o.messages("mandrill-batch") != stored || stored < 3 {
		t.Errorf("%d parts are stored, then %d", stored, o.messages("mandrill-batch"))
	}
	for i, added := 0, false; i < len(events); i++ {
		part := o.next("shop/a", 0)
		if part == nil || string(part.Events[0].Raw) != events[i] {
			t.Fatalf("event %d is not next", i)
		}
		o.ack(part)
		duplicate, attempts, err := journaltest.TryAppend(t, o.Journal, b)
		if err != nil && !errors.Is(err, journal.ErrFull) {
			t.Fatal(err)
		}
		if want := added && err == nil; duplicate != want && (want || attempts == 1) {
			t.Errorf("after %d events it is a duplicate: %t, want %t", i+1, duplicate, added)
		}
		added = added || err == nil
	}
	if part := o.next("shop/a", 0); part != nil {
		t.Error("an event is there twice")
	}
}

// Whatever max_payload is when a batch comes again, no event of it is lost.
func TestPartsOfAnotherSize(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	options, _ := shared(t, e.url())
	events := make([]string, 12)
	for i := range events {
		events[i] = strconv.Quote(string(rune('a'+i)) + incompressible(strings.Repeat("x", 400<<10), i))
	}
	b := batch("shop/a", events...)
	o := run(t, journal.New(options))
	published := 0
	o.on(func(operation string) error {
		if strings.HasPrefix(operation, "publish mandrill.batch") {
			published++
		}
		if published > 3 {
			return errCrashed
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := o.Append(ctx, b); err == nil {
		t.Fatal("the crash did not happen")
	}
	o.stop()
	e.stop()
	e.options.MaxPayload = 2 << 20
	e.start()
	o = run(t, journal.New(options))
	if o.append(b) || !o.isDuplicate(b) {
		t.Error("the second is a duplicate, and only that")
	}
	got, _ := o.waiting()
	slices.Sort(got)
	if diff := cmp.Diff("abcdefghijkl", strings.Join(slices.Compact(got), "")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
