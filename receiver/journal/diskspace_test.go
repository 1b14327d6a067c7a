package journal_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// fillableVolume is an engine whose volume can be made to look full.
type fillableVolume struct {
	journal.Engine
	full atomic.Bool
}

func (v *fillableVolume) Open(ctx context.Context) (*engine.Connection, error) {
	connection, err := v.Engine.Open(ctx)
	if err != nil {
		return nil, err
	}
	free := connection.Reserve.Free
	connection.Reserve.Free = func() int64 {
		if v.full.Load() {
			return 0
		}
		return free()
	}
	return connection, nil
}

// While there is little room on the volume nothing is kept that makes more of what is there, and everything is done that
// makes less of it.
func TestLittleRoom(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	volume := &fillableVolume{Engine: &engine.Embedded{Dir: t.TempDir(), Reserve: limits.Reserve, Logger: slog.New(slog.DiscardHandler)}}
	o := run(t, journal.New(journal.Options{Engine: volume, Limits: limits, Logger: slog.New(slog.DiscardHandler)}))
	for i := range 3 {
		o.deadLetter("shop/a", `{"a":`+string(rune('0'+i))+`}`, journal.ReasonRefused)
	}
	o.append(batch("shop/a", "1", "2"))
	o.append(batch("shop/b", "1"))
	until(t, "it is available", func() bool { return o.Available(t.Context()) })
	volume.full.Store(true)
	if _, err := o.Append(t.Context(), batch("shop/a", "3")); !errors.Is(err, journal.ErrFull) {
		t.Errorf("a batch: %v, want %v", err, journal.ErrFull)
	}
	if o.Available(t.Context()) {
		t.Error("there is no room, and it is available")
	}
	if _, err := o.Redrive(t.Context(), journal.Selection{Seqs: []uint64{1}}); !errors.Is(err, journal.ErrFull) {
		t.Errorf("redriving: %v, want %v", err, journal.ErrFull)
	}
	o.work(func(ctx context.Context, w *journal.Consumer) {
		unit, err := w.Next(ctx, "shop/a", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Requeue(ctx, unit, []journal.PendingEvent{{ID: "2", Raw: []byte("2")}}); !errors.Is(err, journal.ErrFull) {
			t.Errorf("putting back: %v, want %v", err, journal.ErrFull)
		}
		if err := w.Ack(ctx, unit); err != nil {
			t.Error(err)
		}
	})
	o.giveUp("shop/b", journal.ReasonExpired)
	if seqs, _ := o.seqs(journal.DeadLetterFilter{}, 10); !cmp.Equal(seqs, []uint64{2, 3, 4}) {
		t.Errorf("the dead letters are %v, want the fourth in place of the first", seqs)
	}
	volume.full.Store(false)
	o.append(batch("shop/a", "3"))
	if unit := o.next("shop/a", 0); unit == nil || string(unit.Value) != "[3]" {
		t.Errorf("got %+v", unit)
	}
}

// Room is taken for later, and again when what took it is gone or was cut short by a crash.
func TestReserve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	limits, err := journal.SplitLimits(journal.MinBytes, 0)
	if err != nil {
		t.Fatal(err)
	}
	reserve := filepath.Join(dir, "reserve")
	reserved := func() bool {
		var file syscall.Stat_t
		return syscall.Stat(reserve, &file) == nil && file.Size == limits.Reserve && file.Blocks*512 >= limits.Reserve
	}
	start := func() *opened {
		logger := slog.New(slog.DiscardHandler)
		return run(t, journal.New(journal.Options{Engine: &engine.Embedded{Dir: dir, Reserve: limits.Reserve, Logger: logger}, Limits: limits, Logger: logger}))
	}
	for name, harm := range map[string]func() error{
		"nothing":   func() error { return nil },
		"gone":      func() error { return os.Remove(reserve) },
		"cut short": func() error { return os.Truncate(reserve, 1<<20) },
		"sparse":    func() error { return errors.Join(os.Truncate(reserve, 1<<20), os.Truncate(reserve, limits.Reserve)) },
		"larger":    func() error { return os.Truncate(reserve, 2*limits.Reserve) },
	} {
		o := start()
		if !reserved() {
			t.Fatalf("there is no reserve before: %s", name)
		}
		o.stop()
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		o = start()
		if !reserved() {
			t.Errorf("there is no reserve after: %s", name)
		}
		until(t, "it is available", func() bool { return o.Available(t.Context()) })
		o.stop()
	}
}
