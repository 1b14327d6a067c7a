package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

const (
	// pollInterval is how often the files are read without an event. It finds changes for which there is no event: a directory
	// that was removed and made again, or a change behind a symbolic link.
	pollInterval = 10 * time.Second
	// A failure that repeats is logged again after minLogPause, and then after twice as long each time, up to maxLogPause.
	minLogPause = time.Minute
	maxLogPause = time.Hour
)

// secretLink is the symbolic link that Kubernetes replaces when a mounted Secret or ConfigMap changes.
const secretLink = "..data"

// Document is a source of a routes document.
type Document struct {
	Name  string                 // for the log
	Files []string               // the files that Read reads
	Read  func() ([]byte, error) // its errors hold no secret
}

// concerns reports whether a change of a path may change the document. Other files in the same directory do not: a log
// that is written beside the document must not cause a read, and a line in the log, for each of its lines.
func (d Document) concerns(path string) bool {
	path = filepath.Clean(path)
	return filepath.Base(path) == secretLink || slices.ContainsFunc(d.Files, func(file string) bool { return filepath.Clean(file) == path })
}

// WatchFile loads routes from a file, see [Routes.Watch].
func (r *Routes) WatchFile(ctx context.Context, path string) error {
	return r.Watch(ctx, Document{Name: path, Files: []string{path}, Read: func() ([]byte, error) {
		return os.ReadFile(path) //nolint:gosec // the user's file
	}})
}

// Watch loads a document and loads it again whenever its content changes, until the context ends. It fails at once when the
// document cannot be read or is not usable; later faults are logged and the last good document stays. It watches the
// directories of the files, because editors and Kubernetes replace files instead of writing them.
func (r *Routes) Watch(ctx context.Context, document Document) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", document.Name, err)
	}
	defer watcher.Close() //nolint:errcheck // it is not used again
	if err := document.watch(watcher); err != nil {
		if _, unread := document.Read(); unread != nil { // it says what is wrong, and what to write
			return fmt.Errorf("reading routes: %w", unread)
		}
		return fmt.Errorf("watching %s: %w", document.Name, err)
	}
	loaded, err := document.Read()
	if err != nil {
		return fmt.Errorf("reading routes: %w", err)
	}
	if err := r.load(document.Name, loaded, routes.DecodeOwn); err != nil {
		return err
	}
	r.Complete()
	faults := &faultLog{logger: r.Logger, now: time.Now}
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watcher.Errors:
			faults.report("Could not watch the routes file, reading it at intervals", err)
			continue
		case event := <-watcher.Events:
			if !document.concerns(event.Name) {
				continue
			}
		case <-poll.C:
			_ = document.watch(watcher) // of a directory that is gone, reading fails as well
		}
		loaded = r.reload(document, loaded, faults)
	}
}

func (d Document) watch(watcher *fsnotify.Watcher) error {
	for _, path := range d.Files {
		if err := watcher.Add(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}

// reload loads the document if its content is not what was loaded last, and returns what is.
func (r *Routes) reload(document Document, loaded []byte, faults *faultLog) []byte {
	data, err := document.Read()
	if err == nil && len(data) == 0 { // most likely it is being written
		err = errEmpty
	}
	if err != nil {
		faults.report("Could not read the routes file, the last good routes stay", err)
		return loaded
	}
	faults.clear()
	if !bytes.Equal(data, loaded) {
		_ = r.load(document.Name, data, routes.DecodeOwn) // logged and counted there
	}
	return data
}

var errEmpty = errors.New("the file is empty")

// faultLog logs a fault when it begins, and a repeated one at growing pauses.
type faultLog struct {
	logger *slog.Logger
	now    func() time.Time

	last  string // the fault that was logged last; empty: none
	pause time.Duration
	next  time.Time // when the same fault is logged again
}

func (f *faultLog) report(message string, cause error) {
	fault, now := message+": "+cause.Error(), f.now()
	if fault == f.last && now.Before(f.next) {
		return
	}
	if fault != f.last {
		f.pause = minLogPause / 2
	}
	f.last, f.pause = fault, min(2*f.pause, maxLogPause)
	f.next = now.Add(f.pause)
	f.logger.Error(message, "error", cause.Error())
}

func (f *faultLog) clear() { *f = faultLog{logger: f.logger, now: f.now} }
