package engine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A member whose volume is nearly full first gets the reserve, and then stops while there is space to stop in order. Sleeping takes no time
// here: synctest moves the clock.
func TestMemberStopsBeforeItsVolumeIsFull(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 40)
		reserve := NewDiskReserve(t.TempDir(), size)
		reserve.Free = free.Load
		if err := reserve.Allocate(); err != nil {
			t.Fatal(err)
		}
		reserve.setLow()
		failed := make(chan struct{}, 1)
		m := &member{reserve: reserve, logger: slog.New(slog.DiscardHandler)}
		defer m.watchVolume(failed)()
		isHeld := func() bool { _, err := os.Stat(reserve.path()); return err == nil }
		for _, left := range []int64{1 << 40, 10 * size, lowBytes + 1, -1} {
			free.Store(left)
			time.Sleep(time.Minute)
			if len(failed) > 0 || !isHeld() {
				t.Fatalf("with %d bytes free the member stopped: %t, the reserve is held: %t", left, len(failed) > 0, isHeld())
			}
		}
		free.Store(lowBytes)
		for isHeld() {
			time.Sleep(minVolumeInterval / 2)
		}
		free.Add(size)
		time.Sleep(time.Minute)
		if len(failed) > 0 {
			t.Fatal("the member stopped though it got the reserve")
		}
		free.Store(lowBytes)
		time.Sleep(time.Second)
		if len(failed) == 0 {
			t.Error("the member runs on a volume that is nearly full")
		}
	})
}

// The free space is checked more often the less there is, so that a fast disk is not full before the next check.
func TestVolumeIsCheckedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var checks atomic.Int64
		free := int64(1 << 30)
		begun := time.Now()
		reserve := &DiskReserve{dir: t.TempDir(), size: 64 << 20}
		reserve.Free = func() int64 { // a disk to which is written as fast as possible
			checks.Add(1)
			return free - time.Since(begun).Milliseconds()*fastestDisk
		}
		reserve.setLow()
		failed := make(chan struct{}, 1)
		m := &member{reserve: reserve, logger: slog.New(slog.DiscardHandler)}
		defer m.watchVolume(failed)()
		<-failed
		if left := reserve.Free(); left < reserve.low.Load()/2 {
			t.Errorf("%d bytes were free when the member stopped", left)
		}
		if checks.Load() > 50 {
			t.Errorf("%d checks", checks.Load())
		}
	})
}

// A member that starts on a volume without much space may use a part of it, so that it can start again.
func TestLowVolumeOfAMemberThatStarts(t *testing.T) {
	t.Parallel()
	const size, mebi = 64 << 20, 1 << 20
	free := int64(0)
	r := NewDiskReserve(t.TempDir(), size)
	r.Free = func() int64 { return free }
	for _, test := range []struct{ free, left int64 }{
		{1000 * mebi, 984 * mebi}, {64 * mebi, 48 * mebi}, {32 * mebi, 16 * mebi}, {20 * mebi, 10 * mebi}, {8 * mebi, 2 * mebi},
		{lowBytes + allowedBytes, allowedBytes}, {lowBytes, allowedBytes}, {minFreeBytes, allowedBytes}, {0, allowedBytes},
	} {
		free = test.free
		r.setLow()
		if left := r.untilLow(); left != test.left {
			t.Errorf("a member that starts with %d bytes free may write %d, want %d", test.free, left, test.left)
		}
	}
	free = 8 * mebi
	r.setLow()
	free = 1000 * mebi
	if left := r.untilLow(); left != 984*mebi {
		t.Errorf("once there is space again a member may write %d", left)
	}
	free = -1
	r.setLow()
	if r.untilLow() <= 0 {
		t.Error("a member stops when the system does not say what is free")
	}
	free = 17 * mebi
	if left := r.untilLow(); left != mebi {
		t.Errorf("a member that started without knowing what is free may write %d", left)
	}
	var none *DiskReserve
	none.setLow()
	if none.untilLow() <= 0 {
		t.Error("without a reserve a member stops")
	}
}

// A member that fails again and again stays away for longer each time, up to a limit.
func TestStayAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			failures int
			want     time.Duration
		}{{0, 0}, {1, 0}, {2, 5 * time.Second}, {3, 10 * time.Second}, {7, 160 * time.Second}, {8, maxAbsence}, {1000, maxAbsence}} {
			c := &Cluster{Logger: slog.New(slog.DiscardHandler), unhealthy: test.failures}
			begun := time.Now()
			if err := c.stayAway(t.Context()); err != nil {
				t.Error(err)
			}
			if waited := time.Since(begun); waited != test.want {
				t.Errorf("after %d failures it stayed away for %s, want %s", test.failures, waited, test.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (&Cluster{Logger: slog.New(slog.DiscardHandler), unhealthy: 9}).stayAway(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a receiver that stops waits: %v", err)
		}
	})
}

// A server that does not stop is given up, and no other one is started in the process: it would use the same files.
func TestServerThatDoesNotStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		begun := time.Now()
		if endsInTime(func() { <-end }) {
			t.Error("it has not ended")
		}
		if waited := time.Since(begun); waited != stopTimeout {
			t.Errorf("it was given up after %s", waited)
		}
		if !endsInTime(func() { time.Sleep(stopTimeout / 2) }) {
			t.Error("it has ended in time")
		}
		cause := errors.New("it cannot use its directory")
		if err := stopAfter(cause, func() { <-end }); !errors.Is(err, ErrStuck) || !errors.Is(err, cause) {
			t.Errorf("the error is %v", err)
		}
		if err := stopAfter(cause, func() {}); !errors.Is(err, cause) || errors.Is(err, ErrStuck) {
			t.Errorf("the error is %v", err)
		}
	})
	stuck := &Embedded{Dir: t.TempDir()}
	stuck.stuck.Store(true)
	if _, err := stuck.Open(t.Context()); !errors.Is(err, ErrStuck) {
		t.Errorf("an embedded server was started: %v", err)
	}
	if _, err := (&Cluster{Dir: t.TempDir(), stuck: true}).Open(t.Context()); !errors.Is(err, ErrStuck) {
		t.Errorf("a member was started: %v", err)
	}
}
