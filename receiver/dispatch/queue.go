package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// webhookQueue is the backlog of one webhook. It is delivered in cycles.
type webhookQueue struct {
	leadership *leadership
	webhook    string
	wake       chan struct{}
	cycles     sync.WaitGroup

	mu        sync.Mutex // guards what follows
	unread    unreadBatches
	order     orderIndex          // batches that were read and are not finished
	active    map[*cycle]struct{} // cycles under way
	preparing *cycle              // the one of them that has not sent anything yet
	failing   bool                // the last cycle that sent something delivered nothing: the next one is small
	maxEvents int                 // of a cycle: about what can be sent in its time
	slow      bool                // the last cycle took long
}

// unreadBatches is what is known of batches that were not read yet.
type unreadBatches struct {
	batches, events int
	size, stored    int64
	oldest          time.Time // approximately: of the first of them, or of the one before
}

func (u *unreadBatches) add(info journal.BatchInfo) {
	if u.batches == 0 {
		u.oldest = info.Received
	}
	u.batches++
	u.events += info.Events
	u.size += info.Size
	u.stored += info.Stored
}

func (u *unreadBatches) remove(read unreadBatches) {
	*u = unreadBatches{u.batches - read.batches, u.events - read.events, max(u.size-read.size, 0), max(u.stored-read.stored, 0), read.oldest}
	if u.batches <= 0 {
		*u = unreadBatches{}
	}
}

func unreadOf(batch *journal.StoredBatch) unreadBatches {
	return unreadBatches{batches: 1, events: batch.EventCount, size: batch.Size, stored: batch.StoredBytes, oldest: batch.AgeStart()}
}

func newWebhookQueue(l *leadership, webhook string) *webhookQueue {
	return &webhookQueue{
		leadership: l, webhook: webhook, wake: make(chan struct{}, 1), order: newOrderIndex(), active: map[*cycle]struct{}{}, maxEvents: cycleEvents,
	}
}

func (q *webhookQueue) addBatch(info journal.BatchInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if info.Seq < q.order.next { // it was read before it was reported
		return
	}
	q.unread.add(info)
	q.signal()
}

// signal wakes the queue.
func (q *webhookQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run delivers until the backlog is empty or the context ends.
func (q *webhookQueue) run(ctx context.Context) {
	defer q.cycles.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := q.leadership.dispatcher.routes.Changed()
		wait := q.step(ctx)
		if q.leadership.removeIfIdle(q) {
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-changed:
		case <-timer.C:
		}
	}
}

// idle reports whether the backlog is empty and no cycle is under way.
func (q *webhookQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unread.batches == 0 && len(q.order.batches) == 0 && len(q.active) == 0
}

func (q *webhookQueue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unread.batches == 0 && len(q.order.batches) == 0
}

// backlog returns how many events wait, the bytes that they take in the buffer, and when the oldest was received.
func (q *webhookQueue) backlog() (events int, bytes int64, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, bytes, oldest = q.unread.events, q.unread.stored, q.unread.oldest
	for _, batch := range q.order.batches {
		events += batch.events
		bytes += batch.stored
		if oldest.IsZero() || batch.received.Before(oldest) {
			oldest = batch.received
		}
	}
	return events, bytes, oldest
}

// step starts the cycles that can be started and returns when to look again.
func (q *webhookQueue) step(ctx context.Context) time.Duration {
	route, gone := q.leadership.dispatcher.routes.Webhook(q.webhook)
	if route == nil {
		return q.stepDeleted(ctx, gone)
	}
	if err := q.leadership.clearDeleted(ctx, q.webhook); err != nil {
		q.leadership.fail(err)
		return noWait
	}
	if route.Suspend {
		return noWait
	}
	for ctx.Err() == nil {
		if started, wait := q.startNext(ctx, route); !started {
			return wait
		}
	}
	return noWait
}

// startNext starts a cycle with what is due, or returns when something will be.
func (q *webhookQueue) startNext(ctx context.Context, route *routing.Route) (started bool, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.leadership.dispatcher
	proven := d.standings.proven(q.webhook)
	if q.preparing != nil || len(q.active) >= maxCycles || !proven && len(q.active) >= smallCycles {
		return false, noWait // its progress is signalled
	}
	due, wait := q.due(d.now())
	takeNew := q.mayTakeNew()
	if len(due) == 0 && !takeNew {
		return false, wait
	}
	if pause := d.sender.BlockedFor(route.Buffered.Target); pause > 0 {
		return false, pause
	}
	if !d.sender.ClaimProbe(route.Buffered.Target) { // the circuit opened since BlockedFor
		return false, d.sender.BlockedFor(route.Buffered.Target)
	}
	c := newCycle(q, route, due, takeNew, q.memoryFor(proven))
	c.small = !proven
	q.start(ctx, c, c.run)
	return true, 0
}

// memoryFor returns the memory for the next cycle. The queue is locked.
func (q *webhookQueue) memoryFor(proven bool) *memoryLimit {
	d := q.leadership.dispatcher
	switch {
	case !proven || q.needed() <= d.smallCycle():
		return d.smallMemory
	case q.slow || q.maxEvents < cycleEvents || q.unaccepted() > 1: // the cycle before the last takes long
		return d.slowMemory
	}
	return d.memory
}

// unaccepted returns how many cycles under way have more to do than to acknowledge batches. The queue is locked.
func (q *webhookQueue) unaccepted() (cycles int) {
	for c := range q.active {
		if !c.isAccepted() {
			cycles++
		}
	}
	return cycles
}

// needed estimates the memory that the whole backlog takes. The queue is locked.
func (q *webhookQueue) needed() int64 {
	needed := q.unread.size + int64(q.unread.events)*eventMemory
	for _, batch := range q.order.batches {
		needed += batch.size
	}
	return needed
}

// start runs a cycle in the background. The queue is locked.
func (q *webhookQueue) start(ctx context.Context, c *cycle, run func(context.Context) error) {
	for _, batch := range c.batches {
		batch.busy = true
	}
	q.active[c], q.preparing = struct{}{}, c
	q.cycles.Go(func() {
		defer q.cycleEnded(c)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			q.leadership.fail(err)
		}
	})
}

// mayTakeNew reports whether batches may be read: the events of others that wait for another attempt are bounded.
func (q *webhookQueue) mayTakeNew() bool {
	if q.unread.batches == 0 {
		return false
	}
	events, unsaved := 0, 0
	for _, batch := range q.order.batches {
		if q.awaitsOlder(batch) { // otherwise it would wait forever
			return true
		}
		events += batch.events
		if batch.unsaved != nil {
			unsaved++
		}
	}
	return events < maxPendingEvents && unsaved < maxUnsaved
}

// due returns the batches with events that can be sent, as many as fit into a cycle, or when there will be one.
func (q *webhookQueue) due(now time.Time) (due []*pendingBatch, wait time.Duration) {
	wait = noWait
	var size int64
	events := 0
	for _, batch := range q.order.batches {
		if batch.busy || q.awaitsOlder(batch) {
			continue
		}
		if pause := batch.due.Sub(now); pause > 0 {
			wait = min(wait, pause)
			continue
		}
		if len(due) > 0 && (size+batch.size > q.leadership.dispatcher.memory.share() || events >= q.maxEvents || q.failing) {
			break
		}
		due = append(due, batch)
		size, events = size+batch.size, events+batch.events
	}
	return due, wait
}

func (q *webhookQueue) awaitsOlder(batch *pendingBatch) bool {
	return q.order.awaitsOlder(batch, q.unread.batches > 0 || !q.leadership.allKnown.Load())
}

// startSending lets the next cycle prepare while a cycle sends.
func (q *webhookQueue) startSending() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.preparing = nil
	q.signal()
}

// others returns the cycles under way except c.
func (q *webhookQueue) others(c *cycle) (others []*cycle) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for other := range q.active {
		if other != c {
			others = append(others, other)
		}
	}
	return others
}

// sent adapts the size of the next cycles to how one went.
func (q *webhookQueue) sent(delivered bool, started, chosen int, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failing, q.slow = !delivered, took > slowCycle
	q.leadership.dispatcher.standings.record(q.webhook, delivered && took <= slowCycle)
	if started < chosen {
		q.maxEvents = max(2*started, minCycleEvents)
	} else {
		q.maxEvents = min(2*q.maxEvents, cycleEvents)
	}
}

func (q *webhookQueue) cycleEnded(c *cycle) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.active, c)
	close(c.done)
	if q.preparing == c {
		q.preparing = nil
	}
	for _, batch := range c.batches {
		batch.busy = false
	}
	q.signal()
}

// accepted notes that the sink has all events of a batch.
func (q *webhookQueue) accepted(batch *pendingBatch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch.accepted = true
}

// replacePending puts parts in the place of a batch, or nothing.
func (q *webhookQueue) replacePending(batch *pendingBatch, parts ...*pendingBatch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.order.replace(batch, batch.keys, q.leadership.dispatcher.now(), parts...)
}
