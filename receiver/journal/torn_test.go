package journal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

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
	b := large(1075 << 10)
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
			if !o.isDuplicate(b) {
				t.Error("now it is one")
			}
		})
	}
}

// What was acknowledged and is damaged later does not take the rest of its batch with it: nobody sends that again.
func TestDamagedPart(t *testing.T) {
	t.Parallel()
	b := large(1075 << 10)
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
	b := large(25 << 10)
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
		// As if the batch had not been marked and removed yet: both come after the remainder.
		for _, stream := range []string{batchStream, "mandrill-finished"} {
			replaceStream(t, dir, before, stream)
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
	b := batch("shop/a", largeEvent(2304<<10, 1))
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
