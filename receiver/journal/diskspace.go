package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// What is stored can be taken away again only as long as the server can write, and it does not go on after it could not. So
// a part of the volume is kept free of batches, and as much is taken by a file: when somebody else has filled the volume it
// is removed, and what waits can be delivered and makes room.

const (
	// reserveFile is the file that takes room for later.
	reserveFile = "reserve"
	// maxReserve is for the largest of batches, and for what the server needs to shorten its files, of 8 MiB, each by half.
	maxReserve = 64 << 20
	// reservePart is the most of a volume or a buffer that is kept free, one in so many.
	reservePart = 8
	// leastRoom is what must be free for the server to be started: it writes also then, and what it has written half it
	// cannot read.
	leastRoom = 4 << 20
)

// What is stored, by how much of what is kept free must be left: one in so many.
const (
	forBatches    = 1
	forRemainders = 2 // of batches, and for dead letters, after which something else goes
)

const reserveReleased = "The buffer's volume is full, gave up the room that was reserved for what waits to be delivered"

var errDiskFull = errors.New("there is too little room on its volume")

// room is what is free on the volume of a folder that somebody has locked.
type diskReserve struct {
	dir     string
	reserve int64
	storing atomic.Int64 // bytes that may be on their way to the disk
	held    atomic.Bool  // the file is there
}

// newRoom returns nil, which keeps nothing free, without a reserve.
func newDiskReserve(dir string, reserve int64) *diskReserve {
	if reserve == 0 {
		return nil
	}
	r := &diskReserve{dir: dir, reserve: reserve}
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err == nil {
		r.reserve = min(reserve, int64(volume.Blocks)*volume.Bsize/reservePart) //nolint:gosec // no volume is that large
	}
	var file syscall.Stat_t // of which a part may be missing after a crash
	r.held.Store(syscall.Stat(r.path(), &file) == nil && file.Size == r.reserve && file.Blocks*512 >= r.reserve)
	return r
}

func (r *diskReserve) path() string { return filepath.Join(r.dir, reserveFile) }

// free is how many bytes are.
func (r *diskReserve) freeBytes() int64 {
	var volume syscall.Statfs_t
	if err := syscall.Statfs(r.dir, &volume); err != nil {
		return 0
	}
	return int64(volume.Bavail) * volume.Bsize //nolint:gosec // no volume is that large
}

// fits tells whether there is room for some bytes more. There is none for batches without the file, because the room may be
// that which was given up.
func (r *diskReserve) fits(bytes int64, part int64) bool {
	if r == nil {
		return true
	}
	return (r.held.Load() || part != forBatches) && r.freeBytes()-r.storing.Load()-bytes >= r.reserve/part
}

// take is [room.fits] for what is then stored, until done is called.
func (r *diskReserve) claim(bytes int64, part int64) (done func(), err error) {
	if bytes > maxMessage { // its parts are written twice
		bytes *= 2
	}
	if !r.fits(bytes, part) {
		return nil, fmt.Errorf("%w: %w", ErrFull, errDiskFull)
	}
	if r == nil {
		return func() {}, nil
	}
	r.storing.Add(bytes)
	return func() { r.storing.Add(-bytes) }, nil
}

// spare tells whether batches of all usual sizes fit.
func (r *diskReserve) hasSlack() bool { return r == nil || r.fits(r.reserve/reservePart, forBatches) }

// giveUp removes the file if an error is that of a full volume, and tells whether there is now more room.
func (r *diskReserve) release(err error) bool {
	if r == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return false
	}
	r.held.Store(false)
	return os.Remove(r.path()) == nil
}

// refill makes the file again when there is room for it and for batches.
func (r *diskReserve) allocate() error {
	if r == nil || r.held.Load() {
		return nil
	}
	if err := os.Remove(r.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reserving room: %w", err)
	}
	if r.freeBytes() < 2*r.reserve {
		return nil
	}
	err := writeIncompressible(r.path(), r.reserve)
	if err == nil {
		err = syncDir(r.dir) // else it may have to be made again after each loss of power
	}
	if err != nil {
		return fmt.Errorf("reserving room: %w", errors.Join(err, os.Remove(r.path())))
	}
	r.held.Store(true)
	return nil
}

// confined is an engine whose files are on a volume that may become full.
type diskUser interface{ volume() *diskReserve }

// roomInterval is how often it is looked how much room there is.
const diskCheckInterval = time.Second

// mindRoom reserves room if there is some, and says when that becomes scarce, and when not any more.
func (j *Journal) checkDisk(s *session) {
	if s.disk == nil {
		return
	}
	reserved := s.disk.allocate()
	left := int64(0)
	if s.disk.fits(0, forBatches) {
		left = max(s.disk.freeBytes()-s.disk.reserve, 0)
	}
	j.metrics.free.WithLabelValues().Set(float64(left))
	low := !s.disk.hasSlack()
	switch {
	case low == s.diskLow:
	case low && reserved != nil:
		j.logger.Warn("The buffer's volume is nearly full, refusing batches that do not fit", "error", reserved.Error())
	case low:
		j.logger.Warn("The buffer's volume is nearly full, refusing batches that do not fit")
	default:
		j.logger.Info("There is room again on the buffer's volume")
	}
	s.diskLow = low
}

// writeNoise makes a file of bytes that no file system keeps in fewer.
func writeIncompressible(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // in the user's folder
	if err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte{}) // to which nothing is secret
	chunk := make([]byte, 1<<20)
	for left := bytes; left > 0 && err == nil; left -= int64(len(chunk)) {
		_, _ = noise.Read(chunk) // never fails
		_, err = file.Write(chunk[:min(left, int64(len(chunk)))])
	}
	return errors.Join(err, file.Sync(), file.Close())
}

// tryToWrite tells whether there is some room in a folder.
func checkWritable(dir string) error {
	file, err := os.Create(filepath.Join(dir, "room")) //nolint:gosec // in the user's folder
	if err != nil {
		return fmt.Errorf("writing to the buffer's folder: %w", err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // it is empty
	_, err = file.Write(make([]byte, leastRoom))
	if err = errors.Join(err, file.Sync(), file.Truncate(0), file.Close()); err != nil {
		return fmt.Errorf("writing to the buffer's folder: %w", err)
	}
	return nil
}
