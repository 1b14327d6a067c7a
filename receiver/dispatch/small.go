package dispatch

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
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

// reserve takes memory for a batch. A small cycle takes its fixed share first, and memory for the whole batch only until
// release: of the batch it keeps what it sends.
func (c *cycle) reserve(ctx context.Context, size int64) (release func(), ok bool, err error) {
	if !c.small {
		ok, err = c.memory.grow(ctx, size)
		return func() {}, ok, err
	}
	if c.memory.bytes == 0 {
		if _, err := c.memory.grow(ctx, c.dispatcher().smallCycle()); err != nil {
			return nil, false, err
		}
	}
	whole := reservation{limit: c.dispatcher().loadMemory}
	if _, err := whole.grow(ctx, size); err != nil {
		return nil, false, err
	}
	return whole.release, true, nil
}

// trim reduces a batch of a small cycle to the events that it sends, and copies them, so that the rest of the batch does not
// stay in memory.
func (c *cycle) trim(ctx context.Context, batch *loadedBatch) error {
	if !c.small {
		return nil
	}
	c.queue.mu.Lock()
	sendable := c.queue.order.sendable(batch.pending, ordered(batch.events, batch.keys), nil, map[uint64]bool{}, c.dispatcher().now())
	c.queue.mu.Unlock()
	size, kept, share := int64(0), 0, c.dispatcher().smallCycle()
	for _, i := range sendable {
		size += int64(len(batch.events[i].Raw)) + eventMemory
		if kept > 0 && size > share {
			break
		}
		kept++
	}
	if kept == 1 && size > share { // it holds as much for as long as the sink takes
		large := reservation{limit: c.dispatcher().slowMemory}
		if _, err := large.grow(ctx, size); err != nil {
			return err
		}
		c.memory.release()
		c.memory = large
	}
	batch.keepBytes(sendable[:kept])
	return nil
}

// keepBytes drops the bytes of all events except some.
func (b *loadedBatch) keepBytes(numbers []int) {
	stored := *b.stored
	stored.Value, stored.Events = nil, nil
	b.stored, b.events, b.trimmed = &stored, slices.Clone(b.events), true
	next := 0
	for i := range b.events {
		if next < len(numbers) && numbers[next] == i {
			raw := bytes.Clone(b.events[i].Raw)
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
	full, err := c.dispatcher().loadBatch(stored)
	if err != nil {
		return err
	}
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
