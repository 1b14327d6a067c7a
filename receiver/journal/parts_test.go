package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// large is a batch of three events that do not fit into a message together, of which a part does not compress.
func large(random int) journal.Batch {
	const size = 4300 << 10 // two are too much
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
	b := large(4300 << 10)
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
				if !o.append(b) {
					t.Error("now it is a duplicate")
				}
				o.finish()
				if !o.append(b) {
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
	b := large(4300 << 10)
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
	if !o.append(b) {
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
	for i := range 9 {
		events = append(events, strconv.Quote(string(rune('0'+i))+incompressible(strings.Repeat("x", 4300<<10), i)))
	}
	b := batch("shop/a", events...)
	if _, err := o.Append(t.Context(), b); !errors.Is(err, journal.ErrFull) {
		t.Fatalf("got %v, want %v", err, journal.ErrFull)
	}
	stored := o.messages("mandrill-batch")
	if _, err := o.Append(t.Context(), b); !errors.Is(err, journal.ErrFull) || o.messages("mandrill-batch") != stored || stored < 3 {
		t.Errorf("%d parts are stored, then %d, error %v", stored, o.messages("mandrill-batch"), err)
	}
	for i, added := 0, false; i < len(events); i++ {
		part := o.next("shop/a", 0)
		if part == nil || string(part.Events[0].Raw) != events[i] {
			t.Fatalf("event %d is not next", i)
		}
		o.ack(part)
		duplicate, err := o.Append(t.Context(), b)
		if err != nil && !errors.Is(err, journal.ErrFull) {
			t.Fatal(err)
		}
		if duplicate != (added && err == nil) {
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
	if o.append(b) || !o.append(b) {
		t.Error("the second is a duplicate, and only that")
	}
	got, _ := o.waiting()
	slices.Sort(got)
	if diff := cmp.Diff("abcdefghijkl", strings.Join(slices.Compact(got), "")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A process may die between any two steps of requeueing a batch. Nothing is lost and nothing is there twice, also when the same
// happens again, and when nothing waits any more nothing is left.
func TestRequeueOfPartsAfterACrash(t *testing.T) {
	t.Parallel()
	b := large(100 << 10)
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
	if !o.append(b) {
		t.Error("finished, it is no duplicate")
	}
	o.stop()
}

// A remainder of several messages of which some are delivered is not taken for an incomplete one.
func TestRemainderInPartsIsDeliveredInParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := large(100 << 10)
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
	o := open(t, t.TempDir(), journal.MinBytes)
	b := large(2500 << 10) // compressed it fits into one message; what remains does not fit into the stream of remainders
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

// A former leader that does not know yet that it lost the lease may go on requeueing a batch after the next leader has begun. Whoever
// is first, no event is lost.
func TestRequeueByAFormerLeader(t *testing.T) {
	t.Parallel()
	b := large(100 << 10)
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
			_, _ = c.Requeue(context.Background(), whole, remaining(b, 0)) //nolint:contextcheck // it does not know that its lease has ended
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

func streamFolder(dir, stream string) string {
	return filepath.Join(dir, "nats", "jetstream", "$G", "streams", stream)
}

// tear leaves the files of a stream as they may be when the power fails while messages are stored: some, counted from one, are
// not there.
func tear(t *testing.T, dir, stream, subject string, lost ...int) {
	t.Helper()
	folder := filepath.Join(streamFolder(dir, stream), "msgs")
	if err := os.Remove(filepath.Join(folder, "index.db")); err != nil { // is written when the server is stopped
		t.Fatal(err)
	}
	number := 0
	for block := 1; ; block++ {
		path := filepath.Join(folder, strconv.Itoa(block)+".blk")
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; ; at += len(subject) {
			next := bytes.Index(data[at:], []byte(subject))
			if next < 0 {
				break
			}
			at += next
			if number++; slices.Contains(lost, number) {
				clear(data[at : at+100])
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Of a batch that was not acknowledged any parts may be on disk. When it comes again the others are added.
func TestTornBatch(t *testing.T) {
	t.Parallel()
	b := large(4300 << 10)
	for _, test := range []struct {
		name      string
		lost      []int
		duplicate bool
	}{
		{"all is there", nil, true},
		{"all is lost", []int{1, 2, 3}, false},
		{"the first is lost", []int{1}, false},
		{"the second is lost", []int{2}, false},
		{"the last is lost", []int{3}, false},
		{"the first alone is there", []int{2, 3}, false},
		{"the second alone is there", []int{1, 3}, false},
		{"the last alone is there", []int{1, 2}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			o := open(t, dir, 1<<30)
			o.append(batch("shop/a", `"9"`))
			o.append(b)
			o.stop()
			lost := append([]int{}, test.lost...)
			for i := range lost {
				lost[i]++
			}
			tear(t, dir, "mandrill-batch", "mandrill.batch.shop/a", lost...)
			o = open(t, dir, 1<<30)
			if duplicate := o.append(b); duplicate != test.duplicate {
				t.Errorf("a duplicate: %t, want %t", duplicate, test.duplicate)
			}
			batches, _ := o.waiting()
			slices.Sort(batches)
			if diff := cmp.Diff([]string{"0", "1", "2", "whole"}, batches); diff != "" {
				t.Errorf("events that wait (-want +got):\n%s", diff)
			}
			if !o.append(b) {
				t.Error("now it is one")
			}
		})
	}
}

// What was acknowledged and is damaged later does not take the rest of its batch with it: nobody sends that again.
func TestDamagedPart(t *testing.T) {
	t.Parallel()
	b := large(4300 << 10)
	for _, finished := range []bool{false, true} {
		dir := t.TempDir()
		o := open(t, dir, 1<<30)
		o.append(b)
		want := []string{"1", "2"}
		if finished {
			o.ack(o.next("shop/a", 0))
		}
		o.stop()
		if !finished {
			tear(t, dir, "mandrill-batch", "mandrill.batch.shop/a", 1)
		}
		o = open(t, dir, 1<<30)
		batches, _ := o.waiting()
		if diff := cmp.Diff(want, batches); diff != "" {
			t.Errorf("finished %t: events that wait (-want +got):\n%s", finished, diff)
		}
	}
}

// A remainder replaces its batch only when all of it is on disk.
func TestTornRemainder(t *testing.T) {
	t.Parallel()
	b := large(100 << 10)
	for _, lost := range [][]int{nil, {1}, {2}, {3}, {1, 2}} {
		dir := t.TempDir()
		o := open(t, dir, 1<<30)
		o.append(b)
		o.stop()
		before := t.TempDir()
		if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		o = open(t, dir, 1<<30)
		o.work(func(ctx context.Context, c *journal.Consumer) {
			whole, err := c.Next(ctx, "shop/a", 0)
			if err != nil {
				t.Error(err)
				return
			}
			if parts, err := c.Requeue(ctx, whole, remaining(b, 0)); err != nil || len(parts) != 3 {
				t.Errorf("%d parts, error %v", len(parts), err)
			}
		})
		o.stop()
		tear(t, dir, "mandrill-remainder", "mandrill.remainder.shop/a", lost...)
		// As if the batch had not been removed yet.
		batches := streamFolder(dir, "mandrill-batch")
		if err := errors.Join(os.RemoveAll(batches), os.CopyFS(batches, os.DirFS(streamFolder(before, "mandrill-batch")))); err != nil {
			t.Fatal(err)
		}
		o = open(t, dir, 1<<30)
		wait, remainders := o.waiting()
		want := []string{"0", "1", "2"}
		if len(lost) > 0 {
			want = []string{"whole"}
		}
		if diff := cmp.Diff(want, append(wait, remainders...)); diff != "" {
			t.Errorf("lost %v: events that wait (-want +got):\n%s", lost, diff)
		}
	}
}

// Some chunks of a large event are on disk whose batch was not acknowledged. When the batch comes again it is stored again.
func TestTornLargeEvent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := batch("shop/a", strconv.Quote(incompressible(strings.Repeat("x", 9<<20), 1)))
	o := open(t, dir, 1<<30)
	o.append(b)
	o.stop()
	tear(t, dir, objectStream, "$O.mandrill-objects.C.", 2)
	if err := os.RemoveAll(streamFolder(dir, "mandrill-batch")); err != nil {
		t.Fatal(err)
	}
	o = open(t, dir, 1<<30)
	if o.append(b) {
		t.Error("the batch was not there")
	}
	if event := o.next("shop/a", 0); event == nil || !bytes.Equal(event.Events[0].Raw, b.Events[0]) {
		t.Error("the event is not as it was")
	}
}
