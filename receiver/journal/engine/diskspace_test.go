package engine

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What deletes something later may use a part of the reserve, and what only adds may not.
func TestDiskReserve(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	free := int64(10 * size)
	r := NewDiskReserve(t.TempDir(), size)
	r.Free = func() int64 { return free }
	if r.Fits(1, ForBatches) || !r.Fits(1, ForRemainders) {
		t.Error("before the reserve is allocated only remainders fit")
	}
	if err := r.Allocate(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		free                          int64
		batches, remainders, hasSlack bool
		forBatches                    int64
	}{
		{10 * size, true, true, true, 9 * size},
		{size + size/8, true, true, true, size / 8},
		{size + 1, true, true, false, 1},
		{size, false, true, false, 0},
		{size/2 + 1, false, true, false, 0},
		{size / 2, false, false, false, 0},
		{0, false, false, false, 0},
	} {
		free = test.free
		if got := r.Fits(1, ForBatches); got != test.batches {
			t.Errorf("with %d bytes free a batch fits: %t", free, got)
		}
		if got := r.Fits(1, ForRemainders); got != test.remainders {
			t.Errorf("with %d bytes free a remainder fits: %t", free, got)
		}
		if got := r.HasSlack(); got != test.hasSlack {
			t.Errorf("with %d bytes free there is slack: %t", free, got)
		}
		if got := r.FreeForBatches(); got != test.forBatches {
			t.Errorf("with %d bytes free batches may take %d, want %d", free, got, test.forBatches)
		}
	}
	free = 2 * size
	done, err := r.Claim(size, ForBatches)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Claim(1, ForBatches); !errors.Is(err, ErrDiskFull) {
		t.Errorf("claiming what another write has claimed: %v", err)
	}
	done()
	if done, err = r.Claim(1, ForBatches); err != nil {
		t.Error(err)
	} else {
		done()
	}
}

// Only a full volume releases the reserve.
func TestReleaseReserve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := NewDiskReserve(dir, 1<<20)
	if err := r.Allocate(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, reserveFile)
	if r.releaseOnFull(nil) || r.releaseOnFull(syscall.EIO) {
		t.Error("the volume is not full")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if !r.releaseOnFull(&os.PathError{Op: "write", Err: syscall.ENOSPC}) {
		t.Error("nothing was released")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there")
	}
	var none *DiskReserve
	if !none.Fits(1<<60, ForBatches) || !none.HasSlack() || none.releaseOnFull(syscall.ENOSPC) || none.Allocate() != nil {
		t.Error("without a reserve everything fits")
	}
}

// A member whose store failed gets the reserve when less than it is free, and only then.
func TestReleaseWhenScarce(t *testing.T) {
	t.Parallel()
	const size = 1 << 10
	free := int64(10 * size)
	r := NewDiskReserve(t.TempDir(), size)
	r.Free = func() int64 { return free }
	if err := r.Allocate(); err != nil {
		t.Fatal(err)
	}
	if r.releaseWhenScarce() {
		t.Error("it was released, and there was space")
	}
	free = size - 1
	if !r.releaseWhenScarce() || r.Fits(0, ForBatches) {
		t.Error("it was not released")
	}
	if r.releaseWhenScarce() {
		t.Error("it was released twice")
	}
}
