package journal

import (
	"crypto/sha256"
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

	"github.com/minio/highwayhash"
)

// After it was killed the server cuts a file off at the first message that is damaged, and with it goes what comes after.
// After it was stopped it trusts its index, does not find such a message, and says of those after it that there are none.
// So its files are looked at before it is started: what is damaged is set aside, and what is not is left to the server.

// The files of a stream.
const (
	metaFile     = "meta.inf"
	metaSumFile  = "meta.sum"
	blocksFolder = "msgs"
	indexFile    = "index.db"
	blockSuffix  = ".blk"
)

// asideFolder is where damaged files go, in the buffer's folder. Nothing there is used or removed.
const asideFolder = "damaged"

// files are those of one stream.
type streamFiles struct {
	dir, name string
	aside     string
	logger    *slog.Logger
	now       func() time.Time
}

// examine looks at the files of all streams and returns at how many places something was damaged.
func (e *Embedded) repairFiles() (damaged int, err error) {
	root := filepath.Join(e.Dir, embeddedFolder)
	streams, err := fs.Glob(os.DirFS(root), "jetstream/*/streams/*")
	if err != nil {
		return 0, fmt.Errorf("looking for streams: %w", err)
	}
	for _, path := range streams {
		f := &streamFiles{dir: filepath.Join(root, path), name: filepath.Base(path), aside: filepath.Join(e.Dir, asideFolder), logger: e.Logger, now: time.Now}
		found, err := f.repair()
		damaged += found
		if err != nil {
			return damaged, fmt.Errorf("examining the buffer's files: %w", err)
		}
	}
	return damaged, nil
}

func (f *streamFiles) repair() (damaged int, err error) {
	intact, err := f.metaIntact()
	if err != nil {
		return 0, err
	}
	if !intact { // it is made anew, and finds the messages
		damaged++
		f.logger.Error("Found the settings of a stream damaged, making them anew", "stream", f.name)
		if err := errors.Join(f.quarantineFile(metaFile), f.quarantineFile(metaSumFile)); err != nil {
			return damaged, err
		}
	}
	blocks, err := f.blocks()
	if err != nil {
		return damaged, err
	}
	repaired := false
	for i, number := range blocks {
		found, err := f.block(number, i == len(blocks)-1)
		damaged += found
		repaired = repaired || found > 0
		if err != nil {
			return damaged, err
		}
	}
	if repaired { // it is of what was there before
		err = f.quarantineFile(filepath.Join(blocksFolder, indexFile))
	}
	return damaged, err
}

// metaIntact tells whether the server can read a stream's settings, or there are none.
func (f *streamFiles) metaIntact() (bool, error) {
	meta, err := os.ReadFile(filepath.Join(f.dir, metaFile))
	sum, sumErr := os.ReadFile(filepath.Join(f.dir, metaSumFile))
	if errors.Is(err, fs.ErrNotExist) && errors.Is(sumErr, fs.ErrNotExist) {
		return true, nil
	}
	for _, err := range []error{err, sumErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EIO) {
			return false, err
		}
	}
	return string(sum) == hex.EncodeToString(digest(f.name, meta)), nil
}

// blocks are the numbers of a stream's files with messages.
func (f *streamFiles) blocks() (numbers []int, err error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, blocksFolder))
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

func (f *streamFiles) path(block int) string {
	return filepath.Join(f.dir, blocksFolder, strconv.Itoa(block)+blockSuffix)
}

// block looks at a file with messages, and makes one of it in which the server finds everything that is not damaged.
func (f *streamFiles) block(number int, last bool) (damaged int, err error) {
	path := f.path(number)
	data, err := os.ReadFile(path) //nolint:gosec // in the user's folder
	if errors.Is(err, syscall.EIO) {
		f.logger.Error("Could not read a file of the buffer", "stream", f.name, "block", number, "error", err.Error())
		return 1, f.quarantineFile(filepath.Join(blocksFolder, filepath.Base(path)))
	}
	if err != nil {
		return 0, err
	}
	hash := hasher(f.name + "-" + strconv.Itoa(number))
	gaps := findDamage(hash, data)
	if len(gaps) == 0 {
		return 0, nil
	}
	lost := 0
	for _, gap := range gaps {
		lost += gap.to - gap.from
	}
	if last && len(gaps) == 1 && gaps[0].to == len(data) { // the server cuts it off
		f.logger.Warn("Found the end of a stream's last file cut short or damaged; after a crash nothing of it was acknowledged", "stream", f.name, "bytes", lost)
		return 1, nil
	}
	f.logger.Error("Found damaged messages in the buffer, they are lost", "stream", f.name, "block", number, "places", len(gaps), "bytes", lost)
	if err := f.copyToQuarantine(path, data); err != nil {
		return len(gaps), err
	}
	for _, gap := range slices.Backward(gaps) {
		if gap.to == len(data) {
			data = data[:gap.from]
		} else {
			copy(data[gap.from:gap.to], erasedRecord(hash, gap.to-gap.from))
		}
	}
	return len(gaps), replaceFile(path, data)
}

// asidePath is where a file is set aside.
func (f *streamFiles) quarantinePath(path string) (string, error) {
	if err := os.MkdirAll(f.aside, 0o700); err != nil {
		return "", err
	}
	return filepath.Join(f.aside, fmt.Sprintf("%s-%s-%d", f.name, filepath.Base(path), f.now().UnixNano())), nil
}

// setAside moves a file of the stream.
func (f *streamFiles) quarantineFile(name string) error {
	path, err := f.quarantinePath(name)
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(f.dir, name), path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *streamFiles) copyToQuarantine(path string, data []byte) error {
	aside, err := f.quarantinePath(path)
	if err != nil {
		return err
	}
	return replaceFile(aside, data)
}

// replaceFile writes a file that is there as a whole or not at all.
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

// hasher is for what the server writes under a name.
func hasher(name string) func(parts ...[]byte) []byte {
	key := sha256.Sum256([]byte(name))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		panic(err) // the key is as long as it must be
	}
	return func(parts ...[]byte) []byte {
		hash.Reset()
		for _, part := range parts {
			_, _ = hash.Write(part)
		}
		return hash.Sum(nil)
	}
}

func digest(name string, data []byte) []byte { return hasher(name)(data) }
