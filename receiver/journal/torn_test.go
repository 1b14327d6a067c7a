package journal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// large is a batch of three events that do not fit into a message together, or not even each with little else.
func large(random int) journal.Batch {
	const size = 4300 << 10 // two are too much
	events := make([]string, 3)
	for i := range events {
		events[i] = strconv.Quote(strconv.Itoa(i) + incompressible(strings.Repeat("x", random), i) + strings.Repeat("x", size-random))
	}
	return batch("shop/a", events...)
}

func streamFolder(dir, stream string) string {
	return filepath.Join(dir, "nats", "jetstream", "$G", "streams", stream)
}

// tear leaves the files of a stream as they may be when the power fails while messages are stored: some, which are counted
// from one, are not there.
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

// waiting are the numbers of the events that wait, among the batches and among the remainders.
func (o *opened) waiting() (batches, rest []string) {
	o.t.Helper()
	of := func(unit *journal.StoredBatch) (numbers []string) {
		if unit.Value != nil && len(unit.Events) == 0 {
			return []string{"whole"}
		}
		for _, entry := range unit.Events {
			numbers = append(numbers, string(entry.Raw[1:2]))
		}
		return numbers
	}
	o.work(func(ctx context.Context, w *journal.Consumer) {
		if err := w.Remainders(ctx, func(unit *journal.StoredBatch) { rest = append(rest, of(unit)...) }); err != nil {
			o.t.Error(err)
		}
		for from := uint64(0); ; {
			unit, err := w.Next(ctx, "shop/a", from)
			if errors.Is(err, journal.ErrNotFound) {
				return
			}
			if err != nil {
				o.t.Error(err)
				return
			}
			batches, from = append(batches, of(unit)...), unit.Position.Seq+1
		}
	})
	return batches, rest
}

// Of a batch that was taken apart and not acknowledged some messages are on disk. When it comes again it is no duplicate.
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
			journal.ForgetStored(t, o.Journal)
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
			if diff := cmp.Diff([]string{"whole", "0", "1", "2"}, batches); diff != "" {
				t.Errorf("events that wait (-want +got):\n%s", diff)
			}
			if !o.append(b) {
				t.Error("now it is one")
			}
		})
	}
}

// What was acknowledged and is damaged later is not removed: there is nobody who sends it again.
func TestDamagedPart(t *testing.T) {
	t.Parallel()
	b := large(4300 << 10)
	for _, finished := range []bool{false, true} {
		dir := t.TempDir()
		o := open(t, dir, 1<<30)
		o.append(b)
		want := []string{"1", "2"}
		if finished {
			unit := o.take("shop/a", 0)
			o.work(func(ctx context.Context, w *journal.Consumer) {
				if err := w.Ack(ctx, unit); err != nil {
					t.Error(err)
				}
			})
			journal.ForgetStored(t, o.Journal) // the power failed before it was written down
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

// What is left of a batch takes its place only when all of it is on disk.
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
		o.work(func(ctx context.Context, w *journal.Consumer) {
			unit, err := w.Next(ctx, "shop/a", 0)
			if err != nil {
				t.Error(err)
				return
			}
			var left []journal.PendingEvent
			for i, raw := range b.Events {
				left = append(left, journal.PendingEvent{ID: strconv.Itoa(i), Raw: raw, Attempts: 1})
			}
			if parts, err := w.Requeue(ctx, unit, left); err != nil || len(parts) != 3 {
				t.Errorf("%d parts, error %v", len(parts), err)
			}
		})
		journal.ForgetStored(t, o.Journal)
		o.stop()
		tear(t, dir, "mandrill-rest", "mandrill.rest.shop/a", lost...)
		// As if the batch had not been removed yet.
		batches := streamFolder(dir, "mandrill-batch")
		if err := errors.Join(os.RemoveAll(batches), os.CopyFS(batches, os.DirFS(streamFolder(before, "mandrill-batch")))); err != nil {
			t.Fatal(err)
		}
		o = open(t, dir, 1<<30)
		wait, rest := o.waiting()
		want := []string{"0", "1", "2"}
		if len(lost) > 0 {
			want = []string{"whole"}
		}
		if diff := cmp.Diff(want, append(wait, rest...)); diff != "" {
			t.Errorf("lost %v: events that wait (-want +got):\n%s", lost, diff)
		}
	}
}

// Of a large event of a batch that was not acknowledged some is on disk. When the batch comes again it is stored anew.
func TestTornLargeEvent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := batch("shop/a", strconv.Quote(incompressible(strings.Repeat("x", 9<<20), 1)))
	o := open(t, dir, 1<<30)
	o.append(b)
	o.stop()
	tear(t, dir, "OBJ_mandrill-large", "$O.mandrill-large.C.", 2)
	if err := os.RemoveAll(streamFolder(dir, "mandrill-batch")); err != nil {
		t.Fatal(err)
	}
	o = open(t, dir, 1<<30)
	if o.append(b) {
		t.Error("the batch was not there")
	}
	o.work(func(ctx context.Context, w *journal.Consumer) {
		if unit, err := w.Next(ctx, "shop/a", 0); err != nil || !bytes.Equal(unit.Events[0].Raw, b.Events[0]) {
			t.Errorf("the event is not as it was: %v", err)
		}
	})
}
