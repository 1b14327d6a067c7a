package receiver

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// WatchFile loads routes from a file and loads them again whenever its content changes, until the context
// ends. It fails at once when the file cannot be read or is not a usable document; later faults are logged
// and the last good document stays. It watches the folder, because a mounted Secret is replaced by a link.
func (r *Routes) WatchFile(ctx context.Context, path string) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", path, err)
	}
	defer watcher.Close() //nolint:errcheck // nothing depends on it any more
	if err := watcher.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watching %s: %w", path, err)
	}
	loaded, err := os.ReadFile(path) //nolint:gosec // the user's file
	if err != nil {
		return fmt.Errorf("reading routes: %w", err)
	}
	if err := r.Load(path, loaded); err != nil {
		return err
	}
	r.Complete()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watcher.Errors:
			r.Logger.Error("Lost sight of the routes file", "error", err.Error())
		case <-watcher.Events:
			data, err := os.ReadFile(path) //nolint:gosec // the user's file
			if err != nil {
				r.Logger.Error("Could not read the routes file, the last good routes stay", "error", err.Error())
				continue
			}
			if len(data) == 0 { // most likely about to be written
				r.Logger.Warn("The routes file is empty, the last good routes stay")
				continue
			}
			if bytes.Equal(data, loaded) {
				continue
			}
			loaded = data
			_ = r.Load(path, data) // logged and counted there
		}
	}
}
