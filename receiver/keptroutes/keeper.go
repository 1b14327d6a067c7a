// Package keptroutes keeps the last routes of the API server in a file. A receiver that starts while the API server is away
// serves these.
package keptroutes

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/durable"
)

// FileName is the name of the file in the folder of a buffer.
const FileName = "routes"

const (
	// patience is how long the API server has for the first routes. A list of an API server that works takes some milliseconds.
	patience = 3 * time.Second
	// remindInterval is how often the log says that kept routes are served. The log leaves out most of what repeats.
	remindInterval = 30 * time.Second
	// writePause is how long routes that change again and again are collected before the file is replaced, all of it.
	writePause = time.Second
	// retryPause is the time between attempts to write the file, for example while the volume is full.
	retryPause = 30 * time.Second
)

// Table holds the routes in use. [routing.Routes] is one.
type Table interface {
	Load(name string, document []byte) error
	// LoadKept puts documents in use until Complete, and reports whether it did: not after Complete.
	LoadKept(documents map[string][]byte) (used bool, err error)
	Complete()
}

// Keeper passes documents on to a table, and keeps them in the file.
type Keeper struct {
	path, source string
	table        Table
	logger       *slog.Logger
	patience     time.Duration
	kept         *content      // what the file had at the start; nil: nothing of use
	complete     chan struct{} // closed by Complete
	changed      chan struct{} // has an element when documents may differ from the file

	mu        sync.Mutex
	documents map[string][]byte // guarded by mu
	written   map[string][]byte // what the file has; used by Run only
}

// New returns a keeper with the content of the file at path. A file that is not of use is ignored. The source is where the
// routes are from: those that were kept from another one are not used.
func New(path, source string, table Table, logger *slog.Logger) *Keeper {
	k := &Keeper{
		path: path, source: source, table: table, logger: logger, patience: patience,
		complete: make(chan struct{}), changed: make(chan struct{}, 1), documents: map[string][]byte{},
	}
	kept, err := read(path, source)
	switch {
	case err == nil:
		k.kept, k.written = kept, kept.Documents
	case !errors.Is(err, fs.ErrNotExist):
		k.logger.Warn("Ignored the kept routes", "file", path, "error", err.Error())
	}
	return k
}

// Load loads a document that the API server has. A document that is refused does not replace the kept one.
func (k *Keeper) Load(name string, document []byte) error {
	k.mu.Lock() // before, so that what is in use is kept even if the receiver stops at this moment
	defer k.mu.Unlock()
	err := k.table.Load(name, document)
	if err != nil {
		if _, known := k.documents[name]; known || k.kept == nil || k.kept.Documents[name] == nil {
			return err
		}
		document = k.kept.Documents[name]
	}
	k.documents[name] = document
	k.notifyChanged()
	return err
}

// Complete says that every document that the API server has was loaded once. It is called at most once.
func (k *Keeper) Complete() {
	k.table.Complete()
	close(k.complete)
	k.notifyChanged()
}

func (k *Keeper) notifyChanged() {
	select {
	case k.changed <- struct{}{}:
	default: // Run will look anyway
	}
}

// Run puts the kept routes in use if the API server does not answer in time, and writes the file when the routes change, until
// the context ends.
func (k *Keeper) Run(ctx context.Context) error {
	if k.awaitComplete(ctx) {
		k.keep(ctx)
		return nil
	}
	select {
	case <-k.complete: // at the moment of the end
		k.keep(ctx)
	default:
	}
	return nil
}

// awaitComplete reports whether the documents are complete; they are not if the context has ended.
func (k *Keeper) awaitComplete(ctx context.Context) bool {
	late := time.NewTimer(k.patience)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-k.complete:
		return true
	case <-late.C:
	}
	serving := k.serveKept()
	remind := time.NewTicker(remindInterval)
	defer remind.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-k.complete:
			if serving {
				k.logger.Info("The API server is back, its routes replace the kept ones")
			}
			return true
		case <-remind.C:
			if serving {
				k.warnServing()
			}
		}
	}
}

// serveKept puts the kept routes in use, and reports whether it did.
func (k *Keeper) serveKept() bool {
	if k.kept == nil {
		return false
	}
	used, err := k.table.LoadKept(k.kept.Documents)
	if err != nil {
		k.logger.Warn("Ignored the kept routes", "file", k.path, "error", err.Error())
		return false
	}
	if used {
		k.warnServing()
	}
	return used
}

func (k *Keeper) warnServing() {
	k.logger.Warn("The API server does not answer, serving the kept routes", "file", k.path, "ageSeconds", time.Since(k.kept.SavedAt).Round(time.Second).Seconds())
}

// keep writes the file when the documents change.
func (k *Keeper) keep(ctx context.Context) {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			_ = k.save() // what changed during the pause
			return
		case <-k.changed:
		case <-retry:
		}
		retry = nil
		if err := k.save(); err != nil {
			k.logger.Warn("Could not keep the routes, a restart without the API server would serve older ones", "error", err.Error())
			retry = time.After(retryPause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(writePause):
		}
	}
}

// save writes the file if it does not have these documents.
func (k *Keeper) save() error {
	k.mu.Lock()
	documents := maps.Clone(k.documents)
	k.mu.Unlock()
	if k.written != nil && equal(documents, k.written) {
		return nil
	}
	var err error
	if len(documents) == 0 {
		err = durable.RemoveFile(k.path)
	} else {
		err = write(k.path, content{Source: k.source, SavedAt: time.Now().UTC(), Documents: documents})
	}
	if err == nil {
		k.written = documents
	}
	return err
}
