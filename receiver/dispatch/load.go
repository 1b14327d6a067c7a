package dispatch

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// loadedBatch is a batch with its events in memory.
type loadedBatch struct {
	pending  *pendingBatch
	stored   *journal.StoredBatch
	events   []journal.PendingEvent
	parsed   []mandrill.Event
	keys     []uint64         // order keys, by event; 0: the event belongs to no message
	trimmed  bool             // only the events that are sent in this cycle have their bytes
	sent     []*outgoingEvent // by event; nil: not in this cycle
	inFlight atomic.Int64     // events that are sent and not done

	// The outcome of the cycle.
	remaining     []journal.PendingEvent
	remainingKeys []uint64
	dead          []journal.DeadLetter
	changed       bool // there is progress to save
}

// load reads the batches that are due, and further ones as long as the cycle and the memory have room.
func (c *cycle) load(ctx context.Context) ([]*loadedBatch, error) {
	var batches []*loadedBatch
	for i, pending := range c.batches {
		if c.small && len(batches) > 0 {
			c.returnFrom(i)
			return batches, nil
		}
		batch, ok, err := c.loadWith(ctx, pending.size, func() (*loadedBatch, error) { return c.readPending(ctx, pending) })
		if err != nil {
			return nil, err
		}
		if !ok {
			c.returnFrom(i)
			return batches, nil
		}
		if batch != nil {
			batches = append(batches, batch)
		}
	}
	for c.takeNew && !c.full(batches) {
		batch, err := c.loadNext(ctx)
		if err != nil {
			return nil, err
		}
		if batch == nil {
			break
		}
		batches = append(batches, batch)
	}
	return batches, nil
}

// returnFrom leaves the batches from a number on for another cycle.
func (c *cycle) returnFrom(first int) {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	for _, batch := range c.batches[first:] {
		batch.busy = false
	}
	c.batches = c.batches[:first]
}

// full reports whether a cycle has loaded enough.
func (c *cycle) full(batches []*loadedBatch) bool {
	var size int64
	events := 0
	for _, batch := range batches {
		size, events = size+batch.pending.size, events+batch.pending.events
	}
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	if c.small && len(batches) > 0 {
		return true
	}
	return size >= c.memory.limit.share() || events >= c.queue.maxEvents || c.queue.failing && len(batches) > 0
}

// loadWith reserves memory for a batch and reads it. It reports false when there is no memory, and returns nil when there is no
// batch.
func (c *cycle) loadWith(ctx context.Context, size int64, read func() (*loadedBatch, error)) (batch *loadedBatch, ok bool, err error) {
	if c.small {
		batch, err = c.loadSmall(ctx, size, read)
		return batch, true, err
	}
	if ok, err = c.memory.grow(ctx, size); err != nil || !ok {
		return nil, ok, err
	}
	batch, err = read()
	c.endSection(batch)
	return batch, true, err
}

// readPending reads a pending batch again, in a section that the caller ends. It returns nil when the batch is gone.
func (c *cycle) readPending(ctx context.Context, pending *pendingBatch) (*loadedBatch, error) {
	stored, err := c.consumer().Get(ctx, pending.position)
	if errors.Is(err, journal.ErrNotFound) {
		c.consumer().Record().Forget(quarantine.Key(pending.position))
		c.queue.replacePending(pending)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	batch, err := c.parse(stored)
	if err != nil {
		return nil, err
	}
	batch.pending = pending
	if pending.unsaved != nil { // the buffer still has what was before
		batch.keepOnly(pending.unsaved)
	}
	return batch, nil
}

// loadNext reads the next batch. It returns nil when there is none, or no memory.
func (c *cycle) loadNext(ctx context.Context) (*loadedBatch, error) {
	q := c.queue
	q.mu.Lock()
	unread, from := q.unread, q.order.next
	q.mu.Unlock()
	if unread.batches == 0 {
		return nil, nil
	}
	estimate := unread.size/int64(unread.batches) + int64(unread.events/unread.batches)*eventMemory
	batch, _, err := c.loadWith(ctx, estimate, func() (*loadedBatch, error) { return c.readNext(ctx, from, unread, estimate) })
	return batch, err
}

// readNext reads the first batch from a position on, in a section that the caller ends. It returns nil when there is none.
func (c *cycle) readNext(ctx context.Context, from uint64, unread unreadBatches, estimate int64) (*loadedBatch, error) {
	q := c.queue
	stored, err := c.consumer().Next(ctx, q.webhook, from)
	if errors.Is(err, journal.ErrNotFound) { // somebody removed them
		q.mu.Lock()
		defer q.mu.Unlock()
		q.unread.remove(unread)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	batch, err := c.parse(stored)
	if err != nil {
		return nil, err
	}
	batch.pending = c.dispatcher().pendingOf(batch)
	batch.pending.busy = true
	if more := batch.pending.size - estimate; more > 0 && !c.small {
		c.memory.tryGrow(more) // the limit is approximate: a batch in memory is not given back
	}
	c.addRead(batch.pending, stored)
	return batch, nil
}

// addRead adds a batch that was read to the pending ones.
func (c *cycle) addRead(pending *pendingBatch, stored *journal.StoredBatch) {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.order.next = stored.Position.Seq + 1
	q.unread.remove(unreadOf(stored))
	q.order.add(pending)
	c.batches = append(c.batches, pending)
}

// parse parses a batch that was just read. With an error its section in the record has ended.
func (c *cycle) parse(stored *journal.StoredBatch) (*loadedBatch, error) {
	batch, err := c.dispatcher().loadBatch(stored)
	if err != nil {
		c.consumer().Record().End(quarantine.Key(stored.Position))
	}
	return batch, err
}

// endSection ends the section of a batch that was read, if there is one.
func (c *cycle) endSection(batch *loadedBatch) {
	if batch != nil {
		c.consumer().Record().End(quarantine.Key(batch.stored.Position))
	}
}

// keepOnly removes all events except those that remain, which are in the same order.
func (b *loadedBatch) keepOnly(remaining []journal.PendingEvent) {
	events, parsed, keys := b.events, b.parsed, b.keys
	b.events, b.parsed, b.keys = nil, nil, nil
	for i, event := range events {
		if next := len(b.events); next < len(remaining) && remaining[next].ID == event.ID {
			raw := event.Raw
			event = remaining[next]
			event.Raw = raw
			b.events, b.parsed, b.keys = append(b.events, event), append(b.parsed, parsed[i]), append(b.keys, keys[i])
		}
	}
}

// loadBatch splits and parses a stored batch. An event that is due later than any pause allows was written while the clock
// was ahead, and is due now.
func (d *Dispatcher) loadBatch(stored *journal.StoredBatch) (*loadedBatch, error) {
	now, batch := d.now(), &loadedBatch{stored: stored, events: stored.Events}
	if stored.Value != nil {
		elements, err := mandrill.SplitBatch(stored.Value)
		if err != nil {
			return nil, err
		}
		batch.events = make([]journal.PendingEvent, len(elements))
		for i, id := range mapping.EventIDs(elements) {
			batch.events[i] = journal.PendingEvent{ID: id, Raw: elements[i], Index: i}
		}
	}
	batch.parsed, batch.keys = make([]mandrill.Event, len(batch.events)), make([]uint64, len(batch.events))
	for i, event := range batch.events {
		batch.parsed[i] = mandrill.ParseEvent(event.Raw)
		batch.keys[i] = d.orderKey(batch.parsed[i])
		if event.Due.Sub(now) > maxDue {
			batch.events[i].Due = time.Time{}
		}
	}
	return batch, nil
}

// pendingOf returns what stays in memory of a batch while it waits.
func (d *Dispatcher) pendingOf(batch *loadedBatch) *pendingBatch {
	stored := batch.stored
	pending := &pendingBatch{
		position: stored.Position, origin: stored.Origin, received: stored.AgeStart(), events: len(batch.events), stored: stored.StoredBytes,
		keys: make(map[uint64]struct{}, len(batch.events)),
	}
	for i, event := range batch.events {
		pending.size += int64(len(event.Raw)) + eventMemory
		if key := batch.keys[i]; key != 0 {
			pending.keys[key] = struct{}{}
		}
		if i == 0 || event.Due.Before(pending.due) {
			pending.due = event.Due
		}
	}
	if len(batch.events) > 0 {
		pending.firstIndex = batch.events[0].Index
	}
	return pending
}

// ordered returns what the order of events depends on.
func ordered(events []journal.PendingEvent, keys []uint64) []orderedEvent {
	ordered := make([]orderedEvent, len(events))
	for i, event := range events {
		ordered[i] = orderedEvent{keys[i], event.Due}
	}
	return ordered
}
