package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Entries of a buffer directory. Each kind of engine has a store of its own, so that neither opens the other's files.
const (
	embeddedDir   = "nats"
	clusterDir    = "cluster"
	quarantineDir = "damaged"
	lockFile      = "lock"
	reserveFile   = "reserve"
	probeFile     = "room"
	formatFile    = "format"
	recordFile    = "processing"
	checkpoint    = "checkpoint"
)

// minFreeBytes must be free for the server to start: it writes while it recovers, and cannot read what it has written half.
const minFreeBytes = 4 << 20

// checkUnused makes sure that no batches are left behind when the engine of a directory changes.
func checkUnused(dir, store, setting string) error {
	if _, err := os.Stat(filepath.Join(dir, store)); err == nil {
		return &ConfigError{fmt.Errorf("the buffer directory holds batches of %s that would be left behind: let them be delivered, or use another directory", setting)}
	}
	return nil
}

// lockDir creates a directory if necessary and keeps other processes from using it.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the buffer directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // in the user's directory
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) {
		return func() {}, nil // checkWritable reports it; a full disk may get space by releasing the reserve
	}
	if err != nil {
		return nil, fmt.Errorf("locking the buffer directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process uses the buffer directory")
		}
		return nil, fmt.Errorf("locking the buffer directory: %w", err)
	}
	return func() { _ = file.Close() }, nil // which releases the lock
}

// FormatVersion is the version of what a buffer holds: names of streams, headers, encodings. It grows when an older receiver
// cannot read what a newer one writes.
const FormatVersion = 1

// SharedFormatVersion is that of a shared buffer with partitions. A receiver that knows none would not find the batches of others.
const SharedFormatVersion = 2

// NewerFormat is the error for a buffer that a newer receiver has written. Nothing in it is changed.
func NewerFormat(found string, newest int) error {
	return &ConfigError{fmt.Errorf("the buffer has format %q and this receiver reads formats up to %d: run the receiver that wrote it, or let that one drain it first", found, newest)}
}

// checkFormat refuses a directory of a newer format, and marks one that has no mark.
func checkFormat(dir string) error {
	path := filepath.Join(dir, formatFile)
	data, err := os.ReadFile(path) //nolint:gosec // in the user's directory
	if errors.Is(err, os.ErrNotExist) {
		err = os.WriteFile(path, fmt.Appendln(nil, FormatVersion), 0o600)
		if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) { // checkWritable reports it
			return nil
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("reading the format of the buffer: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if version, err := strconv.Atoi(text); err != nil || version > FormatVersion {
		if text == "" { // the disk was full, or the power failed, while it was written
			return os.WriteFile(path, fmt.Appendln(nil, FormatVersion), 0o600)
		}
		return NewerFormat(text, FormatVersion)
	}
	return nil
}

// checkWritable fails if a directory cannot take what the server needs to start.
func checkWritable(dir string) error {
	file, err := os.Create(filepath.Join(dir, probeFile)) //nolint:gosec // in the user's directory
	if err != nil {
		return fmt.Errorf("writing to the buffer directory: %w", err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // it is empty
	_, err = file.Write(make([]byte, minFreeBytes))
	if err = errors.Join(err, file.Sync(), file.Truncate(0), file.Close()); err != nil {
		return fmt.Errorf("writing to the buffer directory: %w", err)
	}
	return nil
}

// VolumeBytes is how many bytes the buffer in a directory may use: a percentage of what is free on its volume or already used
// by it.
func VolumeBytes(dir string, percent int64) (int64, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("creating the buffer directory: %w", err)
	}
	var volume syscall.Statfs_t
	if err := syscall.Statfs(dir, &volume); err != nil {
		return 0, fmt.Errorf("asking for the size of the buffer's volume: %w", err)
	}
	used := int64(0)
	for _, name := range []string{embeddedDir, quarantineDir, reserveFile} { // not lost+found and files of others
		size, err := sizeOf(filepath.Join(dir, name))
		if err != nil {
			return 0, fmt.Errorf("asking for the size of the buffer: %w", err)
		}
		used += size
	}
	return (int64(volume.Bavail)*volume.Bsize + used) / 100 * percent, nil //nolint:gosec // no volume is that large
}

// sizeOf returns the bytes of a file, or of all files in a directory; 0 if there is none.
func sizeOf(path string) (size int64, err error) {
	err = filepath.WalkDir(path, func(_ string, entry os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
