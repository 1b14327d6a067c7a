package routing

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// Document is a source of a routes document.
type Document struct {
	Name  string                 // for the log
	Files []string               // the files that Read reads
	Read  func() ([]byte, error) // its errors hold no secret
}

// WatchFile loads routes from a file, see [Routes.Watch].
func (r *Routes) WatchFile(ctx context.Context, path string) error {
	return r.Watch(ctx, Document{Name: path, Files: []string{path}, Read: func() ([]byte, error) {
		return os.ReadFile(path) //nolint:gosec // the user's file
	}})
}

// Watch loads a document and loads it again whenever its content changes, until the context ends. It fails at once when
// it cannot be read or is not usable; later faults are logged and the last good document stays. It watches the
// directories of the files, because Kubernetes replaces a mounted Secret by a symbolic link.
func (r *Routes) Watch(ctx context.Context, document Document) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", document.Name, err)
	}
	defer watcher.Close() //nolint:errcheck // it is not used again
	for _, path := range document.Files {
		if err := watcher.Add(filepath.Dir(path)); err != nil {
			return fmt.Errorf("watching %s: %w", document.Name, err)
		}
	}
	loaded, err := document.Read()
	if err != nil {
		return fmt.Errorf("reading routes: %w", err)
	}
	if err := r.Load(document.Name, loaded); err != nil {
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
			data, err := document.Read()
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
			_ = r.Load(document.Name, data) // logged and counted there
		}
	}
}
