package age

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const month = 30 * 24 * time.Hour

// world is a buffer of dead letters, and a clock that may be wrong.
type world struct {
	letters  []Letter
	removed  []uint64
	recorded time.Time
	offset   time.Duration // of the clock
	elapsed  time.Duration
	log      bytes.Buffer
}

var epoch = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

func (w *world) now() time.Time { return epoch.Add(w.elapsed + w.offset) }

func (w *world) store(stamp time.Time) {
	w.letters = append(w.letters, Letter{Seq: uint64(len(w.letters) + 1), Webhook: "shop/a", Stored: stamp})
}

func (w *world) Scan(_ context.Context, yield func(Letter) bool) error {
	for _, letter := range w.letters {
		if !yield(letter) {
			return nil
		}
	}
	return nil
}

func (w *world) Remove(_ context.Context, letter Letter) (bool, error) {
	before := len(w.letters)
	w.letters = slices.DeleteFunc(w.letters, func(each Letter) bool { return each.Seq == letter.Seq })
	w.removed = append(w.removed, letter.Seq)
	return len(w.letters) < before, nil
}

func (w *world) Recorded(context.Context) (time.Time, error) { return w.recorded, nil }

func (w *world) Record(_ context.Context, now time.Time) error {
	w.recorded = now
	return nil
}

// lead runs the remover of a new leader for some time, with a pass every ten minutes. Before each pass it calls change with the
// time that this leader has run.
func (w *world) lead(t *testing.T, maxAge, d time.Duration, change func(run time.Duration)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	logger := slog.New(slog.NewJSONHandler(&w.log, nil))
	r := &Remover{Buffer: w, MaxAge: maxAge, Now: w.now, Elapsed: func() time.Duration { return w.elapsed }, Logger: logger}
	clock := &clock{now: r.Now, elapsed: r.Elapsed, most: r.MaxAge}
	if _, err := r.start(ctx, clock); err != nil {
		t.Fatal(err)
	}
	for run := time.Duration(0); run < d; run += maxInterval {
		w.elapsed += maxInterval
		if change != nil {
			change(run)
		}
		if err := r.pass(ctx, clock); err != nil {
			t.Fatal(err)
		}
	}
}

func ago(d time.Duration) time.Time { return epoch.Add(-d) }

// Those that are too old are removed, oldest first, and logged once.
func TestOldDeadLettersAreRemoved(t *testing.T) {
	t.Parallel()
	w := &world{}
	for _, age := range []time.Duration{40 * 24 * time.Hour, month + time.Hour, month - 12*time.Hour, time.Hour} {
		w.store(ago(age))
	}
	w.lead(t, month, 2*time.Hour, nil)
	if diff := cmp.Diff([]uint64{1, 2}, w.removed); diff != "" {
		t.Errorf("after two hours (-want +got):\n%s", diff)
	}
	if log := w.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, `"events":2,"webhooks":1`) {
		t.Errorf("log: %s", log)
	}
	w.lead(t, month, 24*time.Hour, nil)
	if diff := cmp.Diff([]uint64{1, 2, 3}, w.removed); diff != "" {
		t.Errorf("a day later (-want +got):\n%s", diff)
	}
}

// A clock that jumps, whichever way and whenever, removes nothing that is not too old.
func TestWrongClockRemovesNothing(t *testing.T) {
	t.Parallel()
	years := 10 * 365 * 24 * time.Hour
	for name, test := range map[string]struct {
		recorded time.Time
		offset   time.Duration
		run      time.Duration
		change   func(*world) func(time.Duration)
		want     []uint64
	}{
		"right":                  {run: 48 * time.Hour, want: nil},
		"ahead from the start":   {recorded: epoch, offset: years, run: 23 * time.Hour},
		"behind from the start":  {recorded: epoch, offset: -years, run: 48 * time.Hour},
		"ahead in between, once": {run: 48 * time.Hour, change: func(w *world) func(time.Duration) { return jumpAt(w, 5*time.Hour, 5*time.Hour+50*time.Minute, years) }},
		"behind in between":      {run: 48 * time.Hour, change: func(w *world) func(time.Duration) { return jumpAt(w, 5*time.Hour, 9*time.Hour, -years) }},
		"ahead again and again": {run: 48 * time.Hour, change: func(w *world) func(time.Duration) {
			return func(run time.Duration) { w.offset = years * time.Duration(int(run/(30*time.Minute))%2) }
		}},
	} {
		w := &world{recorded: test.recorded, offset: test.offset}
		for _, age := range []time.Duration{20 * 24 * time.Hour, 10 * 24 * time.Hour, 0} {
			w.store(ago(age))
		}
		var change func(time.Duration)
		if test.change != nil {
			change = test.change(w)
		}
		w.lead(t, month, test.run, change)
		if diff := cmp.Diff(test.want, w.removed); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// jumpAt moves a clock for some time.
func jumpAt(w *world, from, to, by time.Duration) func(time.Duration) {
	return func(run time.Duration) {
		w.offset = 0
		if run >= from && run < to {
			w.offset = by
		}
	}
}

// A jump delays the removal by an hour, and a long gap by a day. Neither prevents it.
func TestRemovalGoesOnAfterAJump(t *testing.T) {
	t.Parallel()
	w := &world{recorded: epoch}
	w.store(ago(40 * 24 * time.Hour))
	w.lead(t, month, 3*time.Hour, func(run time.Duration) {
		if run < 90*time.Minute && len(w.removed) > 0 {
			t.Errorf("removed after %s", run)
		}
		jumpAt(w, 40*time.Minute, 10*24*time.Hour, 5*time.Minute)(run)
	})
	if len(w.removed) != 1 {
		t.Error("after a jump nothing is removed any more")
	}
	w = &world{recorded: ago(90 * 24 * time.Hour)} // nothing ran for months
	w.store(ago(100 * 24 * time.Hour))
	w.lead(t, month, 23*time.Hour, nil)
	if len(w.removed) != 0 {
		t.Error("after a long gap a dead letter was removed at once")
	}
	w.recorded = ago(90 * 24 * time.Hour)
	w.lead(t, month, 25*time.Hour, nil)
	if len(w.removed) != 1 {
		t.Error("after a long gap nothing is removed any more")
	}
	if log := w.log.String(); !strings.Contains(log, "Clock is far from") {
		t.Errorf("log: %s", log)
	}
}

// A time that cannot be says nothing, and a dead letter is not older than one before it.
func TestTimesThatCannotBe(t *testing.T) {
	t.Parallel()
	old, young := ago(40*24*time.Hour), ago(time.Hour)
	future, boot := epoch.Add(5*365*24*time.Hour), time.Unix(100, 0)
	for name, test := range map[string]struct {
		stamps []time.Time
		want   []uint64
	}{
		"alone":                             {[]time.Time{boot, future, {}}, nil},
		"before one that is too old":        {[]time.Time{boot, future, {}, old, young}, []uint64{1, 2, 3, 4}},
		"after one that is too old":         {[]time.Time{old, boot, future, young}, []uint64{1}},
		"between those that are too old":    {[]time.Time{old, future, old, boot, young}, []uint64{1, 2, 3}},
		"the clock was behind for a moment": {[]time.Time{young, old, young}, nil},
	} {
		w := &world{}
		for _, stamp := range test.stamps {
			w.store(stamp)
		}
		w.lead(t, month, 2*time.Hour, nil)
		if diff := cmp.Diff(test.want, w.removed); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
