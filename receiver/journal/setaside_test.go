package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// backlog returns the positions of what waits, and how many pages of a limit they took.
func (o *opened) backlog(webhook string, limit int) (positions []string, pages int) {
	o.t.Helper()
	for after := (*journal.Position)(nil); ; pages++ {
		page, next, err := o.Backlog(o.t.Context(), webhook, after, limit)
		if err != nil {
			o.t.Fatal(err)
		}
		for _, batch := range page {
			positions = append(positions, batch.Position.String())
		}
		if after = next; after == nil {
			return positions, pages + 1
		}
	}
}

// requeueRest delivers the first event of a webhook's first batch.
func (o *opened) requeueRest(webhook string) {
	o.t.Helper()
	o.work(func(ctx context.Context, c *journal.Consumer) {
		stored, err := c.Next(ctx, webhook, 0)
		if err == nil {
			_, err = c.Requeue(ctx, stored, []journal.PendingEvent{{ID: "1", Raw: []byte(`{"b":2}`), Attempts: 3}, {ID: "2", Raw: []byte(`{"c":3}`)}})
		}
		if err != nil {
			o.t.Error(err)
		}
	})
}

// A set aside batch is a dead letter with all of its bytes, whatever they are, and the same batch again when it is redriven.
func TestBatchThatIsSetAsideKeepsItsBytes(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), 4*journal.MinBytes)
	huge := `{"text":"` + incompressible(strings.Repeat("x", 9<<20), 1) + `"}` // becomes an object
	for name, test := range map[string]struct {
		webhook string
		events  []string
		want    string
		count   int
	}{
		"a batch":            {"shop/a", []string{`{"a":1}`, `{"b":2}`}, `[{"a":1},{"b":2}]`, 2},
		"one event":          {"shop/b", []string{`{"a":1}`}, `[{"a":1}]`, 1},
		"an empty batch":     {"shop/c", nil, `[]`, 0},
		"a remainder":        {"shop/d", []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}, `[{"b":2},{"c":3}]`, 2},
		"a very large event": {"shop/e", []string{huge}, huge, 1},
	} {
		o.append(batch(test.webhook, test.events...))
		if name == "a remainder" {
			o.requeueRest(test.webhook)
		}
		for round := range 2 {
			page, _, err := o.Backlog(t.Context(), test.webhook, nil, 10)
			if err != nil || len(page) != 1 {
				t.Fatalf("%s, round %d: the backlog has %+v, %v", name, round, page, err)
			}
			waiting, events, err := o.Waiting(t.Context(), page[0].Position)
			if want := "[" + strings.Trim(test.want, "[]") + "]"; err != nil || string(events) != want || waiting != page[0] || waiting.Events != test.count {
				t.Errorf("%s, round %d: %+v waits with %.50s, %v", name, round, waiting, events, err)
			}
			removed, err := o.SetAside(t.Context(), []journal.Position{page[0].Position})
			if diff := cmp.Diff(journal.Removed{Batches: 1, Events: test.count}, removed); diff != "" || err != nil {
				t.Fatalf("%s, round %d: %v %s", name, round, err, diff)
			}
			letters, _, err := o.DeadLetters(t.Context(), journal.DeadLetterFilter{Webhook: test.webhook, Reason: journal.ReasonSetAside}, 0, 10)
			if err != nil || len(letters) != 1 {
				t.Fatalf("%s, round %d: the dead letters are %+v, %v", name, round, letters, err)
			}
			_, event, err := o.DeadLetter(t.Context(), letters[0].Seq)
			if err != nil || string(event.Raw) != test.want {
				t.Errorf("%s, round %d: the dead letter has %.50s, %v", name, round, event.Raw, err)
			}
			if left, _ := o.backlog(test.webhook, 10); len(left) > 0 {
				t.Errorf("%s, round %d: the backlog has %v", name, round, left)
			}
			o.redrive(journal.Selection{Seqs: []uint64{letters[0].Seq}})
		}
		stored := o.next(test.webhook, 0)
		if stored == nil || stored.Redriven.IsZero() || stored.EventCount != test.count {
			t.Fatalf("%s: redriven, it is %+v", name, stored)
		}
		if name == "a remainder" && stored.Events[0].Attempts != 3 {
			t.Errorf("%s: an event has %d attempts, want 3", name, stored.Events[0].Attempts)
		}
		o.ack(stored)
	}
}

// Mandrill may send a batch again that was set aside or dropped. It is a duplicate, also after a restart.
func TestBatchOutOfTheBacklogIsADuplicate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	o.append(batch("shop/a", `{"a":1}`))
	o.append(batch("shop/a", `{"b":1}`))
	if _, err := o.SetAside(t.Context(), []journal.Position{{Seq: 1}}); err != nil {
		t.Fatal(err)
	}
	if removed, err := o.Drop(t.Context(), []journal.Position{{Seq: 2}, {Seq: 9}, {}, {Remainder: true, Seq: 2}}); err != nil || removed.Batches != 1 || len(removed.Missing) != 3 {
		t.Fatalf("%+v, %v", removed, err)
	}
	o.stop()
	o = open(t, dir, journal.MinBytes)
	if !o.isDuplicate(batch("shop/a", `{"a":1}`)) || !o.isDuplicate(batch("shop/a", `{"b":1}`)) {
		t.Error("a batch is stored again")
	}
	if letters, _, err := o.DeadLetters(t.Context(), journal.DeadLetterFilter{}, 0, 10); err != nil || len(letters) != 1 {
		t.Errorf("the dead letters are %+v, %v", letters, err)
	}
}

// A batch that was dropped or set aside is not lost, however the process ends.
func TestBatchOutOfTheBacklogIsNotLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := open(t, dir, journal.MinBytes)
	for _, event := range []string{`{"a":1}`, `{"b":1}`, `{"c":1}`} {
		o.append(batch("shop/a", event))
	}
	awaitCheckpoint(t, dir, 3)
	claim, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.SetAside(t.Context(), []journal.Position{{Seq: 1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Drop(t.Context(), []journal.Position{{Seq: 2}}); err != nil {
		t.Fatal(err)
	}
	killed := copyDir(t, dir)
	if err := os.WriteFile(filepath.Join(killed, "checkpoint"), claim, 0o600); err != nil { // as after a kill
		t.Fatal(err)
	}
	o.stop()
	for name, dir := range map[string]string{"killed": killed, "stopped": dir} {
		if lost := open(t, dir, journal.MinBytes).Lost(); lost != nil {
			t.Errorf("%s: %v are lost", name, lost)
		}
	}
}

// The backlog has pages: remainders of older batches, then batches.
func TestBacklogIsListedInPages(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir(), journal.MinBytes)
	if positions, pages := o.backlog("", 2); len(positions) > 0 || pages != 1 {
		t.Errorf("an empty one has %v in %d pages", positions, pages)
	}
	o.append(batch("shop/a", `{"a":1}`, `{"b":2}`, `{"c":3}`))
	o.requeueRest("shop/a")
	for _, event := range []string{`{"d":4}`, `{"e":5}`, `{"f":6}`} {
		o.append(batch("shop/a", event))
		o.append(batch("shop/b", event))
	}
	for webhook, want := range map[string][]string{
		"":       {"remainder:1", "batch:2", "batch:3", "batch:4", "batch:5", "batch:6", "batch:7"},
		"shop/a": {"remainder:1", "batch:2", "batch:4", "batch:6"},
		"shop/b": {"batch:3", "batch:5", "batch:7"},
		"shop/c": nil,
	} {
		for _, limit := range []int{1, 2, 100} {
			if positions, pages := o.backlog(webhook, limit); cmp.Diff(want, positions) != "" || pages < len(want)/limit {
				t.Errorf("%q by %d: got %v in %d pages, want %v", webhook, limit, positions, pages, want)
			}
		}
	}
	if _, _, err := o.Waiting(t.Context(), journal.Position{Seq: 99}); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("a batch that is not there: %v", err)
	}
}

// A batch for which there is no space among the dead letters is held: it stays, and is not read.
func TestBatchThatCannotBeSetAsideIsHeld(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	o := openLimited(t, t.TempDir(), limits)
	large := batch("shop/a", `{"text":"`+incompressible(strings.Repeat("x", 1500<<10), 2)+`"}`)
	o.append(large)
	o.append(batch("shop/a", `{"b":2}`))
	o.work(func(ctx context.Context, c *journal.Consumer) {
		if set, err := c.SetAside(ctx, journal.Position{Seq: 1}, journal.ReasonQuarantined); !errors.Is(err, journal.ErrFull) || set.Webhook != "shop/a" {
			t.Errorf("got %+v, %v", set, err)
		}
		if stored, err := c.Next(ctx, "shop/a", 0); err != nil || stored.Position.Seq != 2 {
			t.Errorf("read %+v, %v", stored, err)
		}
	})
	if positions, _ := o.backlog("", 10); cmp.Diff([]string{"batch:1", "batch:2"}, positions) != "" {
		t.Errorf("the backlog has %v", positions)
	}
}
