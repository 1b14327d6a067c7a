// Package durable changes files so that a crash or a loss of power does not undo it.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces a file, which only its owner may read. After a crash it has the old or the new content, and the new one when this
// has returned.
func WriteFile(path string, data []byte) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600) //nolint:gosec // in the user's directory
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return SyncDir(filepath.Dir(path))
}

// RemoveFile removes a file, if there is one.
func RemoveFile(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir syncs a directory.
func SyncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // the user's
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
