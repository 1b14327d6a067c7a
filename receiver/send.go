package receiver

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// attempt is an event of a unit on its way.
type outgoingEvent struct {
	preparedEvent
	batch *loadedBatch
	done  bool
}

// deliver sends what can be sent, and writes down what has become of a unit as soon as nothing of it is under way any
// more: what is written down is not sent again after a crash.
func (r *cycle) deliver(ctx context.Context, loads []*loadedBatch) error {
	items := r.choose(loads) //nolint:contextcheck // spans go on from the batch's
	over := make(chan *loadedBatch, len(loads))
	var failed atomic.Bool
	var err error
	var writer sync.WaitGroup
	writer.Go(func() { //nolint:contextcheck // also what was begun before the end is written down
		for one := range over {
			if err == nil {
				err = r.settle(r.consumer.LeaseContext(), one)
				failed.Store(err != nil)
			}
		}
	})
	for _, one := range loads {
		if one.inFlight.Load() == 0 {
			over <- one
		}
	}
	r.send(ctx, items, func(done []*sink.Item) bool {
		for _, item := range done {
			next := item.Tag.(*outgoingEvent)
			next.done = true
			if next.batch.inFlight.Add(-1) == 0 {
				over <- next.batch
			}
		}
		return ctx.Err() == nil && !failed.Load() && time.Since(r.sent) < cycleTime
	})
	for _, one := range loads { // that were cut short
		if one.inFlight.Load() > 0 {
			over <- one
		}
	}
	close(over)
	writer.Wait()
	return err
}

// choose makes attempts of the events that can be sent now: they are due, and it is their turn.
func (r *cycle) choose(loads []*loadedBatch) (items []*sink.Item) {
	with := make(map[*pendingBatch]bool, len(loads))
	for _, one := range loads {
		with[one.pending] = true
	}
	now := r.now()
	skipped := map[uint64]bool{}
	for _, one := range loads {
		chosen := r.ready(one, with, skipped, now)
		ctx := r.tracer.continued(one.stored.Trace)
		one.sent = make([]*outgoingEvent, len(one.events))
		one.inFlight.Store(int64(len(chosen)))
		for _, i := range chosen {
			next := r.prepare(ctx, one, i)
			one.sent[i], next.Tag = next, next
			items = append(items, &next.Item)
		}
	}
	return items
}

// ready returns which events of a unit can be sent now.
func (r *cycle) ready(one *loadedBatch, with map[*pendingBatch]bool, skipped map[uint64]bool, now time.Time) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var chosen []int
	for i, entry := range one.events {
		key := r.orderKey(one.parsed[i])
		if key != 0 && (skipped[key] || !r.isFirst(one.pending, key, with)) || entry.Due.After(now) {
			skipped[key] = key != 0
			continue
		}
		chosen = append(chosen, i)
	}
	return chosen
}

// attempt makes an event of a unit ready to be sent.
func (r *cycle) prepare(ctx context.Context, one *loadedBatch, i int) *outgoingEvent {
	entry, event := one.events[i], one.parsed[i]
	ce := r.route.cloudEvent(event, entry.ID)
	next := &outgoingEvent{batch: one}
	_, next.label = typeOf(event)
	next.span = r.tracer.startEvent(ctx, r.route, next.label, &ce)
	next.Event, next.OrderKey = &ce, event.MessageID
	next.Attempts, next.DeadLetterAttempts = entry.Attempts, entry.DeadLetterAttempts
	switch {
	case entry.Refused:
		next.State = sink.Refused
	case entry.Exhausted:
		next.State = sink.Exhausted
	}
	if next.State != sink.Pending {
		next.Err = &sink.Error{Status: entry.Status, Answer: entry.Answer}
	}
	return next
}

// send makes attempts as long as there are to be more. What is on its way when the receiver is told to stop has some time.
func (r *cycle) send(ctx context.Context, items []*sink.Item, more func(over []*sink.Item) bool) { //nolint:contextcheck // see drainTime
	if len(items) == 0 {
		return
	}
	sending, cancel := context.WithCancel(r.consumer.LeaseContext())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(drainTime):
			cancel()
		case <-sending.Done():
		}
	})()
	var begun atomic.Int64
	r.sender.SendUntil(sending, r.route.buffered, items, func(over []*sink.Item) bool { //nolint:contextcheck // see drainTime
		begun.Add(int64(len(over)))
		return more(over)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing, r.slow = !slices.ContainsFunc(items, (*sink.Item).Settled), time.Since(r.sent) > slowCycle
	if sent := int(begun.Load()); sent < len(items) {
		r.maxEvents = max(2*sent, minCycleEvents)
	} else {
		r.maxEvents = min(2*r.maxEvents, cycleEvents)
	}
}
