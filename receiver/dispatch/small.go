package dispatch

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
)

// standings remembers whether the sinks of webhooks have proven themselves, also while they have no backlog. Its zero value
// knows none.
type standings struct {
	mu     sync.Mutex
	needed map[string]int // good cycles in a row until the webhook is proven
}

func (s *standings) proven(webhook string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed, known := s.needed[webhook]
	return known && needed == 0
}

// record adds the outcome of a cycle. It is good when it delivered something and was not slow.
func (s *standings) record(webhook string, good bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed, known := s.needed[webhook]
	switch {
	case !good:
		needed = provenCycles
	case known && needed > 0:
		needed--
	case !known:
		needed = 0
	}
	if s.needed == nil || !known && len(s.needed) >= maxStandings {
		s.needed = map[string]int{}
	}
	s.needed[webhook] = needed
}

// smallCycle is how much memory a small cycle takes.
func (d *Dispatcher) smallCycle() int64 { return min(smallCycleBytes, d.smallMemory.size/memoryShares) }

// loadSmall loads a batch of a small cycle. The cycle holds memory for what it sends. The whole batch is in memory only while it
// is read: a cycle that holds loadMemory waits for the disk alone, never for a sink or other memory.
func (c *cycle) loadSmall(ctx context.Context, size int64, read func() (*loadedBatch, error)) (*loadedBatch, error) {
	share := c.dispatcher().smallCycle()
	if c.memory.bytes == 0 {
		if _, err := c.memory.grow(ctx, share); err != nil {
			return nil, err
		}
	}
	batch, large, err := c.readAndTrim(ctx, size, share, read)
	if err != nil || large == 0 {
		return batch, err
	}
	// One large event: it needs memory of its own, for as long as the sink takes.
	pending := batch.pending
	c.memory.release()
	c.memory = reservation{limit: c.dispatcher().slowMemory}
	if _, err := c.memory.grow(ctx, large); err != nil {
		return nil, err
	}
	batch, _, err = c.readAndTrim(ctx, pending.size, large, func() (*loadedBatch, error) { return c.readPending(ctx, pending) })
	return batch, err
}

// readAndTrim reads a batch and keeps the bytes of the first events that can be sent, as many as fit into a share. If the first one
// alone does not, it returns the memory that it needs.
func (c *cycle) readAndTrim(ctx context.Context, size, share int64, read func() (*loadedBatch, error)) (batch *loadedBatch, large int64, err error) {
	whole := reservation{limit: c.dispatcher().loadMemory}
	if _, err := whole.grow(ctx, size); err != nil {
		return nil, 0, err
	}
	defer whole.release()
	batch, err = read()
	if err != nil || batch == nil {
		return nil, 0, err
	}
	c.queue.mu.Lock()
	sendable := c.queue.order.sendable(batch.pending, ordered(batch.events, batch.keys), nil, map[uint64]bool{}, c.dispatcher().now())
	c.queue.mu.Unlock()
	kept, bytes := 0, int64(0)
	for _, i := range sendable {
		bytes += int64(len(batch.events[i].Raw)) + eventMemory
		if kept > 0 && bytes > share {
			break
		}
		kept++
		if kept == 1 && bytes > share {
			large = bytes
		}
	}
	batch.keepBytes(sendable[:kept])
	c.endSection(batch)
	return batch, large, nil
}

// keepBytes drops the bytes of all events except some.
func (b *loadedBatch) keepBytes(numbers []int) {
	stored := *b.stored
	stored.Value, stored.Events = nil, nil
	b.stored, b.events, b.trimmed = &stored, slices.Clone(b.events), true
	kept, all := int64(0), int64(0)
	for i := range b.events {
		all += int64(len(b.events[i].Raw))
	}
	for _, i := range numbers {
		kept += int64(len(b.events[i].Raw))
	}
	next := 0
	for i := range b.events {
		if next < len(numbers) && numbers[next] == i {
			raw := b.events[i].Raw
			if kept < all/2 { // else a copy would take more than what it frees
				raw = bytes.Clone(raw)
			}
			b.events[i].Raw, b.parsed[i].Raw = raw, raw
			next++
			continue
		}
		b.events[i].Raw, b.parsed[i] = nil, mandrill.Event{}
	}
}

// refill reads the bytes of the remaining events of a trimmed batch again, for the time of work.
func (c *cycle) refill(ctx context.Context, batch *loadedBatch, work func() error) error {
	if !batch.trimmed {
		return work()
	}
	whole := reservation{limit: c.dispatcher().loadMemory}
	if _, err := whole.grow(ctx, batch.pending.size); err != nil {
		return err
	}
	defer whole.release()
	stored, err := c.consumer().Get(ctx, batch.stored.Position)
	if err != nil {
		return err
	}
	full, err := c.parse(stored)
	if err != nil {
		return err
	}
	c.consumer().Record().End(quarantine.Key(stored.Position))
	raw := make(map[string][]byte, len(full.events))
	for _, event := range full.events {
		raw[event.ID] = event.Raw
	}
	remaining := make([]journal.PendingEvent, len(batch.remaining))
	for i, event := range batch.remaining {
		event.Raw = raw[event.ID]
		remaining[i] = event
	}
	trimmed := batch.remaining
	batch.remaining = remaining
	defer func() { batch.remaining = trimmed }()
	return work()
}
