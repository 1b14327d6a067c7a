package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/mandrill-operator/mandrill-operator/receiver/durable"
)

// The server must be able to write to delete what was delivered, and its store does not recover from a full disk. So new
// batches leave a part of the volume free, and a file of that size holds it against other programs: when these have filled
// the volume, the file is removed, and the backlog can be delivered and deleted.

const (
	// maxReserve is enough for the largest batches, and for the server to rewrite its blocks of 8 MiB.
	maxReserve = 64 << 20
	// At most 1/reserveFraction of a volume or a buffer is reserved.
	reserveFraction = 8
	// A member of a cluster runs while 1/lowFraction of the reserve is free: batches leave all of it, remainders half.
	lowFraction = 4
	// lowBytes is the least, so that the member can start again, and allowedBytes what it may write even if there is less.
	lowBytes     = minFreeBytes + 2<<20
	allowedBytes = 256 << 10
)

// Share limits how much of the reserved space a write may use: 1/Share of it must stay free.
type Share int64

// What deletes something later may use more of the reserve than what only adds.
const (
	ForBatches    Share = 1 // also redriven dead letters
	ForRemainders Share = 2 // and dead letters, which replace something
)

const reserveReleased = "Buffer volume is full, released the reserved space so that the backlog can be delivered"

// ErrDiskFull means that the volume has too little free space.
var ErrDiskFull = errors.New("the volume has too little free space")

// DiskReserve is the reserved space on the volume of a buffer directory. A nil *DiskReserve reserves nothing. It is safe for
// concurrent use.
type DiskReserve struct {
	// Free returns the free bytes of the volume, or -1 if they are not known. It may be replaced before the first use.
	Free func() int64

	dir     string
	size    int64
	claimed atomic.Int64 // bytes that may be on their way to the disk
	held    atomic.Bool  // the file is complete
	low     atomic.Int64 // free bytes at which a member of a cluster stops
}

// ReserveFor returns how much to reserve for a buffer of a size.
func ReserveFor(total int64) int64 { return min(maxReserve, total/reserveFraction) }

// NewDiskReserve returns the reserve of a directory that the caller has locked; nil if size is 0.
func NewDiskReserve(dir string, size int64) *DiskReserve {
	if size == 0 {
		return nil
	}
	r := &DiskReserve{dir: dir, size: size, Free: func() int64 { return freeBytes(dir) }}
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err == nil {
		r.size = min(size, int64(volume.Blocks)*volume.Bsize/reserveFraction) //nolint:gosec // no volume is that large
	}
	var file syscall.Stat_t // after a crash a part may be missing
	r.held.Store(syscall.Stat(r.path(), &file) == nil && file.Size == r.size && file.Blocks*512 >= r.size)
	return r
}

func (r *DiskReserve) path() string { return filepath.Join(r.dir, reserveFile) }

// freeBytes returns the free bytes of the volume of a directory, or -1 if the system does not say.
func freeBytes(dir string) int64 {
	var volume syscall.Statfs_t
	err := syscall.Statfs(dir, &volume)
	for errors.Is(err, syscall.EINTR) {
		err = syscall.Statfs(dir, &volume)
	}
	if err != nil {
		return -1
	}
	return int64(volume.Bavail) * volume.Bsize //nolint:gosec // no volume is that large
}

// Fits reports whether bytes can be written. Without the reserve file no batch fits: the free space may be the reserve
// itself.
func (r *DiskReserve) Fits(bytes int64, share Share) bool {
	if r == nil {
		return true
	}
	return (r.held.Load() || share != ForBatches) && r.Free()-r.claimed.Load()-bytes >= r.size/int64(share)
}

// Claim claims bytes that will be written, until done is called. The error is [ErrDiskFull].
func (r *DiskReserve) Claim(bytes int64, share Share) (done func(), err error) {
	if !r.Fits(bytes, share) {
		return nil, ErrDiskFull
	}
	if r == nil {
		return func() {}, nil
	}
	r.claimed.Add(bytes)
	return func() { r.claimed.Add(-bytes) }, nil
}

// HasSlack reports whether batches of all usual sizes fit.
func (r *DiskReserve) HasSlack() bool { return r == nil || r.Fits(r.size/reserveFraction, ForBatches) }

// FreeForBatches returns how many bytes batches may take.
func (r *DiskReserve) FreeForBatches() int64 {
	if !r.Fits(0, ForBatches) {
		return 0
	}
	return max(r.Free()-r.size, 0)
}

// releaseOnFull removes the file if an error is that of a full volume, and reports whether that made space.
func (r *DiskReserve) releaseOnFull(err error) bool {
	if r == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return false
	}
	return r.release()
}

// releaseWhenScarce removes the file if less than its size is free, for a member of a cluster that cannot delete anything before it has
// written what its peers have. It reports whether that made space.
func (r *DiskReserve) releaseWhenScarce() bool {
	return r != nil && r.Free() < r.size && r.release()
}

func (r *DiskReserve) release() bool {
	r.held.Store(false)
	return os.Remove(r.path()) == nil
}

// setLow sets how low the free space may get while a member runs that starts now.
func (r *DiskReserve) setLow() {
	if r != nil {
		r.low.Store(r.lowFor(r.Free()))
	}
}

// lowFor returns how low the free space may get while a member runs, by what is free at its start.
func (r *DiskReserve) lowFor(free int64) int64 {
	usual := max(r.size/lowFraction, lowBytes)
	switch {
	case free < 0 || free >= 2*usual:
		return usual
	case free > lowBytes+allowedBytes:
		return max(free/2, lowBytes)
	default: // it must run to delete what its peers have delivered
		return free - allowedBytes
	}
}

// untilLow returns how many bytes may be written until the free space is too low for a member to run.
func (r *DiskReserve) untilLow() int64 {
	if r == nil {
		return math.MaxInt64
	}
	free := r.Free()
	if free < 0 {
		return math.MaxInt64
	}
	if free >= 2*r.size { // also after a start with less
		r.low.Store(r.lowFor(free))
	}
	return free - r.low.Load()
}

// Allocate writes the file again when the volume has space for it and for batches.
func (r *DiskReserve) Allocate() error {
	if r == nil || r.held.Load() {
		return nil
	}
	if err := os.Remove(r.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reserving disk space: %w", err)
	}
	if r.Free() < 2*r.size {
		return nil
	}
	err := writeIncompressible(r.path(), r.size)
	if err == nil {
		err = durable.SyncDir(r.dir) // otherwise a loss of power may undo it
	}
	if err != nil {
		return fmt.Errorf("reserving disk space: %w", errors.Join(err, os.Remove(r.path())))
	}
	r.held.Store(true)
	return nil
}

// writeIncompressible writes a file that no file system can store in fewer bytes.
func writeIncompressible(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // in the user's directory
	if err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{}) // it need not be secret
	chunk := make([]byte, 1<<20)
	for missing := size; missing > 0 && err == nil; missing -= int64(len(chunk)) {
		_, _ = random.Read(chunk) // never fails
		_, err = file.Write(chunk[:min(missing, int64(len(chunk)))])
	}
	return errors.Join(err, file.Sync(), file.Close())
}
