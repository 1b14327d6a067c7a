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
type webhookQueue struct {
	*leadership
	webhook string
	wake    chan struct{}
	cycles  sync.WaitGroup

	mu        sync.Mutex // guards what follows
	unread    unreadBatches
	cursor    uint64                     // where the batches begin that were not taken
	pending   []*pendingBatch            // those that were taken and are not finished, by origin
	owners    map[uint64][]*pendingBatch // units with events of a message, by origin
	active    map[*cycle]struct{}        // rounds that are under way
	preparing *cycle                     // one of them that is getting ready
	failing   bool                       // nothing was accepted when last something was sent: not much is done at once
	maxEvents int                        // events in a round: about what can be sent in its time
	slow      bool                       // the last round took long
}

// queue is what is known of batches that were not taken yet.
type unreadBatches struct {
	batches, events int
	size, stored    int64
	oldest          time.Time // about: of the first of them, or the one before
}

// pop takes away what was taken from it.
func (q *unreadBatches) pop(taken unreadBatches) {
	*q = unreadBatches{q.batches - taken.batches, q.events - taken.events, max(q.size-taken.size, 0), max(q.stored-taken.stored, 0), taken.oldest}
	if q.batches <= 0 {
		*q = unreadBatches{}
	}
}

func unreadOf(unit *journal.StoredBatch) unreadBatches {
	return unreadBatches{batches: 1, events: unit.EventCount, size: unit.Size, stored: unit.StoredBytes, oldest: unit.AgeStart()}
}

// held is a unit of the journal, and of its events only which messages they are of.
type pendingBatch struct {
	position   journal.Position
	origin     uint64
	firstIndex int       // in the batch, of the first event that was left when it was written
	received   time.Time // or redriven
	events     int
	size       int64 // in memory
	stored     int64
	keys       map[uint64]struct{}    // of messages with events that are left
	due        time.Time              // when something can be done
	busy       bool                   // a round has it
	unsaved    []journal.PendingEvent // what is left, but for its bytes, if it could not be put back
}

func newWebhookQueue(t *leadership, webhook string) *webhookQueue {
	return &webhookQueue{
		leadership: t, webhook: webhook, wake: make(chan struct{}, 1), owners: map[uint64][]*pendingBatch{}, active: map[*cycle]struct{}{}, maxEvents: cycleEvents,
	}
}

// notice takes note of a batch that waits.
func (l *webhookQueue) addBatch(notice journal.BatchInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if notice.Seq < l.cursor { // it was taken already
		return
	}
	if l.unread.batches == 0 {
		l.unread.oldest = notice.Received
	}
	l.unread.batches++
	l.unread.events += notice.Events
	l.unread.size += notice.Size
	l.unread.stored += notice.Stored
	l.signal()
}

// nudge has the lane look again.
func (l *webhookQueue) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run works until there is nothing left or the context ends.
func (l *webhookQueue) run(ctx context.Context) {
	defer l.cycles.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := l.routes.Changed()
		wait := l.step(ctx)
		if l.removeIfIdle(l) {
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
func (l *webhookQueue) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unread.batches == 0 && len(l.pending) == 0 && len(l.active) == 0
}

// backlog is what waits: how many events, what they take, and since when the oldest does.
func (l *webhookQueue) backlog() (events int, bytes int64, oldest time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, bytes, oldest = l.unread.events, l.unread.stored, l.unread.oldest
	for _, unit := range l.pending {
		events += unit.events
		bytes += unit.stored
		if oldest.IsZero() || unit.received.Before(oldest) {
			oldest = unit.received
		}
	}
	return events, bytes, oldest
}

const noWait = 24 * time.Hour

// step does what can be done and returns when to look again.
func (l *webhookQueue) step(ctx context.Context) time.Duration {
	route, gone := l.routes.Webhook(l.webhook)
	if route == nil {
		return l.giveUpDeleted(ctx, gone)
	}
	if err := l.clearDeleted(ctx, l.webhook); err != nil {
		l.fail(err)
		return noWait
	}
	if route.Suspend {
		return noWait
	}
	for ctx.Err() == nil {
		next, wait := l.nextCycle(route)
		if next == nil {
			return wait
		}
		l.cycles.Go(func() {
			defer l.cycleEnded(next)
			if err := next.run(ctx); err != nil && ctx.Err() == nil {
				l.fail(err)
			}
		})
	}
	return noWait
}

// orphaned gives up what waits for a webhook that has been gone for long.
func (l *webhookQueue) giveUpDeleted(ctx context.Context, gone bool) time.Duration {
	if !gone || l.idle() { // not all routes are known, or nothing waits any more
		return noWait
	}
	since, err := l.deletedSince(ctx, l.webhook)
	if err != nil {
		l.fail(err)
		return noWait
	}
	if wait := l.deletedRetention - l.now().Sub(since); wait > 0 {
		return wait
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.active) > 0 {
		return noWait // until it ends
	}
	last := &cycle{webhookQueue: l, takeNew: true, memory: l.failingMemory, batches: slices.Clone(l.pending), done: make(chan struct{})}
	for _, unit := range last.batches {
		unit.busy = true
	}
	l.active[last], l.preparing = struct{}{}, last
	l.cycles.Go(func() {
		defer l.cycleEnded(last)
		if err := last.giveUp(ctx); err != nil && ctx.Err() == nil {
			l.fail(err)
		}
	})
	return noWait
}

// next makes a round of what is due, or says when something will be.
func (l *webhookQueue) nextCycle(route *Route) (*cycle, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.preparing != nil || len(l.active) >= maxCycles {
		return nil, noWait // until it is ready, or one ends
	}
	due, wait := l.due(now)
	fresh := l.mayTake()
	if len(due) == 0 && !fresh {
		return nil, wait
	}
	if pause := l.sender.BlockedFor(route.delivery.Target); pause > 0 {
		return nil, pause
	}
	if !l.sender.ClaimProbe(route.delivery.Target) {
		return nil, l.sender.BlockedFor(route.delivery.Target) // another webhook of the sink has claimed it
	}
	next := &cycle{webhookQueue: l, route: route, batches: due, takeNew: fresh, memory: l.memory, done: make(chan struct{})}
	if l.failing || l.slow || l.maxEvents < cycleEvents || len(l.active) > 1 { // the one before the last takes long
		next.memory = l.failingMemory
	}
	for _, unit := range due {
		unit.busy = true
	}
	l.active[next], l.preparing = struct{}{}, next
	return next, 0
}

// mayTake tells whether batches may be taken: not too much is left of others.
func (l *webhookQueue) mayTake() bool {
	if l.unread.batches == 0 {
		return false
	}
	events, unsaved := 0, 0
	for _, unit := range l.pending {
		if l.awaitsOlder(unit) { // it would wait for ever
			return true
		}
		events += unit.events
		if unit.unsaved != nil {
			unsaved++
		}
	}
	return events < maxPendingEvents && unsaved < maxUnsaved
}

// due returns units of which something can be done, or when that will be.
func (l *webhookQueue) due(now time.Time) (list []*pendingBatch, wait time.Duration) {
	wait = noWait
	var size int64
	events := 0
	for _, unit := range l.pending {
		if unit.busy || l.awaitsOlder(unit) {
			continue
		}
		if pause := unit.due.Sub(now); pause > 0 {
			wait = min(wait, pause)
			continue
		}
		if len(list) > 0 && (size+unit.size > l.memory.share() || events >= l.maxEvents || l.failing) {
			break
		}
		list = append(list, unit)
		size, events = size+unit.size, events+unit.events
	}
	return list, wait
}

// ended takes note of the end of a round.
func (l *webhookQueue) cycleEnded(r *cycle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, r)
	close(r.done)
	if l.preparing == r {
		l.preparing = nil
	}
	for _, unit := range r.batches {
		unit.busy = false
	}
	l.signal()
}

// key stands for a message. It is 0 for an event that is of none.
func (d *Dispatcher) orderKey(event mandrill.Event) uint64 {
	if event.MessageID == "" {
		return 0
	}
	return max(maphash.String(d.seed, event.MessageID), 1)
}

// add takes note of a unit, whose events are of some messages.
func (l *webhookQueue) addPending(unit *pendingBatch) {
	at, _ := slices.BinarySearchFunc(l.pending, unit, func(a, b *pendingBatch) int {
		return cmp.Or(cmp.Compare(a.origin, b.origin), -1) // after those of the same
	})
	l.pending = slices.Insert(l.pending, at, unit)
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
func (l *webhookQueue) awaitsOlder(unit *pendingBatch) bool {
	if !unit.position.Remainder || l.cursor > unit.origin {
		return false
	}
	return l.unread.batches > 0 || !l.known.Load()
}

// replace puts what is left of a unit in its place: nothing, itself with fewer messages, or several.
func (l *webhookQueue) replacePending(unit *pendingBatch, before map[uint64]struct{}, by ...*pendingBatch) {
	at := slices.Index(l.pending, unit)
	l.pending = slices.Replace(l.pending, at, at+1, by...)
	now := l.now()
	for key := range before {
		var owners []*pendingBatch
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
func (l *webhookQueue) isFirst(unit *pendingBatch, key uint64, with map[*pendingBatch]bool) bool {
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
