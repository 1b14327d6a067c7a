package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// A process may die between any two steps of requeueing a batch. Nothing is lost and nothing is there twice, also when the same
// happens again, and when nothing waits any more nothing is left.
func TestRequeueOfPartsAfterACrash(t *testing.T) {
	t.Parallel()
	b := large(25 << 10)
	for operation := 1; operation <= 6; operation++ { // three messages of the remainder, the mark, the deletion, none
		t.Run(fmt.Sprintf("before operation %d", operation), func(t *testing.T) {
			t.Parallel()
			for again := 1; again <= 8; again++ { // also those of an earlier crash are deleted
				testRequeueAfterCrashes(t, b, operation, again)
			}
		})
	}
}

func testRequeueAfterCrashes(t *testing.T, b journal.Batch, crashes ...int) {
	t.Helper()
	dir := t.TempDir()
	o := open(t, dir, 1<<30)
	o.append(b)
	for _, crash := range crashes {
		o.work(func(ctx context.Context, c *journal.Consumer) {
			if err := c.Remainders(ctx, func(*journal.StoredBatch) {}); err != nil {
				t.Fatal(err)
			}
			whole, err := c.Next(ctx, "shop/a", 0)
			if errors.Is(err, journal.ErrNotFound) { // it was requeued
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			o.crashAt(crash)
			if _, err := c.Requeue(ctx, whole, remaining(b, 0)); err != nil && !errors.Is(err, errCrashed) {
				t.Error(err)
			}
		})
		o.stop()
		o = open(t, dir, 1<<30)
	}
	batches, remainders := o.waiting()
	if got := strings.Join(append(batches, remainders...), " "); got != "whole" && got != "0 1 2" {
		t.Errorf("after crashes before operations %v there is %q", crashes, got)
	}
	o.finish()
	if !o.isDuplicate(b) {
		t.Error("finished, it is no duplicate")
	}
	o.stop()
}

// A remainder of several messages of which some are delivered is not taken for an incomplete one.
func TestRemainderInPartsIsDeliveredInParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := large(25 << 10)
	o := open(t, dir, 1<<30)
	o.append(b)
	o.work(func(ctx context.Context, c *journal.Consumer) {
		whole, err := c.Next(ctx, "shop/a", 0)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := c.Requeue(ctx, whole, remaining(b, 0))
		if err != nil || len(parts) != 3 {
			t.Fatalf("%d parts, error %v", len(parts), err)
		}
		for i, part := range parts {
			read, err := c.Get(ctx, part.Position)
			if err != nil || len(read.Events) != 1 || read.Events[0].Index != i || read.Origin != whole.Origin || part.Events[0].Index != i {
				t.Fatalf("part %d is not as it was, error %v", i, err)
			}
		}
		if err := c.Ack(ctx, parts[1]); err != nil {
			t.Error(err)
		}
		if _, err := c.Requeue(ctx, parts[2], parts[2].Events); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		o.stop()
		o = open(t, dir, 1<<30)
		batches, remainders := o.waiting()
		if got := strings.Join(append(batches, remainders...), " "); got != "0 2" {
			t.Errorf("there is %q, want 0 2", got)
		}
	}
	o.finish()
}

// A remainder in several messages for which there is no space in the end leaves nothing behind.
func TestRequeueOfPartsWithoutSpace(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	limits.Remainders = 1500 << 10
	o := openLimited(t, t.TempDir(), limits)
	b := large(625 << 10) // compressed it fits into one message; what remains does not fit into the stream of remainders
	o.append(b)
	o.work(func(ctx context.Context, c *journal.Consumer) {
		whole, err := c.Next(ctx, "shop/a", 0)
		if err != nil || whole.Value == nil {
			t.Fatalf("the batch is not in one message, error %v", err)
		}
		if _, err := c.Requeue(ctx, whole, remaining(b, 0)); !errors.Is(err, journal.ErrFull) {
			t.Fatalf("got %v, want %v", err, journal.ErrFull)
		}
		if messages := o.messages("mandrill-remainder"); messages > 0 { //nolint:contextcheck // that of the test
			t.Errorf("%d messages are left", messages)
		}
		if parts, err := c.Requeue(ctx, whole, remaining(b, 2)); err != nil || len(parts) != 1 {
			t.Errorf("%d parts, error %v", len(parts), err)
		}
	})
	if batches, remainders := o.waiting(); len(batches) > 0 || strings.Join(remainders, " ") != "2" {
		t.Errorf("there are %q and %q", batches, remainders)
	}
}

// A former leader that does not know yet that it lost the lease may go on requeueing a batch after the next leader has begun. No event
// is lost, whichever of them is first.
func TestRequeueByAFormerLeader(t *testing.T) {
	t.Parallel()
	b := large(25 << 10)
	for _, order := range []string{"the next leader only looks", "the former leader is first", "the next leader is first"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			for operation := 1; operation <= 5; operation++ {
				testFormerLeader(t, b, order, operation)
			}
		})
	}
}

func testFormerLeader(t *testing.T, b journal.Batch, order string, operation int) {
	t.Helper()
	e := newExternal(t, func(options *server.Options) { options.MaxPayload = 9 << 20 })
	options, _ := shared(t, e.url())
	former, next := run(t, journal.New(options)), run(t, journal.New(options))
	former.append(b)
	reached, proceed, requeued := make(chan struct{}), make(chan struct{}), make(chan struct{})
	former.work(func(ctx context.Context, c *journal.Consumer) {
		whole, err := c.Next(ctx, "shop/a", 0)
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		former.on(func(string) error {
			if count++; count == operation {
				close(reached)
				<-proceed
			}
			return nil
		})
		go func() {
			defer close(requeued)
			_, _ = c.Requeue(context.WithoutCancel(ctx), whole, remaining(b, 0)) // it does not know that its lease has ended
		}()
		<-reached
	})
	next.work(func(ctx context.Context, c *journal.Consumer) {
		if err := c.Remainders(ctx, func(*journal.StoredBatch) {}); err != nil {
			t.Error(err)
		}
		whole, err := c.Next(ctx, "shop/a", 0)
		if order == "the former leader is first" {
			close(proceed)
			<-requeued
		}
		if err == nil && order != "the next leader only looks" {
			if _, err := c.Requeue(ctx, whole, remaining(b, 1)); err != nil { // it has delivered the first event
				t.Error(err)
			}
		}
	})
	if order != "the former leader is first" {
		close(proceed)
		<-requeued
	}
	batches, remainders := run(t, journal.New(options)).waiting()
	got := append(batches, remainders...)
	want := []string{"0", "1", "2"}
	if order != "the next leader only looks" {
		want = want[1:]
	}
	for _, event := range want {
		if !slices.Contains(got, event) {
			t.Errorf("%s, operation %d: there is only %q", order, operation, got)
		}
	}
}

// A loss of power can bring back a remainder whose replacement has been replaced meanwhile. The newest one of a large event counts,
// and its object stays.
func TestReplacedRemainderThatComesBack(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	o.append(batch("shop/a", largeEvent(3<<20, 1)))
	var positions []journal.Position
	o.work(func(ctx context.Context, c *journal.Consumer) {
		stored, err := c.Next(ctx, "shop/a", 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			// Requeued twice, the batch leaves two remainders, and is gone itself.
			remainders, err := c.Requeue(ctx, stored, stored.Events)
			if err != nil {
				t.Fatal(err)
			}
			positions = append(positions, remainders[0].Position)
		}
	})
	o.work(func(ctx context.Context, c *journal.Consumer) {
		if err := c.Remainders(ctx, func(*journal.StoredBatch) {}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(ctx, positions[0]); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("reading the older remainder: %v", err)
		}
		if _, err := c.Get(ctx, positions[1]); err != nil {
			t.Errorf("reading the newer remainder: %v", err)
		}
	})
	o.finish()
}

// A loss of power can bring back a batch, or a remainder, whose replacement has been replaced meanwhile and is gone. The newest
// remainder counts.
func TestReplacedBatchThatComesBack(t *testing.T) {
	t.Parallel()
	for back, stream := range []string{"mandrill-batch", "mandrill-remainder"} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			o := open(t, t.TempDir(), 1<<30)
			b := batch("shop/a", `"0"`, `"1"`, `"2"`, `"3"`)
			o.append(b)
			var positions []journal.Position
			o.work(func(ctx context.Context, c *journal.Consumer) {
				stored, err := c.Next(ctx, "shop/a", 0)
				if err != nil {
					t.Fatal(err)
				}
				positions = append(positions, stored.Position)
				for n := range 3 {
					requeue := func() { _, _ = c.Requeue(ctx, stored, remaining(b, n+1)) }
					if n == back {
						o.withoutDeletion(stream, requeue)
					} else {
						requeue()
					}
					positions = append(positions, journal.Position{Remainder: true, Seq: uint64(n + 1)})
					if stored, err = c.Get(ctx, positions[n+1]); err != nil {
						t.Fatal(err)
					}
				}
			})
			o.work(func(ctx context.Context, c *journal.Consumer) {
				if _, err := c.Get(ctx, positions[back]); err != nil {
					t.Fatalf("%s is not there again: %v", positions[back], err)
				}
				if err := c.Remainders(ctx, func(*journal.StoredBatch) {}); err != nil {
					t.Fatal(err)
				}
				for n, position := range positions {
					if _, err := c.Get(ctx, position); (err == nil) != (n == 3) {
						t.Errorf("reading %s: %v", position, err)
					}
				}
			})
			o.finish()
		})
	}
}
