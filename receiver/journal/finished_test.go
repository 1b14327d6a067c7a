package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

const remainderStream = "mandrill-remainder"

// recorded is a journal whose log and losses are recorded.
type recorded struct {
	*opened
	log  logbuffer.Buffer
	lost map[string]int // damaged messages by webhook
}

func openRecorded(t *testing.T, dir string) *recorded {
	t.Helper()
	limits, err := journal.SplitLimits(1<<30, 0)
	if err != nil {
		t.Fatal(err)
	}
	return openRecordedLimited(t, dir, limits)
}

func openRecordedLimited(t *testing.T, dir string, limits journal.Limits) *recorded {
	t.Helper()
	r := &recorded{lost: map[string]int{}}
	logger := slog.New(slog.NewJSONHandler(&r.log, nil))
	r.opened = run(t, journal.New(journal.Options{
		Engine: &engine.Embedded{Dir: dir, Reserve: smallReserve, Logger: logger}, Limits: limits, Logger: logger,
		LostDamaged: func(webhook string) { r.lost[webhook]++ },
	}))
	return r
}

// cameBack is how many messages were removed because they had come back.
func (r *recorded) cameBack() int {
	return strings.Count(r.log.String(), "came back after it had been finished")
}

// wantNoLoss fails if a loss was reported.
func (r *recorded) wantNoLoss() {
	r.t.Helper()
	if len(r.lost) > 0 || r.Lost() != nil || strings.Contains(r.log.String(), "Lost a damaged message") || strings.Contains(r.log.String(), "are gone that were stored") {
		r.t.Errorf("losses by webhook %v, by stream %v; log:\n%s", r.lost, r.Lost(), r.log.String())
	}
}

// requeue replaces the first batch of a webhook by a remainder of all its events, and returns that.
func (o *opened) requeue(webhook string, events ...string) (stored *journal.StoredBatch) {
	o.t.Helper()
	o.work(func(ctx context.Context, c *journal.Consumer) {
		whole, err := c.Next(ctx, webhook, 0)
		if err != nil {
			o.t.Fatal(err)
		}
		remaining := whole.Events
		for i, event := range events {
			remaining = append(remaining, journal.PendingEvent{ID: strconv.Itoa(i), Raw: []byte(event), Index: i})
		}
		parts, err := c.Requeue(ctx, whole, remaining)
		if err != nil || len(parts) != 1 {
			o.t.Fatalf("%d parts, error %v", len(parts), err)
		}
		stored = parts[0]
	})
	return stored
}

// replaceStream replaces the files of a stream by those of another buffer.
func replaceStream(t *testing.T, dir, from, stream string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(streamFolder(dir, stream)), os.CopyFS(streamFolder(dir, stream), os.DirFS(streamFolder(from, stream)))); err != nil {
		t.Fatal(err)
	}
}

// The deletion of a message is undone, and that of its object is not, or in part: that is no loss, because the event was delivered,
// or somebody has removed it. Without a deletion it is one.
func TestLargeEventIsLostOnlyIfItWasNotFinished(t *testing.T) {
	t.Parallel()
	waitingIn := map[string]func(r *recorded){
		batchStream:     func(*recorded) {},
		remainderStream: func(r *recorded) { r.requeue("shop/a") },
	}
	for stream, store := range waitingIn {
		dir := t.TempDir()
		r := openRecorded(t, dir)
		r.append(batch("shop/a", largeEvent(3<<20, 1)))
		store(r)
		r.stop()
		before := copyDir(t, dir)
		r = openRecorded(t, dir)
		r.finish()
		r.stop()
		for object, damage := range map[string]func(t *testing.T, dir string){
			"gone": func(t *testing.T, dir string) {
				t.Helper()
				replaceStream(t, dir, emptyBuffer(t), objectStream)
			},
			"gone in part": func(t *testing.T, dir string) {
				t.Helper()
				replaceStream(t, dir, before, objectStream)
				tear(t, dir, objectStream, "$O.mandrill-objects.C.", 2)
			},
		} {
			t.Run("finished in "+stream+", its object is "+object, func(t *testing.T) {
				t.Parallel()
				dir := copyDir(t, dir)
				replaceStream(t, dir, before, stream)
				damage(t, dir)
				r := openRecorded(t, dir)
				if batches, remainders := r.waiting(); len(batches)+len(remainders) > 0 || r.cameBack() != 1 {
					t.Errorf("%q and %q wait, %d came back", batches, remainders, r.cameBack())
				}
				r.wantNoLoss()
				r.stop()
				r = openRecorded(t, dir)
				if r.waiting(); r.cameBack() > 0 {
					t.Error("it came back once more")
				}
				r.wantNoLoss()
			})
			t.Run("waiting in "+stream+", its object is "+object, func(t *testing.T) {
				t.Parallel()
				dir := copyDir(t, before)
				damage(t, dir)
				r := openRecorded(t, dir)
				if batches, remainders := r.waiting(); len(batches)+len(remainders) > 0 {
					t.Errorf("%q and %q wait", batches, remainders)
				}
				if diff := cmp.Diff(map[string]int{"shop/a": 1}, r.lost); diff != "" || r.cameBack() > 0 {
					t.Errorf("%d came back, lost (-want +got):\n%s", r.cameBack(), diff)
				}
			})
		}
	}
}

// emptyBuffer returns the folder of a buffer in which nothing was stored.
func emptyBuffer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	open(t, dir, 1<<30).stop()
	return dir
}

// A dead letter that was removed and comes back without its object is removed again. One that was not is damaged, and stays.
func TestRemovedDeadLetterThatComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, 1<<30)
	for i := range 2 {
		o.deadLetter("shop/a", largeEvent(3<<20, i), journal.ReasonRefused)
	}
	o.stop()
	before := copyDir(t, dir)
	o = open(t, dir, 1<<30)
	if done, err := o.Purge(t.Context(), journal.Selection{Seqs: []uint64{1}}); err != nil || done.Count != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	o.stop()
	replaceStream(t, dir, before, "mandrill-dead-letter")
	replaceStream(t, dir, emptyBuffer(t), objectStream)
	o = open(t, dir, 1<<30)
	done, err := o.Redrive(t.Context(), journal.Selection{Seqs: []uint64{1, 2}})
	if diff := cmp.Diff(journal.Progress{Missing: []uint64{1}, Damaged: []uint64{2}}, done); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10); len(seqs) != 1 || seqs[0] != 2 {
		t.Errorf("the dead letters are %v", seqs)
	}
}

// nats-server deletes the last message of a block of files without a trace while the block says which messages of earlier blocks are
// deleted. A process that is killed then finds the message again. It is no loss that the object of a large event is gone, and a batch
// is not delivered again.
func TestMessageThatIsDeletedWithoutATrace(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	limits.Batches, limits.Remainders = 120<<10, 120<<10 // so that a block has some ten messages
	const inBlock, half = 10, 14
	for name, test := range map[string]struct {
		stream string
		store  func(r *recorded, number int)
	}{
		"a batch": {batchStream, func(r *recorded, number int) {
			r.append(batch("shop/a", largeEvent(3000, number)))
		}},
		"a remainder of a large event": {remainderStream, func(r *recorded, number int) {
			event := largeEvent(3000, number)
			if number == half { // in the second block
				r.append(batch("shop/a", largeEvent(3<<20, number)))
				r.requeue("shop/a")
				return
			}
			r.append(batch("shop/a", event))
			r.requeue("shop/a", event)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := openRecordedLimited(t, dir, limits)
			stored := 0
			fill := func(until int) {
				for ; stored < until; stored++ {
					test.store(r, stored+1)
				}
			}
			ack := func(numbers ...uint64) {
				r.work(func(ctx context.Context, c *journal.Consumer) {
					for _, number := range numbers {
						found, err := c.Get(ctx, journal.Position{Remainder: test.stream == remainderStream, Seq: number})
						if err == nil {
							err = c.Ack(ctx, found)
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			fill(half)
			ack(2) // which the second block says
			fill(2 * half)
			for number := uint64(3); number <= 2*inBlock+5; number++ {
				if number != half {
					ack(number)
				}
			}
			ack(half)
			left := r.messages(test.stream)
			killed := copyDir(t, dir)
			r.stop()
			if blocks, err := filepath.Glob(filepath.Join(streamFolder(killed, test.stream), "msgs", "2.blk")); err != nil || len(blocks) != 1 {
				t.Fatalf("the second block is not there: %v", err)
			}
			r = openRecordedLimited(t, killed, limits)
			if found := r.messages(test.stream); found <= left {
				t.Fatalf("there are %d messages, none has come back: the server deletes with a trace now, so this test and its reason in package finished can go", found)
			}
			batches, remainders := r.waiting()
			if got := len(batches) + len(remainders); uint64(got) != left || r.cameBack() != 1 {
				t.Errorf("%d wait, want %d; %d came back", got, left, r.cameBack())
			}
			r.wantNoLoss()
		})
	}
}

// The marks of objects do not hide that batches have vanished.
func TestMarksOfObjectsHideNoLoss(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, 1<<30)
	for i := range 3 {
		o.append(batch("shop/a", largeEvent(3<<20, i)))
		o.requeue("shop/a")
	}
	for i := range 3 { // after the others, so that there are three batches only at the end
		o.append(batch("shop/b", strconv.Itoa(i)))
	}
	awaitCheckpoint(t, dir, 3)
	claimed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	o.work(func(ctx context.Context, c *journal.Consumer) {
		ack := func(stored *journal.StoredBatch) {
			if err := c.Ack(ctx, stored); err != nil {
				t.Error(err)
			}
		}
		if err := c.Remainders(ctx, ack); err != nil {
			t.Error(err)
		}
	})
	killed := copyDir(t, dir)
	if err := errors.Join(os.RemoveAll(streamFolder(killed, batchStream)), os.WriteFile(filepath.Join(killed, "checkpoint"), claimed, 0o600)); err != nil {
		t.Fatal(err)
	}
	if lost := open(t, killed, 1<<30).Lost(); lost["batches"] != 3 {
		t.Errorf("lost are %v, want 3 batches", lost)
	}
}
