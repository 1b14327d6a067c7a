package receiver

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// lane is what waits for one webhook. It is worked off in rounds.
type lane struct {
	*term
	webhook string
	wake    chan struct{}
	rounds  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	queue  queue
	cursor uint64              // where the batches begin that were not taken
	units  []*held             // those that were taken and are not finished, by origin
	owners map[uint64][]*held  // units with events of a message, by origin
	active map[*round]struct{} // rounds that are under way
	ahead  *round              // one of them that is getting ready
	dull   bool                // nothing was accepted when last something was sent: not much is done at once
	most   int                 // events in a round: about what can be sent in its time
	slow   bool                // the last round took long
}

// queue is what is known of batches that were not taken yet.
type queue struct {
	units, events int
	size, stored  int64
	oldest        time.Time // about: of the first of them, or the one before
}

// pop takes away what was taken from it.
func (q *queue) pop(taken queue) {
	*q = queue{q.units - taken.units, q.events - taken.events, max(q.size-taken.size, 0), max(q.stored-taken.stored, 0), taken.oldest}
	if q.units <= 0 {
		*q = queue{}
	}
}

func queueOf(unit *journal.Unit) queue {
	return queue{units: 1, events: unit.Events, size: unit.Size, stored: unit.Stored, oldest: unit.Begin()}
}

// held is a unit of the journal, and of its events only which messages they are of.
type held struct {
	place    journal.Place
	origin   uint64
	position int       // in the batch, of the first event that was left when it was written
	received time.Time // or redriven
	events   int
	size     int64 // in memory
	stored   int64
	keys     map[uint64]struct{} // of messages with events that are left
	due      time.Time           // when something can be done
	busy     bool                // a round has it
	left     []journal.Entry     // what is left, but for its bytes, if it could not be put back
}

func newLane(t *term, webhook string) *lane {
	return &lane{
		term: t, webhook: webhook, wake: make(chan struct{}, 1), owners: map[uint64][]*held{}, active: map[*round]struct{}{}, most: roundEvents,
	}
}

// notice takes note of a batch that waits.
func (l *lane) notice(notice journal.Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if notice.Seq < l.cursor { // it was taken already
		return
	}
	if l.queue.units == 0 {
		l.queue.oldest = notice.Received
	}
	l.queue.units++
	l.queue.events += notice.Events
	l.queue.size += notice.Size
	l.queue.stored += notice.Stored
	l.nudge()
}

// nudge has the lane look again.
func (l *lane) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run works until there is nothing left or the context ends.
func (l *lane) run(ctx context.Context) {
	defer l.rounds.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := l.routes.Changed()
		wait := l.step(ctx)
		if l.end(l) {
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-changed:
		case <-timer.C:
		}
	}
}

// idle tells whether there is nothing to do.
func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.units == 0 && len(l.units) == 0 && len(l.active) == 0
}

// backlog is what waits: how many events, what they take, and since when the oldest does.
func (l *lane) backlog() (events int, bytes int64, oldest time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, bytes, oldest = l.queue.events, l.queue.stored, l.queue.oldest
	for _, unit := range l.units {
		events += unit.events
		bytes += unit.stored
		if oldest.IsZero() || unit.received.Before(oldest) {
			oldest = unit.received
		}
	}
	return events, bytes, oldest
}

const forever = 24 * time.Hour

// step does what can be done and returns when to look again.
func (l *lane) step(ctx context.Context) time.Duration {
	route, gone := l.routes.Webhook(l.webhook)
	if route == nil {
		return l.orphaned(ctx, gone)
	}
	if err := l.found(ctx, l.webhook); err != nil {
		l.fail(err)
		return forever
	}
	if route.Suspend {
		return forever
	}
	for ctx.Err() == nil {
		next, wait := l.next(route)
		if next == nil {
			return wait
		}
		l.rounds.Go(func() {
			defer l.ended(next)
			if err := next.run(ctx); err != nil && ctx.Err() == nil {
				l.fail(err)
			}
		})
	}
	return forever
}

// orphaned gives up what waits for a webhook that has been gone for long.
func (l *lane) orphaned(ctx context.Context, gone bool) time.Duration {
	if !gone || l.idle() { // not all routes are known, or nothing waits any more
		return forever
	}
	since, err := l.orphanSince(ctx, l.webhook)
	if err != nil {
		l.fail(err)
		return forever
	}
	if wait := l.orphanRetention - l.now().Sub(since); wait > 0 {
		return wait
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.active) > 0 {
		return forever // until it ends
	}
	last := &round{lane: l, fresh: true, memory: l.dullMemory, units: slices.Clone(l.units), done: make(chan struct{})}
	for _, unit := range last.units {
		unit.busy = true
	}
	l.active[last], l.ahead = struct{}{}, last
	l.rounds.Go(func() {
		defer l.ended(last)
		if err := last.giveUp(ctx); err != nil && ctx.Err() == nil {
			l.fail(err)
		}
	})
	return forever
}

// next makes a round of what is due, or says when something will be.
func (l *lane) next(route *Route) (*round, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.ahead != nil || len(l.active) >= maxRounds {
		return nil, forever // until it is ready, or one ends
	}
	due, wait := l.due(now)
	fresh := l.mayTake()
	if len(due) == 0 && !fresh {
		return nil, wait
	}
	if pause := l.sender.Pause(route.delivery.Target); pause > 0 {
		return nil, pause
	}
	next := &round{lane: l, route: route, units: due, fresh: fresh, memory: l.memory, done: make(chan struct{})}
	if l.dull || l.slow || l.most < roundEvents || len(l.active) > 1 { // the one before the last takes long
		next.memory = l.dullMemory
	}
	for _, unit := range due {
		unit.busy = true
	}
	l.active[next], l.ahead = struct{}{}, next
	return next, 0
}

// mayTake tells whether batches may be taken: not too much is left of others.
func (l *lane) mayTake() bool {
	if l.queue.units == 0 {
		return false
	}
	events, unsaved := 0, 0
	for _, unit := range l.units {
		if l.early(unit) { // it would wait for ever
			return true
		}
		events += unit.events
		if unit.left != nil {
			unsaved++
		}
	}
	return events < maxLeft && unsaved < maxUnsaved
}

// due returns units of which something can be done, or when that will be.
func (l *lane) due(now time.Time) (list []*held, wait time.Duration) {
	wait = forever
	var size int64
	events := 0
	for _, unit := range l.units {
		if unit.busy || l.early(unit) {
			continue
		}
		if pause := unit.due.Sub(now); pause > 0 {
			wait = min(wait, pause)
			continue
		}
		if len(list) > 0 && (size+unit.size > l.memory.share() || events >= l.most || l.dull) {
			break
		}
		list = append(list, unit)
		size, events = size+unit.size, events+unit.events
	}
	return list, wait
}

// ended takes note of the end of a round.
func (l *lane) ended(r *round) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, r)
	close(r.done)
	if l.ahead == r {
		l.ahead = nil
	}
	for _, unit := range r.units {
		unit.busy = false
	}
	l.nudge()
}

// key stands for a message. It is 0 for an event that is of none.
func (d *Dispatcher) key(event mandrill.Event) uint64 {
	if event.MessageID == "" {
		return 0
	}
	return max(maphash.String(d.seed, event.MessageID), 1)
}

// add takes note of a unit, whose events are of some messages.
func (l *lane) add(unit *held) {
	at, _ := slices.BinarySearchFunc(l.units, unit, func(a, b *held) int {
		return cmp.Or(cmp.Compare(a.origin, b.origin), -1) // after those of the same
	})
	l.units = slices.Insert(l.units, at, unit)
	for key := range unit.keys {
		owners := l.owners[key]
		at := len(owners)
		for at > 0 && owners[at-1].origin > unit.origin { // what is left of a later batch was known before, after a restart
			at--
		}
		l.owners[key] = slices.Insert(owners, at, unit)
	}
}

// early tells whether batches from before a unit may not have been taken, so that it is not known whether it is its turn.
// It is so after a restart, when remainders are known first.
func (l *lane) early(unit *held) bool {
	if !unit.place.Rest || l.cursor > unit.origin {
		return false
	}
	return l.queue.units > 0 || !l.known.Load()
}

// replace puts what is left of a unit in its place: nothing, itself with fewer messages, or several.
func (l *lane) replace(unit *held, before map[uint64]struct{}, by ...*held) {
	at := slices.Index(l.units, unit)
	l.units = slices.Replace(l.units, at, at+1, by...)
	now := l.now()
	for key := range before {
		var owners []*held
		for _, owner := range l.owners[key] {
			if owner != unit {
				owners = append(owners, owner)
				continue
			}
			for _, part := range by {
				if _, left := part.keys[key]; left {
					owners = append(owners, part)
				}
			}
		}
		if len(owners) == 0 {
			delete(l.owners, key)
			continue
		}
		if first := owners[0]; first != l.owners[key][0] && !slices.Contains(by, first) { // now it is its turn
			first.due = now
		}
		l.owners[key] = owners
	}
}

// turn tells whether it is a unit's turn with a message, or those before it are of the same round.
func (l *lane) turn(unit *held, key uint64, with map[*held]bool) bool {
	for _, owner := range l.owners[key] {
		if owner == unit {
			return true
		}
		if !with[owner] {
			return false
		}
	}
	return false
}
