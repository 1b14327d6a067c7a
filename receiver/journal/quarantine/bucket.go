package quarantine

import (
	"bytes"
	"context"
	"sync"
)

// Bucket is a [Storage] in a value of the buffer's state, which each write replaces as a whole. Writes that come while another one
// is under way share the next one.
type Bucket struct {
	get    func(context.Context) ([]byte, error)
	put    func([]byte) error
	failed func(error)

	background sync.WaitGroup // writes that nobody waits for

	mu        sync.Mutex // guards what follows
	ended     *sync.Cond // a write has ended
	table     []byte
	version   uint64 // of the table
	written   uint64 // version that was written last, or could not be
	writing   bool
	scheduled bool // a write that nobody waits for
}

// NewBucket returns a storage that reads its value with get and replaces it with put. Failed gets the errors of put, which are not
// repeated.
func NewBucket(get func(context.Context) ([]byte, error), put func([]byte) error, failed func(error)) *Bucket {
	b := &Bucket{get: get, put: put, failed: failed}
	b.ended = sync.NewCond(&b.mu)
	return b
}

// Read reads the value.
func (b *Bucket) Read(ctx context.Context) ([]byte, error) {
	data, err := b.get(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.table = bytes.Clone(data)
	return data, nil
}

// Write replaces a slot.
func (b *Bucket) Write(slot int, data []byte, wait bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.table) < (slot+1)*slotSize {
		b.table = append(b.table[:len(b.table)/slotSize*slotSize], emptySlot...)
	}
	copy(b.table[slot*slotSize:], data)
	b.version++
	if wait {
		b.flush(b.version)
		return
	}
	if !b.scheduled {
		b.scheduled = true
		b.background.Go(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.scheduled = false
			b.flush(b.version)
		})
	}
}

// flush returns when a version is written. The bucket is locked.
func (b *Bucket) flush(version uint64) {
	for b.written < version {
		if b.writing {
			b.ended.Wait()
			continue
		}
		b.writing = true
		table, version := bytes.Clone(b.table), b.version
		b.mu.Unlock()
		err := b.put(table)
		b.mu.Lock()
		b.writing, b.written = false, version
		b.ended.Broadcast()
		if err != nil {
			b.failed(err)
		}
	}
}

// Close waits for what is being written.
func (b *Bucket) Close() { b.background.Wait() }
