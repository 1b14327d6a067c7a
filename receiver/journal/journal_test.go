package journal_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// A batch is stored once, whenever it comes again, until it is finished and after that.
func TestAppendRecognisesDuplicates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	if o.append(batch("shop/a", `{"event":"send"}`, `{"event":"open"}`)) {
		t.Error("a new batch is no duplicate")
	}
	if !o.isDuplicate(batch("shop/a", `{"event":"send"}`, `{"event":"open"}`)) {
		t.Error("the same batch is a duplicate")
	}
	if o.append(batch("shop/b", `{"event":"send"}`, `{"event":"open"}`)) {
		t.Error("the same for another webhook is no duplicate")
	}
	o.stop()
	o = open(t, dir, journal.MinBytes)
	if !o.isDuplicate(batch("shop/a", `{"event":"send"}`, `{"event":"open"}`)) {
		t.Error("also after a restart it is a duplicate")
	}
	stored := o.next("shop/a", 0)
	if stored == nil || string(stored.Value) != `[{"event":"send"},{"event":"open"}]` || stored.Webhook != "shop/a" || stored.EventCount != 2 || !stored.Received.Equal(time.UnixMilli(1795227543123)) {
		t.Fatalf("got %+v", stored)
	}
	if next := o.next("shop/a", stored.Position.Seq+1); next != nil {
		t.Errorf("there is nothing more, got %+v", next)
	}
	o.work(func(ctx context.Context, w *journal.Consumer) {
		if err := w.Ack(ctx, stored); err != nil {
			t.Error(err)
		}
	})
	if stored := o.next("shop/a", 0); stored != nil {
		t.Errorf("it is finished, got %+v", stored)
	}
	o.stop()
	o = open(t, dir, journal.MinBytes)
	if !o.isDuplicate(batch("shop/a", `{"event":"send"}`, `{"event":"open"}`)) {
		t.Error("also finished, and after a restart, it is a duplicate")
	}
	if stored := o.next("shop/b", 0); stored == nil {
		t.Error("that of the other webhook is still there")
	}
}

// A remainder replaces its batch, with the state of each event.
func TestRequeueReplacesABatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	o.append(batch("shop/a", "1", "2", "3"))
	stored := o.next("shop/a", 0)
	left := []journal.PendingEvent{
		{ID: "2", Raw: []byte("2"), Attempts: 3, Due: time.UnixMilli(1795227549000).UTC(), Status: 503, Answer: "später"},
		{ID: "3", Raw: []byte("3"), Refused: true, DeadLetterAttempts: 1},
	}
	o.work(func(ctx context.Context, w *journal.Consumer) {
		if _, err := w.Requeue(ctx, stored, left); err != nil {
			t.Error(err)
		}
	})
	if again := o.next("shop/a", 0); again != nil {
		t.Errorf("the batch is still there: %+v", again)
	}
	o.stop()
	o = open(t, dir, journal.MinBytes)
	var found []*journal.StoredBatch
	o.work(func(ctx context.Context, w *journal.Consumer) {
		if err := w.Remainders(ctx, func(stored *journal.StoredBatch) { found = append(found, stored) }); err != nil {
			t.Error(err)
		}
	})
	if len(found) != 1 || found[0].Origin != stored.Position.Seq || !found[0].Position.Remainder || found[0].ID != stored.ID {
		t.Fatalf("got %+v", found)
	}
	if diff := cmp.Diff(left, found[0].Events); diff != "" {
		t.Error(diff)
	}
	if !o.isDuplicate(batch("shop/a", "1", "2", "3")) {
		t.Error("a batch of which something is left is a duplicate")
	}
}

// Remainders are read after a restart whatever is at the positions of what they have replaced.
func TestRemaindersOfDeletedParents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	const count = 5
	batches := make([]*journal.StoredBatch, count)
	left := []journal.PendingEvent{{ID: "0", Raw: []byte(`{}`), Attempts: 1}}
	for i := range batches {
		o.append(batch("shop/a", fmt.Sprintf(`{"n":%d}`, i)))
	}
	o.work(func(ctx context.Context, w *journal.Consumer) {
		from := uint64(0)
		for _, numbers := range [][]int{{0, 1, 2, 3, 4}, {1, 2, 4}, {2, 1}} {
			for _, i := range numbers {
				stored, err := batches[i], error(nil)
				if stored == nil {
					stored, err = w.Next(ctx, "shop/a", from)
				}
				if err != nil {
					t.Fatal(err)
				}
				from = max(from, stored.Origin+1)
				parts, err := w.Requeue(ctx, stored, left)
				if err != nil {
					t.Fatal(err)
				}
				batches[i] = parts[0]
			}
		}
	})
	for range 2 {
		o.stop()
		o = open(t, dir, journal.MinBytes)
		found := 0
		o.work(func(ctx context.Context, w *journal.Consumer) {
			if err := w.Remainders(ctx, func(*journal.StoredBatch) { found++ }); err != nil {
				t.Error(err)
			}
		})
		if found != count {
			t.Errorf("found %d remainders, want %d", found, count)
		}
	}
}

// Batches and events that do not fit into a message are split, and nothing of them is changed.
func TestLargeBatchesAreUnchanged(t *testing.T) { //nolint:tparallel // there is no memory for three at once
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	noise := func(seed, n int) string { // does not compress
		var text strings.Builder
		state := uint64(seed) + 1
		for text.Len() < n {
			state = state*6364136223846793005 + 1442695040888963407
			text.WriteString(strconv.FormatUint(state, 36))
		}
		return strconv.Quote(text.String())
	}
	cases := map[string][]string{
		"many events":   {noise(1, 750<<10), noise(2, 750<<10), noise(3, 750<<10), noise(4, 750<<10), noise(5, 750<<10)},
		"a large event": {"1", noise(6, 5<<20), "3"},
		"one of 60 MB":  {strconv.Quote(noise(7, 6<<20)[1:6<<20] + strings.Repeat("repeated ", 6<<20))}, // 60 MB of noise take a minute with the race detector
	}
	for name, events := range cases {
		t.Run(name, func(t *testing.T) {
			if o.append(batch(name, events...)) {
				t.Fatal("it is no duplicate")
			}
			if !o.isDuplicate(batch(name, events...)) {
				t.Error("now it is")
			}
			var got, ids []string
			for from := uint64(0); ; {
				stored := o.next(name, from)
				if stored == nil {
					break
				}
				for _, entry := range stored.Events {
					got, ids = append(got, string(entry.Raw)), append(ids, entry.ID)
				}
				from = stored.Position.Seq + 1
				o.work(func(ctx context.Context, w *journal.Consumer) {
					left, err := w.Requeue(ctx, stored, stored.Events)
					if err != nil {
						t.Fatal(err)
					}
					again, err := w.Get(ctx, left[0].Position)
					if err != nil || !reflect.DeepEqual(again.Events, stored.Events) {
						t.Errorf("requeued, it is not the same: %v", err)
					}
					if err := w.Ack(ctx, again); err != nil {
						t.Error(err)
					}
				})
			}
			if len(got) != len(events) {
				t.Fatalf("%d events, want %d", len(got), len(events))
			}
			for i := range events {
				if got[i] != events[i] || ids[i] != strconv.Itoa(i) {
					t.Errorf("event %d with id %s is not as it was", i, ids[i])
				}
			}
		})
	}
}

// A large event whose sender is gone before it is stored leaves nothing behind.
func TestAbortedLargeEventLeavesNothing(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	event := largeEvent(30<<20, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := o.Append(ctx, batch("shop/a", event))
		ended <- err
	}()
	for o.messages(objectStream) == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	if left := o.messages(objectStream); left > 0 {
		t.Errorf("%d messages are left", left)
	}
}

// A full buffer refuses batches, has space for remainders, and accepts batches again when some are delivered.
func TestFullBuffer(t *testing.T) {
	t.Parallel()
	testFull(t, open(t, t.TempDir(), journal.MinBytes))
}

func testFull(t *testing.T, o *opened) {
	t.Helper()
	filler := strings.Repeat("x", 256<<10)
	stored := 0
	var err error
	for stored < 1000 && err == nil {
		b := batch("shop/a", strconv.Itoa(stored))
		b.Value = fmt.Appendf(nil, `["%d%s"]`, stored, incompressible(filler, stored))
		if _, _, err = journaltest.TryAppend(t, o.Journal, b); err == nil {
			stored++
		}
	}
	if !errors.Is(err, journal.ErrFull) {
		t.Fatalf("after %d batches: %v, want %v", stored, err, journal.ErrFull)
	}
	if o.Available(t.Context()) {
		t.Error("what is full is not available")
	}
	first := o.next("shop/a", 0)
	o.work(func(ctx context.Context, w *journal.Consumer) {
		if _, err := w.Requeue(ctx, first, []journal.PendingEvent{{ID: "0", Raw: []byte("0")}}); err != nil {
			t.Errorf("there is space for a remainder: %v", err)
		}
	})
	b := batch("shop/a", "x")
	b.Value = fmt.Appendf(nil, `["%s"]`, incompressible(filler, -1)[:64<<10])
	if o.append(b) {
		t.Error("it is no duplicate")
	}
}

// A total is divided so that everything has space.
func TestSplitLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		total, dead int64
		want        string
	}{
		"too small":        {journal.MinBytes - 1, 0, "at least 64 MiB"},
		"too many dead":    {journal.MinBytes, journal.MinBytes/2 + 1, "up to half"},
		"negative dead":    {journal.MinBytes, -1, "up to half"},
		"the least":        {journal.MinBytes, 0, ""},
		"half for letters": {1 << 30, 1 << 29, ""},
	} {
		limits, err := journal.SplitLimits(test.total, test.dead)
		switch {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		case err == nil:
			sum := limits.Batches + limits.Remainders + limits.Objects + limits.DeadLetters + limits.Finished + limits.Reserve
			if sum > test.total || sum < test.total*9/10 || min(limits.Batches, limits.Remainders, limits.Objects, limits.DeadLetters, limits.Finished, limits.Reserve) <= 0 {
				t.Errorf("%s: %+v does not add up", name, limits)
			}
		}
	}
}

// A smaller limit applies as soon as the buffer holds less, without a restart.
func TestSmallerLimitAppliesWhenLessIsStored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	limit := func(o *opened) int64 {
		found, err := o.server().Stream(t.Context(), "mandrill-batch")
		if err != nil {
			t.Fatal(err)
		}
		return found.CachedInfo().Config.MaxBytes
	}
	large, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	small := large
	small.Batches = 1 << 20
	o := openLimited(t, dir, large)
	o.append(batch("shop/a", largeEvent(1500<<10, 1)))
	o.stop()
	o = openLimited(t, dir, small)
	if got := limit(o); got != large.Batches {
		t.Errorf("the limit is %d while more is stored", got)
	}
	o.ack(o.next("shop/a", 0))
	until(t, "the limit is lowered", func() bool { return limit(o) == small.Batches })
}

// The limits may be larger or smaller after a restart: they follow the volume.
func TestLimitsFollowTheVolume(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, total := range []int64{16 * journal.MinBytes, 4 * journal.MinBytes, journal.MinBytes, 32 * journal.MinBytes} {
		o := open(t, dir, total)
		o.append(batch("shop/a", strconv.Itoa(i)))
		o.stop()
	}
}
