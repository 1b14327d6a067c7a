package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The server syncs the files that it writes, but not the folder when it begins another file with messages, or removes one of
// which the last message is gone. On ext4, XFS and btrfs to sync a new file is enough for it to be found after a loss of power;
// POSIX does not promise that, and a file that was removed may come back anywhere. So folders are synced here: all of them
// when the buffer is opened, and later that of a stream that has changed, before what was written counts as stored, or
// removed.

// folders of streams, by name.
type dirs struct {
	mu      sync.Mutex
	streams map[string]*streamDir
}

// folder is that of the files with messages of a stream.
type streamDir struct {
	mu       sync.Mutex
	path     string
	modified time.Time // when it was synced
	last     int       // the highest number of a file then
}

// SyncFolders makes sure that all files of the streams are found after a loss of power.
func (e *Embedded) SyncDirs() error {
	root := filepath.Join(e.Dir, embeddedFolder)
	known := map[string]*streamDir{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // the server removes some
			return nil
		case err != nil || !entry.IsDir():
			return err
		}
		if filepath.Base(path) == blocksFolder {
			known[filepath.Base(filepath.Dir(path))] = &streamDir{path: path}
		}
		return syncDir(path)
	})
	if err = errors.Join(err, syncDir(e.Dir)); err != nil {
		return fmt.Errorf("syncing the buffer's folders: %w", err)
	}
	if err := syncDir(filepath.Dir(e.Dir)); err != nil && !errors.Is(err, fs.ErrPermission) { // then we have not made the buffer's
		return fmt.Errorf("syncing the folder of the buffer: %w", err)
	}
	e.folders.mu.Lock()
	defer e.folders.mu.Unlock()
	e.folders.streams = known
	return nil
}

// SyncFolder makes sure of the same for a stream to which something was written.
func (e *Embedded) SyncDir(stream string) error {
	e.folders.mu.Lock()
	f := e.folders.streams[stream]
	e.folders.mu.Unlock()
	if f == nil {
		return fmt.Errorf("there is no folder of the stream %s", stream)
	}
	if err := f.sync(); err != nil {
		return fmt.Errorf("syncing the folder of a stream: %w", err)
	}
	return nil
}

// sync does so if the folder was changed. Two changes may have the same time; with the next file there is one for sure.
func (f *streamDir) sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(f.path, strconv.Itoa(f.last+1)+blockSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil && info.ModTime().Equal(f.modified) {
		return nil
	}
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	last := f.last
	for _, entry := range entries {
		if base, isBlock := strings.CutSuffix(entry.Name(), blockSuffix); isBlock {
			if number, err := strconv.Atoi(base); err == nil {
				last = max(last, number)
			}
		}
	}
	if err := syncDir(f.path); err != nil {
		return err
	}
	f.last, f.modified = last, info.ModTime()
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // the user's
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
