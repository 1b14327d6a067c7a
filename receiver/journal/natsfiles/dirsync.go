package natsfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/durable"
)

// Dirs syncs the directories of a store.
//
// The server syncs the files that it writes, but not the directory when it creates or removes a block file. On ext4, XFS and
// btrfs an fsync of a new file makes it durable; POSIX does not promise that, and a removed file may come back anywhere. So
// all directories are synced when the buffer is opened, and the one of a stream before a change of it counts as durable.
type Dirs struct {
	storeDir string
	known    bool // the layout, so that it is known which directory is a stream's

	mu      sync.Mutex
	streams map[string]*streamDir // by name
}

// streamDir is the directory with the blocks of a stream.
type streamDir struct {
	mu        sync.Mutex
	path      string
	modified  time.Time // at the last sync
	lastBlock int       // at the last sync
}

// NewDirs returns the directories of a server of a version with this StoreDir. SyncAll must be called before Sync.
func NewDirs(storeDir, version string) *Dirs {
	return &Dirs{storeDir: storeDir, known: provenVersions[version]}
}

// SyncAll syncs the directories of the store and of all streams.
func (d *Dirs) SyncAll() error {
	streams := map[string]*streamDir{}
	err := filepath.WalkDir(d.storeDir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed by the server meanwhile
			return nil
		case err != nil || !entry.IsDir():
			return err
		}
		if filepath.Base(path) == blocksDir {
			streams[filepath.Base(filepath.Dir(path))] = &streamDir{path: path}
		}
		return durable.SyncDir(path)
	})
	parent := filepath.Dir(d.storeDir)
	if err = errors.Join(err, durable.SyncDir(parent)); err != nil {
		return fmt.Errorf("syncing the directories of the buffer: %w", err)
	}
	// The parent of the buffer's directory matters only if this process created that directory, for which it needed the permission.
	if err := durable.SyncDir(filepath.Dir(parent)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("syncing the parent of the buffer directory: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams = streams
	return nil
}

// Sync syncs the directory of a stream that was written to. If the layout is not known it syncs all directories, which is
// slower and always right.
func (d *Dirs) Sync(stream string) error {
	if !d.known {
		return d.SyncAll()
	}
	d.mu.Lock()
	dir := d.streams[stream]
	d.mu.Unlock()
	if dir == nil {
		return fmt.Errorf("the stream %s has no directory", stream)
	}
	if err := dir.sync(); err != nil {
		return fmt.Errorf("syncing the directory of a stream: %w", err)
	}
	return nil
}

// sync syncs the directory if it has changed. Two changes may leave the same modification time; a next block shows the second.
func (d *streamDir) sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(d.path, strconv.Itoa(d.lastBlock+1)+blockSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil && info.ModTime().Equal(d.modified) {
		return nil
	}
	blocks, err := blockNumbers(d.path)
	if err != nil {
		return err
	}
	last := d.lastBlock
	if len(blocks) > 0 {
		last = max(last, blocks[len(blocks)-1])
	}
	if err := durable.SyncDir(d.path); err != nil {
		return err
	}
	d.lastBlock, d.modified = last, info.ModTime()
	return nil
}
