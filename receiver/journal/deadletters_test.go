package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// deadLetter appends a batch of an event and makes that a dead letter.
func (o *opened) deadLetter(webhook, event, reason string) {
	o.t.Helper()
	o.append(batch(webhook, event))
	o.giveUp(webhook, reason)
}

// giveUp makes the first event of a webhook a dead letter.
func (o *opened) giveUp(webhook, reason string) {
	o.t.Helper()
	o.work(func(ctx context.Context, w *journal.Consumer) {
		stored, err := w.Next(ctx, webhook, 0)
		if err != nil {
			o.t.Fatal(err)
		}
		entry := journal.PendingEvent{ID: "id", Raw: stored.Value, Attempts: 3, Refused: true, Status: 400, Answer: "nö"}
		if stored.Value == nil {
			entry.ID, entry.Raw = stored.Events[0].ID, stored.Events[0].Raw
		}
		if err := w.DeadLetter(ctx, stored, []journal.DeadLetter{{PendingEvent: entry, Reason: reason, Type: "type"}}); err != nil {
			o.t.Error(err)
		}
		if err := w.Ack(ctx, stored); err != nil {
			o.t.Error(err)
		}
	})
}

// seqs returns the numbers of the dead letters that a filter selects, and how many pages they took.
func (o *opened) seqs(filter journal.DeadLetterFilter, limit int) (seqs []uint64, pages int) {
	o.t.Helper()
	for after := uint64(0); ; {
		page, next, err := o.DeadLetters(o.t.Context(), filter, after, limit)
		if err != nil {
			o.t.Fatal(err)
		}
		pages++
		for _, letter := range page {
			seqs = append(seqs, letter.Seq)
		}
		if after = next; after == 0 {
			return seqs, pages
		}
	}
}

func (o *opened) redrive(selection journal.Selection) journal.Progress {
	o.t.Helper()
	done, err := o.Redrive(o.t.Context(), selection)
	if err != nil {
		o.t.Fatal(err)
	}
	return done
}

// Dead letters are listed in pages, by webhook and reason, and shown one by one.
func TestDeadLettersAreListed(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	if seqs, _ := o.seqs(journal.DeadLetterFilter{}, 1); len(seqs) > 0 {
		t.Errorf("there are %v, and want none", seqs)
	}
	for i := range 5 {
		o.deadLetter("shop/a", `{"a":`+strconv.Itoa(i)+`}`, journal.ReasonRefused)
		o.deadLetter("shop/b", `{"b":`+strconv.Itoa(i)+`}`, journal.ReasonExpired)
	}
	for name, test := range map[string]struct {
		filter journal.DeadLetterFilter
		limit  int
		want   []uint64
		pages  int
	}{
		"all":            {limit: 100, want: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, pages: 1},
		"in pages":       {limit: 4, want: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, pages: 3},
		"in full pages":  {limit: 5, want: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, pages: 2},
		"of a webhook":   {journal.DeadLetterFilter{Webhook: "shop/b"}, 2, []uint64{2, 4, 6, 8, 10}, 3},
		"with a reason":  {journal.DeadLetterFilter{Reason: journal.ReasonRefused}, 5, []uint64{1, 3, 5, 7, 9}, 2},
		"with both":      {journal.DeadLetterFilter{Webhook: "shop/a", Reason: journal.ReasonExpired}, 5, nil, 1},
		"of no webhook":  {journal.DeadLetterFilter{Webhook: "shop/>"}, 5, nil, 1},
		"without limits": {limit: math.MaxInt, want: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, pages: 1},
	} {
		seqs, pages := o.seqs(test.filter, test.limit)
		if diff := cmp.Diff(test.want, seqs); diff != "" || pages != test.pages {
			t.Errorf("%s: %d pages, want %d (-want +got):\n%s", name, pages, test.pages, diff)
		}
	}
	if page, next, err := o.DeadLetters(t.Context(), journal.DeadLetterFilter{}, math.MaxUint64, 1); len(page) > 0 || next != 0 || err != nil {
		t.Errorf("after the last: %v, %d, %v", page, next, err)
	}
	letter, entry, err := o.DeadLetter(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	page, _, err := o.DeadLetters(t.Context(), journal.DeadLetterFilter{Webhook: "shop/b"}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(letter, page[0]); diff != "" {
		t.Errorf("list and show do not say the same:\n%s", diff)
	}
	if letter.Webhook != "shop/b" || letter.ID != "id" || letter.Type != "type" || letter.Status != 400 || letter.Attempts != 3 || letter.DeadLettered.IsZero() ||
		!letter.Redriven.IsZero() || letter.Received.UnixMilli() != 1795227543123 {
		t.Errorf("got %+v", letter)
	}
	if string(entry.Raw) != `[{"b":0}]` || entry.Answer != "nö" || !entry.Due.IsZero() {
		t.Errorf("got %+v", entry)
	}
	for _, seq := range []uint64{0, 11, math.MaxUint64} {
		if _, _, err := o.DeadLetter(t.Context(), seq); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%d: %v, want %v", seq, err, journal.ErrNotFound)
		}
	}
}

// An event that is redriven and becomes a dead letter again, several times, is no duplicate, also after a restart.
func TestRedrivenEventIsNoDuplicate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	o.deadLetter("shop/a", `{"a":1}`, journal.ReasonRefused)
	for round := range 4 {
		seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10)
		if len(seqs) != 1 {
			t.Fatalf("round %d: dead letters %v, want one", round, seqs)
		}
		if done := o.redrive(journal.Selection{Seqs: seqs}); done.Count != 1 || done.Missing != nil {
			t.Fatalf("round %d: %+v", round, done)
		}
		if seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10); len(seqs) > 0 {
			t.Fatalf("round %d: %v is still a dead letter", round, seqs)
		}
		if round == 2 {
			o.stop()
			o = open(t, dir, journal.MinBytes)
		}
		stored := o.next("shop/a", 0)
		if stored == nil || len(stored.Events) != 1 || string(stored.Events[0].Raw) != `[{"a":1}]` || stored.Redriven.IsZero() || !stored.AgeStart().Equal(stored.Redriven) {
			t.Fatalf("round %d: got %+v", round, stored)
		}
		if diff := cmp.Diff(journal.PendingEvent{ID: "id", Raw: stored.Events[0].Raw}, stored.Events[0]); diff != "" {
			t.Errorf("delivery does not start from the beginning:\n%s", diff)
		}
		o.work(func(ctx context.Context, w *journal.Consumer) { // its remainder has its age
			left, err := w.Requeue(ctx, stored, stored.Events)
			if err != nil || !left[0].AgeStart().Equal(stored.Redriven) {
				t.Fatalf("%+v, %v", left, err)
			}
			if err := w.DeadLetter(ctx, left[0], []journal.DeadLetter{{PendingEvent: stored.Events[0], Reason: journal.ReasonRefused}}); err != nil {
				t.Fatal(err)
			}
			if err := w.Ack(ctx, left[0]); err != nil {
				t.Fatal(err)
			}
		})
	}
	if !o.isDuplicate(batch("shop/a", `{"a":1}`)) {
		t.Error("the batch itself is a duplicate as before")
	}
}

// Several may redrive the same dead letters: each event is there at least once, and nobody fails.
func TestRedriveBySeveral(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	const events = 20
	for i := range events {
		o.deadLetter("shop/a", strconv.Itoa(i), journal.ReasonRefused)
	}
	large := largeEvent(5<<20, 1)
	o.deadLetter("shop/a", large, journal.ReasonRefused)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if done, err := o.Redrive(t.Context(), journal.Selection{}); err != nil || len(done.Damaged) > 0 {
				t.Errorf("%+v, %v", done, err)
			}
		})
	}
	group.Wait()
	if seqs, _ := o.seqs(journal.DeadLetterFilter{}, 100); len(seqs) > 0 {
		t.Errorf("%v are still there", seqs)
	}
	got := map[string]int{}
	for stored := o.next("shop/a", 0); stored != nil; stored = o.next("shop/a", stored.Position.Seq+1) {
		got[string(stored.Events[0].Raw)]++
	}
	for i := range events {
		if got[fmt.Sprintf("[%d]", i)] == 0 {
			t.Errorf("event %d is lost", i)
		}
	}
	if got[large] == 0 {
		t.Error("the large event is lost")
	}
}

// A crash after the event was stored as a batch, and before the dead letter was removed, loses nothing. Redriving again then adds
// nothing.
func TestRedriveAfterACrash(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	o.deadLetter("shop/a", `1`, journal.ReasonRefused)
	o.withoutDeletion("mandrill-dead-letter", func() {
		if _, err := o.Redrive(t.Context(), journal.Selection{Seqs: []uint64{1}}); err == nil {
			t.Fatal("the crash did not happen")
		}
	})
	if seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10); len(seqs) != 1 {
		t.Fatalf("dead letters %v, want the one", seqs)
	}
	if stored := o.next("shop/a", 0); stored == nil {
		t.Fatal("the event is not stored")
	}
	if done := o.redrive(journal.Selection{Seqs: []uint64{1}}); done.Count != 1 {
		t.Errorf("got %+v", done)
	}
	stored := o.next("shop/a", 0)
	if stored == nil {
		t.Fatal("the event is lost")
	}
	if again := o.next("shop/a", stored.Position.Seq+1); again != nil {
		t.Errorf("it is there twice: %+v", again)
	}
}

// An event that does not fit stays a dead letter, and can be redriven when there is space.
func TestRedriveWithoutSpace(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	filler := strings.Repeat("x", 256<<10)
	o.deadLetter("shop/a", strconv.Quote(incompressible(filler, -1)), journal.ReasonRefused)
	var err error
	for i := 0; err == nil; i++ {
		b := batch("shop/b", "1")
		b.Value = fmt.Appendf(nil, `["%s"]`, incompressible(filler, i))
		_, _, err = journaltest.TryAppend(t, o.Journal, b)
	}
	if done, err := o.Redrive(t.Context(), journal.Selection{}); !errors.Is(err, journal.ErrFull) || done.Count != 0 {
		t.Fatalf("%+v, %v, want %v", done, err, journal.ErrFull)
	}
	if seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10); len(seqs) != 1 {
		t.Fatalf("dead letters %v, want the one", seqs)
	}
	for range 2 {
		o.work(func(ctx context.Context, w *journal.Consumer) {
			stored, err := w.Next(ctx, "shop/b", 0)
			if err == nil {
				err = w.Ack(ctx, stored)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	if done := o.redrive(journal.Selection{}); done.Count != 1 {
		t.Errorf("got %+v", done)
	}
	if stored := o.next("shop/a", 0); stored == nil {
		t.Error("the event is lost")
	}
}

// Purge removes what is selected, and nothing else.
func TestPurgeRemovesTheSelected(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	for i := range 3 {
		o.deadLetter("shop/a", strconv.Itoa(i), journal.ReasonRefused)
		o.deadLetter("shop/b", strconv.Itoa(i), journal.ReasonExpired)
	}
	o.deadLetter("shop/c", largeEvent(2304<<10, 1), journal.ReasonRefused)
	for _, test := range []struct {
		selection journal.Selection
		want      journal.Progress
		left      []uint64
	}{
		{journal.Selection{Seqs: []uint64{1, 99}}, journal.Progress{Count: 1, Missing: []uint64{99}}, []uint64{2, 3, 4, 5, 6, 7}},
		{journal.Selection{Filter: journal.DeadLetterFilter{Webhook: "shop/a"}, UpTo: 4}, journal.Progress{Count: 1, UpTo: 4}, []uint64{2, 4, 5, 6, 7}},
		{journal.Selection{Filter: journal.DeadLetterFilter{Reason: journal.ReasonExpired}, After: 2}, journal.Progress{Count: 2, UpTo: 7}, []uint64{2, 5, 7}},
		{journal.Selection{}, journal.Progress{Count: 3, UpTo: 7}, nil},
		{journal.Selection{}, journal.Progress{}, nil},
	} {
		done, err := o.Purge(t.Context(), test.selection)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, done); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.selection, diff)
		}
		left, _ := o.seqs(journal.DeadLetterFilter{}, 100)
		if diff := cmp.Diff(test.left, left); diff != "" {
			t.Errorf("%+v: left (-want +got):\n%s", test.selection, diff)
		}
	}
	if _, err := o.Purge(t.Context(), journal.Selection{Seqs: make([]uint64, journal.MaxDeadLetters+1)}); err == nil {
		t.Error("so many at once are refused")
	}
}

// Without a connection dead letters are unavailable.
func TestDeadLettersUnavailable(t *testing.T) {
	t.Parallel()
	j := journal.New(journal.Options{})
	_, _, lettersErr := j.DeadLetters(t.Context(), journal.DeadLetterFilter{}, 0, 1)
	_, _, letterErr := j.DeadLetter(t.Context(), 1)
	_, redriveErr := j.Redrive(t.Context(), journal.Selection{})
	_, purgeErr := j.Purge(t.Context(), journal.Selection{})
	for _, err := range []error{lettersErr, letterErr, redriveErr, purgeErr} {
		if !errors.Is(err, journal.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, journal.ErrUnavailable)
		}
	}
}

// A large event is redriven to the byte, and leaves no object when it is purged.
func TestRedriveOfALargeEvent(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	large := largeEvent(5<<20, 1)
	o.deadLetter("shop/a", large, journal.ReasonRefused)
	for round := range 2 {
		seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10)
		if len(seqs) != 1 {
			t.Fatalf("dead letters %v, want one", seqs)
		}
		if _, entry, err := o.DeadLetter(t.Context(), seqs[0]); err != nil || string(entry.Raw) != large {
			t.Fatalf("round %d: %d bytes, %v", round, len(entry.Raw), err)
		}
		o.redrive(journal.Selection{Filter: journal.DeadLetterFilter{Webhook: "shop/a"}})
		if stored := o.next("shop/a", 0); stored == nil || string(stored.Events[0].Raw) != large || stored.Size < 5<<20 {
			t.Fatalf("round %d: it is not the same", round)
		}
		o.giveUp("shop/a", journal.ReasonExhausted)
	}
	if _, err := o.Purge(t.Context(), journal.Selection{}); err != nil {
		t.Fatal(err)
	}
	if objects := o.objects(); len(objects) > 0 {
		t.Errorf("left are %q", objects)
	}
}

// The object of a large event is not written again when its batch comes again: it may be read meanwhile.
func TestDuplicateOfALargeEventKeepsItsObject(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 1<<30)
	large := batch("shop/a", largeEvent(5<<20, 1))
	o.append(large)
	before := o.objects()
	if !o.isDuplicate(large) {
		t.Error("it is a duplicate")
	}
	if diff := cmp.Diff(before, o.objects()); diff != "" || len(before) != 1 {
		t.Errorf("objects (-before +after):\n%s", diff)
	}
}

// A large event that fits into a message when it is compressed is no object.
func TestLargeEventThatCompressesIsNoObject(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	event := strconv.Quote(strings.Repeat("x", 3500<<10))
	o.append(batch("shop/a", event))
	stored := o.next("shop/a", 0)
	o.work(func(ctx context.Context, w *journal.Consumer) {
		left, err := w.Requeue(ctx, stored, []journal.PendingEvent{{ID: "1", Raw: []byte(event)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.DeadLetter(ctx, left[0], []journal.DeadLetter{{PendingEvent: left[0].Events[0], Reason: journal.ReasonRefused}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Ack(ctx, left[0]); err != nil {
			t.Error(err)
		}
	})
	if objects := o.objects(); len(objects) > 0 {
		t.Errorf("there are objects: %q", objects)
	}
	o.redrive(journal.Selection{})
	if stored := o.next("shop/a", 0); stored == nil || string(stored.Events[0].Raw) != event {
		t.Error("it is not the same")
	}
}

// When dead letters need more space than they have, those of the webhook with the most bytes are evicted: one webhook cannot push
// out the dead letters of the others, whichever is older.
func TestEvictionTakesFromTheLargestShare(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	const letters = 20
	for i := range letters {
		o.deadLetter("shop/a", fmt.Sprintf(`{"a":%d}`, i), journal.ReasonRefused)
	}
	count := func(webhook string) (count int) {
		for after := uint64(0); ; {
			page, next, err := o.DeadLetters(t.Context(), journal.DeadLetterFilter{Webhook: webhook}, after, journal.MaxDeadLetters)
			if err != nil {
				t.Fatal(err)
			}
			if count += len(page); next == 0 {
				return count
			}
			after = next
		}
	}
	stored := 0
	for ; stored == count("evil/b"); stored++ {
		o.deadLetter("evil/b", fmt.Sprintf(`{"b":%d,"x":%q}`, stored, incompressible(strings.Repeat("x", 300<<10), stored)), journal.ReasonRefused)
	}
	for range letters {
		o.deadLetter("evil/b", fmt.Sprintf(`{"b":%d,"x":%q}`, stored, incompressible(strings.Repeat("x", 300<<10), stored)), journal.ReasonRefused)
		stored++
	}
	if got := count("shop/a"); got != letters {
		t.Errorf("%d of %d dead letters of the other webhook remain", got, letters)
	}
}
