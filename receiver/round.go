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
type round struct {
	*lane
	route  *Route
	units  []*held // that are due, and those that were taken
	fresh  bool    // batches may be taken
	memory *allowance
	taken  int64 // of the memory
	sent   time.Time
	done   chan struct{} // closed when it has ended
}

// load is a unit in memory.
type load struct {
	held    *held
	unit    *journal.Unit
	entries []journal.Entry
	events  []mandrill.Event
	sent    []*attempt   // by entry; nil: not in this round
	open    atomic.Int64 // how many of them are not over

	left    []journal.Entry
	dead    []journal.Dead
	changed bool
}

// run loads, sends, and writes down how it goes. It loads while the round before it is sending. An error means that the
// journal does not work.
func (r *round) run(ctx context.Context) error {
	defer func() { r.memory.give(r.taken) }()
	loads, err := r.load(ctx)
	if err != nil || len(loads) == 0 || !r.await(ctx) {
		return err
	}
	return r.deliver(ctx, loads)
}

// await waits for its turn: until the rounds before it have ended, or take long. It lets another round get ready.
func (r *round) await(ctx context.Context) bool {
	r.mu.Lock()
	var before []*round
	for other := range r.active {
		if other != r {
			before = append(before, other)
		}
	}
	r.mu.Unlock()
	for _, other := range before {
		select {
		case <-other.done:
		case <-time.After(roundTime - time.Since(other.sent)):
		case <-ctx.Done():
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = time.Now()
	r.ahead = nil
	r.nudge()
	return true
}

// load reads what is due, and takes batches as long as they fit into a round and there is memory for them.
func (r *round) load(ctx context.Context) ([]*load, error) {
	var loads []*load
	for i, unit := range r.units {
		if ok, err := r.reserve(ctx, unit.size); err != nil || !ok {
			r.release(i)
			return loads, err
		}
		one, err := r.reload(ctx, unit)
		if err != nil {
			return nil, err
		}
		if one != nil {
			loads = append(loads, one)
		}
	}
	for r.fresh && !r.laden(loads) {
		one, err := r.next(ctx)
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
func (r *round) reserve(ctx context.Context, size int64) (bool, error) {
	if r.taken > 0 {
		if !r.memory.try(size) {
			return false, nil
		}
	} else if err := r.memory.take(ctx, size); err != nil {
		return false, err
	}
	r.taken += size
	return true, nil
}

// release leaves units for another round, from a number on.
func (r *round) release(from int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, unit := range r.units[from:] {
		unit.busy = false
	}
	r.units = r.units[:from]
}

// laden tells whether a round has enough.
func (r *round) laden(loads []*load) bool {
	var size int64
	events := 0
	for _, one := range loads {
		size, events = size+one.held.size, events+one.held.events
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return size >= r.memory.share() || events >= r.most || r.dull && len(loads) > 0
}

// reload reads a unit that waited. It returns nil when the unit is gone.
func (r *round) reload(ctx context.Context, unit *held) (*load, error) {
	read, err := r.work.Load(ctx, unit.place)
	if errors.Is(err, journal.ErrNone) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.replace(unit, unit.keys)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	one, err := open(read, r.now())
	if err != nil {
		return nil, err
	}
	one.held = unit
	if unit.left != nil { // what is there is what was before
		one.keep(unit.left)
	}
	return one, nil
}

// keep takes all entries away but those that are left, in the same order.
func (l *load) keep(left []journal.Entry) {
	entries, events := l.entries, l.events
	l.entries, l.events = nil, nil
	for i, entry := range entries {
		if next := len(l.entries); next < len(left) && left[next].ID == entry.ID {
			raw := entry.Raw
			entry = left[next]
			entry.Raw = raw
			l.entries, l.events = append(l.entries, entry), append(l.events, events[i])
		}
	}
}

// next takes the next batch, nil when there is none, or no memory.
func (r *round) next(ctx context.Context) (*load, error) {
	r.mu.Lock()
	queue, from := r.queue, r.cursor
	r.mu.Unlock()
	if queue.units == 0 {
		return nil, nil
	}
	estimate := queue.size/int64(queue.units) + int64(queue.events/queue.units)*eventMemory
	if ok, err := r.reserve(ctx, estimate); err != nil || !ok {
		return nil, err
	}
	unit, err := r.work.Take(ctx, r.webhook, from)
	if errors.Is(err, journal.ErrNone) { // somebody has removed them
		r.mu.Lock()
		defer r.mu.Unlock()
		r.queue.pop(queue)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	one, err := open(unit, r.now())
	if err != nil {
		return nil, err
	}
	one.held = r.hold(one)
	one.held.busy = true
	if more := one.held.size - estimate; more > 0 {
		r.memory.force(more)
		r.taken += more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursor = unit.Place.Seq + 1
	r.queue.pop(queueOf(unit))
	r.units = append(r.units, one.held)
	r.add(one.held)
	return one, nil
}

// open makes entries of a unit. A batch was an array when it was kept. What would be due later than anything can be was
// written when the clock was ahead, and is due now.
func open(unit *journal.Unit, now time.Time) (*load, error) {
	one := &load{unit: unit, entries: unit.Entries}
	if unit.Value != nil {
		elements, err := mandrill.SplitBatch(unit.Value)
		if err != nil {
			return nil, err
		}
		seen := make(map[string]int, len(elements))
		one.entries = make([]journal.Entry, len(elements))
		for i, raw := range elements {
			one.entries[i] = journal.Entry{ID: eventID(raw, seen), Raw: raw, Position: i}
		}
	}
	one.events = make([]mandrill.Event, len(one.entries))
	for i, entry := range one.entries {
		one.events[i] = mandrill.ParseEvent(entry.Raw)
		if entry.Due.Sub(now) > maxDue {
			one.entries[i].Due = time.Time{}
		}
	}
	return one, nil
}

// hold makes of a unit what is in memory while it waits.
func (d *Dispatcher) hold(one *load) *held {
	h := &held{
		place: one.unit.Place, origin: one.unit.Origin, position: one.position(), received: one.unit.Begin(), events: len(one.entries), stored: one.unit.Stored,
		keys: make(map[uint64]struct{}, len(one.entries)),
	}
	for i, entry := range one.entries {
		h.size += int64(len(entry.Raw)) + eventMemory
		if key := d.key(one.events[i]); key != 0 {
			h.keys[key] = struct{}{}
		}
		if i == 0 || entry.Due.Before(h.due) {
			h.due = entry.Due
		}
	}
	return h
}

// position is that of the first event that is left.
func (l *load) position() int {
	if len(l.entries) == 0 {
		return 0
	}
	return l.entries[0].Position
}

// giveUp buries what waits for a webhook that is gone, as much as fits into memory.
func (r *round) giveUp(ctx context.Context) error {
	defer func() { r.memory.give(r.taken) }()
	loads, err := r.load(ctx)
	if err != nil {
		return err
	}
	for _, one := range loads {
		dead := make([]journal.Dead, len(one.entries))
		for i, entry := range one.entries {
			_, label := typeOf(one.events[i])
			dead[i] = journal.Dead{Entry: entry, Reason: journal.ReasonOrphaned, Type: letterType(one.events[i])}
			r.metrics.events.WithLabelValues(label, "buried").Inc()
		}
		if err := r.bury(ctx, one.unit, dead); err != nil {
			return err
		}
		if err := r.work.Finish(ctx, one.unit); err != nil {
			return err
		}
		r.settled(one)
	}
	r.mu.Lock()
	nothingLeft := r.queue.units == 0 && len(r.lane.units) == 0
	r.mu.Unlock()
	if nothingLeft { // if it comes back and goes once more, its events are kept as long again
		return r.found(ctx, r.webhook)
	}
	return nil
}
