package receiver

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// round is one attempt to deliver some units of a lane.
type cycle struct {
	*webhookQueue
	route    *Route
	batches  []*pendingBatch // that are due, and those that were taken
	takeNew  bool            // batches may be taken
	memory   *allowance
	reserved int64 // of the memory
	sent     time.Time
	done     chan struct{} // closed when it has ended
}

// load is a unit in memory.
type loadedBatch struct {
	pending  *pendingBatch
	stored   *journal.StoredBatch
	events   []journal.PendingEvent
	parsed   []mandrill.Event
	sent     []*outgoingEvent // by entry; nil: not in this round
	inFlight atomic.Int64     // how many of them are not over

	remaining []journal.PendingEvent
	dead      []journal.DeadLetter
	changed   bool
}

// run loads, sends, and writes down how it goes. It loads while the round before it is sending. An error means that the
// journal does not work.
func (r *cycle) run(ctx context.Context) error {
	defer func() { r.memory.give(r.reserved) }()
	loads, err := r.load(ctx)
	if err != nil || len(loads) == 0 || !r.waitForPrevious(ctx) {
		return err
	}
	return r.deliver(ctx, loads)
}

// await waits for its turn: until the rounds before it have ended, or take long. It lets another round get ready.
func (r *cycle) waitForPrevious(ctx context.Context) bool {
	r.mu.Lock()
	var before []*cycle
	for other := range r.active {
		if other != r {
			before = append(before, other)
		}
	}
	r.mu.Unlock()
	for _, other := range before {
		select {
		case <-other.done:
		case <-time.After(cycleTime - time.Since(other.sent)):
		case <-ctx.Done():
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = time.Now()
	r.preparing = nil
	r.signal()
	return true
}

// load reads what is due, and takes batches as long as they fit into a round and there is memory for them.
func (r *cycle) load(ctx context.Context) ([]*loadedBatch, error) {
	var loads []*loadedBatch
	for i, unit := range r.batches {
		if ok, err := r.reserve(ctx, unit.size); err != nil || !ok {
			r.returnFrom(i)
			return loads, err
		}
		one, err := r.loadPending(ctx, unit)
		if err != nil {
			return nil, err
		}
		if one != nil {
			loads = append(loads, one)
		}
	}
	for r.takeNew && !r.full(loads) {
		one, err := r.loadNext(ctx)
		if err != nil {
			return nil, err
		}
		if one == nil {
			break
		}
		loads = append(loads, one)
	}
	return loads, nil
}

// reserve waits for memory for the first unit, and tells of another whether there is some.
func (r *cycle) reserve(ctx context.Context, size int64) (bool, error) {
	if r.reserved > 0 {
		if !r.memory.try(size) {
			return false, nil
		}
	} else if err := r.memory.take(ctx, size); err != nil {
		return false, err
	}
	r.reserved += size
	return true, nil
}

// release leaves units for another round, from a number on.
func (r *cycle) returnFrom(from int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, unit := range r.batches[from:] {
		unit.busy = false
	}
	r.batches = r.batches[:from]
}

// laden tells whether a round has enough.
func (r *cycle) full(loads []*loadedBatch) bool {
	var size int64
	events := 0
	for _, one := range loads {
		size, events = size+one.pending.size, events+one.pending.events
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return size >= r.memory.share() || events >= r.maxEvents || r.failing && len(loads) > 0
}

// reload reads a unit that waited. It returns nil when the unit is gone.
func (r *cycle) loadPending(ctx context.Context, unit *pendingBatch) (*loadedBatch, error) {
	read, err := r.consumer.Get(ctx, unit.position)
	if errors.Is(err, journal.ErrNotFound) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.replacePending(unit, unit.keys)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	one, err := loadBatch(read, r.now())
	if err != nil {
		return nil, err
	}
	one.pending = unit
	if unit.unsaved != nil { // what is there is what was before
		one.keepOnly(unit.unsaved)
	}
	return one, nil
}

// keep takes all entries away but those that are left, in the same order.
func (l *loadedBatch) keepOnly(left []journal.PendingEvent) {
	entries, events := l.events, l.parsed
	l.events, l.parsed = nil, nil
	for i, entry := range entries {
		if next := len(l.events); next < len(left) && left[next].ID == entry.ID {
			raw := entry.Raw
			entry = left[next]
			entry.Raw = raw
			l.events, l.parsed = append(l.events, entry), append(l.parsed, events[i])
		}
	}
}

// next takes the next batch, nil when there is none, or no memory.
func (r *cycle) loadNext(ctx context.Context) (*loadedBatch, error) {
	r.mu.Lock()
	queue, from := r.unread, r.cursor
	r.mu.Unlock()
	if queue.batches == 0 {
		return nil, nil
	}
	estimate := queue.size/int64(queue.batches) + int64(queue.events/queue.batches)*eventMemory
	if ok, err := r.reserve(ctx, estimate); err != nil || !ok {
		return nil, err
	}
	unit, err := r.consumer.Next(ctx, r.webhook, from)
	if errors.Is(err, journal.ErrNotFound) { // somebody has removed them
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unread.pop(queue)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	one, err := loadBatch(unit, r.now())
	if err != nil {
		return nil, err
	}
	one.pending = r.pendingOf(one)
	one.pending.busy = true
	if more := one.pending.size - estimate; more > 0 {
		r.memory.force(more)
		r.reserved += more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursor = unit.Position.Seq + 1
	r.unread.pop(unreadOf(unit))
	r.batches = append(r.batches, one.pending)
	r.addPending(one.pending)
	return one, nil
}

// open makes entries of a unit. A batch was an array when it was kept. What would be due later than anything can be was
// written when the clock was ahead, and is due now.
func loadBatch(unit *journal.StoredBatch, now time.Time) (*loadedBatch, error) {
	one := &loadedBatch{stored: unit, events: unit.Events}
	if unit.Value != nil {
		elements, err := mandrill.SplitBatch(unit.Value)
		if err != nil {
			return nil, err
		}
		seen := make(map[string]int, len(elements))
		one.events = make([]journal.PendingEvent, len(elements))
		for i, raw := range elements {
			one.events[i] = journal.PendingEvent{ID: eventID(raw, seen), Raw: raw, Index: i}
		}
	}
	one.parsed = make([]mandrill.Event, len(one.events))
	for i, entry := range one.events {
		one.parsed[i] = mandrill.ParseEvent(entry.Raw)
		if entry.Due.Sub(now) > maxDue {
			one.events[i].Due = time.Time{}
		}
	}
	return one, nil
}

// hold makes of a unit what is in memory while it waits.
func (d *Dispatcher) pendingOf(one *loadedBatch) *pendingBatch {
	h := &pendingBatch{
		position: one.stored.Position, origin: one.stored.Origin, firstIndex: one.firstIndex(), received: one.stored.AgeStart(), events: len(one.events), stored: one.stored.StoredBytes,
		keys: make(map[uint64]struct{}, len(one.events)),
	}
	for i, entry := range one.events {
		h.size += int64(len(entry.Raw)) + eventMemory
		if key := d.orderKey(one.parsed[i]); key != 0 {
			h.keys[key] = struct{}{}
		}
		if i == 0 || entry.Due.Before(h.due) {
			h.due = entry.Due
		}
	}
	return h
}

// position is that of the first event that is left.
func (l *loadedBatch) firstIndex() int {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[0].Index
}

// giveUp buries what waits for a webhook that is gone, as much as fits into memory.
func (r *cycle) giveUp(ctx context.Context) error {
	defer func() { r.memory.give(r.reserved) }()
	loads, err := r.load(ctx)
	if err != nil {
		return err
	}
	for _, one := range loads {
		dead := make([]journal.DeadLetter, len(one.events))
		for i, entry := range one.events {
			_, label := typeOf(one.parsed[i])
			dead[i] = journal.DeadLetter{PendingEvent: entry, Reason: journal.ReasonWebhookDeleted, Type: deadLetterType(one.parsed[i])}
			r.metrics.events.WithLabelValues(label, "dead_lettered").Inc()
		}
		if err := r.deadLetter(ctx, one.stored, dead); err != nil {
			return err
		}
		if err := r.consumer.Ack(ctx, one.stored); err != nil {
			return err
		}
		r.replaceSettled(one)
	}
	r.mu.Lock()
	nothingLeft := r.unread.batches == 0 && len(r.webhookQueue.pending) == 0
	r.mu.Unlock()
	if nothingLeft { // if it comes back and goes once more, its events are kept as long again
		return r.clearDeleted(ctx, r.webhook)
	}
	return nil
}
