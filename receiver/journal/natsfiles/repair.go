package natsfiles

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Where the server keeps a stream, below its StoreDir.
const (
	streamsGlob = "jetstream/*/streams/*"
	metaFile    = "meta.inf"
	metaSumFile = "meta.sum"
	blocksDir   = "msgs"
	indexFile   = "index.db"
	blockSuffix = ".blk"
)

// repairer repairs the files of one stream.
type repairer struct {
	dir, stream string
	quarantine  string // where damaged files go; nothing there is used or removed
	logger      *slog.Logger
	now         func() time.Time
}

// Repair looks for damage in the files of a server that does not run, sets damaged files aside, and leaves the server what
// it can read. It returns the number of damaged places.
//
// Without it the server truncates a block at the first damaged record after a crash, and with it all later records. After a
// regular stop it trusts its index, fails to read the damaged record, and hides the later ones.
func Repair(storeDir, quarantine string, logger *slog.Logger) (damaged int, err error) {
	streams, err := fs.Glob(os.DirFS(storeDir), streamsGlob)
	if err != nil {
		return 0, fmt.Errorf("looking for streams: %w", err)
	}
	for _, path := range streams {
		r := &repairer{dir: filepath.Join(storeDir, path), stream: filepath.Base(path), quarantine: quarantine, logger: logger, now: time.Now}
		found, err := r.repair()
		damaged += found
		if err != nil {
			return damaged, fmt.Errorf("repairing the buffer's files: %w", err)
		}
	}
	return damaged, nil
}

func (r *repairer) repair() (damaged int, err error) {
	intact, err := r.metaIntact()
	if err != nil {
		return 0, err
	}
	if !intact { // the journal creates the stream again, and the server then finds its blocks
		damaged++
		r.logger.Error("Found damaged stream metadata, creating it again", "stream", r.stream)
		if err := errors.Join(r.quarantineFile(metaFile), r.quarantineFile(metaSumFile)); err != nil {
			return damaged, err
		}
	}
	blocks, err := blockNumbers(filepath.Join(r.dir, blocksDir))
	if err != nil {
		return damaged, err
	}
	repaired := false
	for i, number := range blocks {
		found, err := r.repairBlock(number, i == len(blocks)-1)
		damaged += found
		repaired = repaired || found > 0
		if err != nil {
			return damaged, err
		}
	}
	if repaired { // the index describes the blocks before the repair: the server rebuilds it
		err = r.quarantineFile(filepath.Join(blocksDir, indexFile))
	}
	return damaged, err
}

// metaIntact reports whether the server can read a stream's metadata, or there is none.
func (r *repairer) metaIntact() (bool, error) {
	meta, err := os.ReadFile(filepath.Join(r.dir, metaFile))
	sum, sumErr := os.ReadFile(filepath.Join(r.dir, metaSumFile))
	if errors.Is(err, fs.ErrNotExist) && errors.Is(sumErr, fs.ErrNotExist) {
		return true, nil
	}
	for _, err := range []error{err, sumErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EIO) {
			return false, err
		}
	}
	return string(sum) == hex.EncodeToString(newHash(r.stream)(meta)), nil
}

// blockNumbers returns the numbers of the block files in a directory, in order.
func blockNumbers(dir string) (numbers []int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		if base, isBlock := strings.CutSuffix(entry.Name(), blockSuffix); isBlock {
			if number, err := strconv.Atoi(base); err == nil {
				numbers = append(numbers, number)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// repairBlock replaces damaged records of a block by erased ones, so that the server finds all others.
func (r *repairer) repairBlock(number int, last bool) (damaged int, err error) {
	name := strconv.Itoa(number) + blockSuffix
	path := filepath.Join(r.dir, blocksDir, name)
	data, err := os.ReadFile(path) //nolint:gosec // in the user's directory
	if errors.Is(err, syscall.EIO) {
		r.logger.Error("Could not read a block of the buffer", "stream", r.stream, "block", number, "error", err.Error())
		return 1, r.quarantineFile(filepath.Join(blocksDir, name))
	}
	if err != nil {
		return 0, err
	}
	hash := newHash(r.stream + "-" + strconv.Itoa(number))
	ranges := findDamage(hash, data)
	if len(ranges) == 0 {
		return 0, nil
	}
	lost := 0
	for _, damage := range ranges {
		lost += damage.to - damage.from
	}
	if last && len(ranges) == 1 && ranges[0].to == len(data) { // the server truncates it
		r.logger.Warn("Found the end of a stream's last block incomplete or damaged; after a crash nothing of it was acknowledged", "stream", r.stream, "bytes", lost)
		return 1, nil
	}
	r.logger.Error("Found damaged messages in the buffer, they are lost", "stream", r.stream, "block", number, "places", len(ranges), "bytes", lost)
	if err := r.copyToQuarantine(name, data); err != nil {
		return len(ranges), err
	}
	for _, damage := range slices.Backward(ranges) {
		if damage.to == len(data) {
			data = data[:damage.from]
		} else {
			copy(data[damage.from:damage.to], erasedRecord(hash, damage.to-damage.from))
		}
	}
	return len(ranges), replaceFile(path, data)
}

// quarantinePath returns the path in the quarantine for a file of the stream.
func (r *repairer) quarantinePath(name string) (string, error) {
	if err := os.MkdirAll(r.quarantine, 0o700); err != nil {
		return "", err
	}
	return filepath.Join(r.quarantine, fmt.Sprintf("%s-%s-%d", r.stream, filepath.Base(name), r.now().UnixNano())), nil
}

// quarantineFile moves a file of the stream into the quarantine.
func (r *repairer) quarantineFile(name string) error {
	path, err := r.quarantinePath(name)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(r.dir, name), path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (r *repairer) copyToQuarantine(name string, data []byte) error {
	path, err := r.quarantinePath(name)
	if err != nil {
		return err
	}
	return replaceFile(path, data)
}

// replaceFile writes a file so that it has the old or the new content whatever happens.
func replaceFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
