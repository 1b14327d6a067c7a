// Package journaltest has a consumer in memory for tests of what delivers from the buffer, and the contract that it and the
// journal's consumer keep.
package journaltest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
)

// Consumer is a buffer in memory with its consumer. The zero value is an empty buffer that never fails. It is safe for concurrent
// use. Hooks must be set before it is used; they are called without locks.
type Consumer struct {
	// BeforeWatch is called by Watch before it announces anything.
	BeforeWatch func()
	// AfterKnown is called by Watch when it has announced all batches; an error ends Watch.
	AfterKnown func() error
	// OnNext is called with what Next returns, of which each call makes a copy.
	OnNext func(*journal.StoredBatch)
	// OnAck is called with the context of Ack, before anything changes.
	OnAck func(context.Context, *journal.StoredBatch)
	// OnRequeue may fail a Requeue, with journal.ErrFull or another error. Then nothing changes.
	OnRequeue func(batch *journal.StoredBatch, remaining []journal.PendingEvent) error
	// OnSetAside may fail a SetAside. Then nothing changes.
	OnSetAside func(journal.Position) error
	// Processed is the record of what is processed; nil: there is none.
	Processed *quarantine.Record

	mu          sync.Mutex
	changed     chan struct{} // closed when a batch is added
	batches     []*journal.StoredBatch
	remainders  []*journal.StoredBatch
	last        [2]uint64 // sequence, of batches and of remainders
	acked       []journal.Position
	requeued    []journal.PendingEvent
	deadLetters []journal.DeadLetter
	deadIDs     map[string]bool
	deleted     map[string]time.Time
}

// NewConsumer returns a buffer that has some batches and remainders, at their positions.
func NewConsumer(stored ...*journal.StoredBatch) *Consumer {
	c := &Consumer{}
	for _, batch := range stored {
		c.add(batch)
	}
	return c
}

// Append adds a batch behind all others.
func (c *Consumer) Append(batch *journal.StoredBatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch.Position = journal.Position{Seq: c.last[0] + 1}
	batch.Origin = batch.Position.Seq
	c.add(batch)
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

func (c *Consumer) add(batch *journal.StoredBatch) {
	list, last := &c.batches, &c.last[0]
	if batch.Position.Remainder {
		list, last = &c.remainders, &c.last[1]
	}
	*last = max(*last, batch.Position.Seq)
	*list = append(*list, batch)
}

// Acked returns the positions of what was acknowledged, in that order.
func (c *Consumer) Acked() []journal.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.acked)
}

// Requeued returns the events of all calls of Requeue that did not fail.
func (c *Consumer) Requeued() []journal.PendingEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requeued)
}

// DeadLetters returns the dead letters.
func (c *Consumer) DeadLetters() []journal.DeadLetter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.deadLetters)
}

// LeaseContext never ends.
func (c *Consumer) LeaseContext() context.Context { return context.Background() }

// Delivers reports true: the buffer has no partitions.
func (c *Consumer) Delivers(string) bool { return true }

// Remainders hands over all remainders.
func (c *Consumer) Remainders(_ context.Context, take func(*journal.StoredBatch)) error {
	c.mu.Lock()
	remainders := slices.Clone(c.remainders)
	c.mu.Unlock()
	for _, remainder := range remainders {
		take(copied(remainder))
	}
	return nil
}

// Watch announces batches until the context ends.
func (c *Consumer) Watch(ctx context.Context, announce func(journal.BatchInfo), known func()) error {
	if c.BeforeWatch != nil {
		c.BeforeWatch()
	}
	next := uint64(0)
	for first := true; ; first = false {
		c.mu.Lock()
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed, batches := c.changed, slices.Clone(c.batches)
		c.mu.Unlock()
		for _, batch := range batches {
			if batch.Position.Seq >= next {
				announce(journal.BatchInfo{Seq: batch.Position.Seq, Webhook: batch.Webhook, Received: batch.AgeStart(), Events: batch.EventCount, Size: batch.Size, Stored: batch.StoredBytes})
				next = batch.Position.Seq + 1
			}
		}
		if first {
			known()
			if c.AfterKnown != nil {
				if err := c.AfterKnown(); err != nil {
					return err
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Next returns a copy of the first batch of a webhook at a position or after it.
func (c *Consumer) Next(_ context.Context, webhook string, from uint64) (*journal.StoredBatch, error) {
	c.mu.Lock()
	var found *journal.StoredBatch
	for _, batch := range c.batches {
		if batch.Webhook == webhook && batch.Position.Seq >= from && (found == nil || batch.Position.Seq < found.Position.Seq) {
			found = batch
		}
	}
	c.mu.Unlock()
	if found == nil {
		return nil, journal.ErrNotFound
	}
	found = copied(found)
	c.Processed.Begin(quarantine.Key(found.Position))
	if c.OnNext != nil {
		c.OnNext(found)
	}
	return found, nil
}

// Get returns a copy of what is at a position.
func (c *Consumer) Get(_ context.Context, position journal.Position) (*journal.StoredBatch, error) {
	found := c.find(position)
	if found == nil {
		return nil, journal.ErrNotFound
	}
	c.Processed.Begin(quarantine.Key(position))
	return found, nil
}

// find returns a copy of what is at a position, or nil.
func (c *Consumer) find(position journal.Position) *journal.StoredBatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stored := range slices.Concat(c.batches, c.remainders) {
		if stored.Position == position {
			return copied(stored)
		}
	}
	return nil
}

// Ack removes a batch or a remainder.
func (c *Consumer) Ack(ctx context.Context, batch *journal.StoredBatch) error {
	if c.OnAck != nil {
		c.OnAck(ctx, batch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(batch.Position)
	c.acked = append(c.acked, batch.Position)
	return nil
}

func (c *Consumer) remove(position journal.Position) {
	at := func(stored *journal.StoredBatch) bool { return stored.Position == position }
	c.batches, c.remainders = slices.DeleteFunc(c.batches, at), slices.DeleteFunc(c.remainders, at)
}

// Requeue replaces a batch or a remainder by what remains of it.
func (c *Consumer) Requeue(_ context.Context, batch *journal.StoredBatch, remaining []journal.PendingEvent) ([]*journal.StoredBatch, error) {
	if c.OnRequeue != nil {
		if err := c.OnRequeue(batch, remaining); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	remainder := *batch
	remainder.Position = journal.Position{Remainder: true, Seq: c.last[1] + 1}
	remainder.Value, remainder.Events, remainder.EventCount = nil, slices.Clone(remaining), len(remaining)
	c.remove(batch.Position)
	c.add(&remainder)
	c.requeued = append(c.requeued, remaining...)
	return []*journal.StoredBatch{copied(&remainder)}, nil
}

// DeadLetter stores dead letters. One that was stored before is not stored again.
func (c *Consumer) DeadLetter(_ context.Context, batch *journal.StoredBatch, letters []journal.DeadLetter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadIDs == nil {
		c.deadIDs = map[string]bool{}
	}
	for _, letter := range letters {
		if id := batch.Webhook + " " + batch.ID + "/" + letter.ID; batch.ID == "" || !c.deadIDs[id] {
			c.deadIDs[id] = true
			letter.Due = time.Time{}
			c.deadLetters = append(c.deadLetters, letter)
		}
	}
	return nil
}

// SetAside makes a dead letter of a batch.
func (c *Consumer) SetAside(_ context.Context, position journal.Position, reason string) (*journal.StoredBatch, error) {
	if c.OnSetAside != nil {
		if err := c.OnSetAside(position); err != nil {
			return &journal.StoredBatch{Position: position}, err
		}
	}
	found := c.find(position)
	if found == nil {
		return nil, journal.ErrNotFound
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(position)
	c.deadLetters = append(c.deadLetters, journal.DeadLetter{PendingEvent: journal.PendingEvent{ID: found.ID, Raw: found.Value}, Reason: reason})
	return found, nil
}

// Record is Processed.
func (c *Consumer) Record() *quarantine.Record { return c.Processed }

// DeletedWebhooks returns what MarkDeleted has stored.
func (c *Consumer) DeletedWebhooks(context.Context) (map[string]time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deleted == nil {
		return map[string]time.Time{}, nil
	}
	return maps.Clone(c.deleted), nil
}

// MarkDeleted stores since when a webhook is deleted, or with a zero time that it is not.
func (c *Consumer) MarkDeleted(_ context.Context, webhook string, since time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deleted == nil {
		c.deleted = map[string]time.Time{}
	}
	if c.deleted[webhook] = since; since.IsZero() {
		delete(c.deleted, webhook)
	}
	return nil
}

// copied returns what a reader may change and keep, in memory of its own.
func copied(stored *journal.StoredBatch) *journal.StoredBatch {
	read := *stored
	read.Value, read.Events = bytes.Clone(stored.Value), slices.Clone(stored.Events)
	return &read
}
