package quarantine

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync/atomic"
)

const (
	// firstSlots are there from the beginning, so that a full disk does not keep them from being written.
	firstSlots = 128
	// maxFile is far above what a file of slots has.
	maxFile = 1 << 20
)

// File is a [Storage] in a file that only this process uses.
type File struct {
	path   string
	failed func(error)
	file   atomic.Pointer[os.File] // nil: it is not open
}

// NewFile returns the storage in the file of a path. Failed gets all errors: nothing waits for a disk that is full or read-only, and
// nothing is recorded then.
func NewFile(path string, failed func(error)) *File { return &File{path: path, failed: failed} }

// Read opens the file, and creates it if it is missing.
func (f *File) Read(context.Context) ([]byte, error) {
	f.Close()
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		f.failed(err)
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		_ = file.Close()
		f.failed(err)
		return nil, nil
	}
	if missing := firstSlots*slotSize - len(data); missing > 0 {
		empty := bytes.Repeat(emptySlot, firstSlots)[:missing]
		if _, err := file.WriteAt(empty, int64(len(data))); err != nil {
			f.failed(err)
		}
	}
	f.file.Store(file)
	return data, nil
}

// Write writes a slot. It is not synced: what is written outlives the process.
func (f *File) Write(slot int, data []byte, _ bool) {
	file := f.file.Load()
	if file == nil {
		return
	}
	if _, err := file.WriteAt(data, int64(slot)*slotSize); err != nil {
		f.failed(err)
	}
}

// Close closes the file.
func (f *File) Close() {
	if file := f.file.Swap(nil); file != nil {
		_ = file.Close()
	}
}
