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
type attempt struct {
	parcel
	of   *load
	over bool
}

// deliver sends what can be sent, and writes down what has become of a unit as soon as nothing of it is under way any
// more: what is written down is not sent again after a crash.
func (r *round) deliver(ctx context.Context, loads []*load) error {
	items, attempts := r.choose(loads) //nolint:contextcheck // spans go on from the batch's
	over := make(chan *load, len(loads))
	var failed atomic.Bool
	var err error
	var writer sync.WaitGroup
	writer.Go(func() { //nolint:contextcheck // also what was begun before the end is written down
		for one := range over {
			if err == nil {
				err = r.settle(r.work.Right(), one)
				failed.Store(err != nil)
			}
		}
	})
	for _, one := range loads {
		if one.open.Load() == 0 {
			over <- one
		}
	}
	r.send(ctx, items, func(done []*sink.Item) bool {
		for _, item := range done {
			next := attempts[item]
			next.over = true
			if next.of.open.Add(-1) == 0 {
				over <- next.of
			}
		}
		return ctx.Err() == nil && !failed.Load() && time.Since(r.sent) < roundTime
	})
	for _, one := range loads { // that were cut short
		if one.open.Load() > 0 {
			over <- one
		}
	}
	close(over)
	writer.Wait()
	return err
}

// choose makes attempts of the events that can be sent now: they are due, and it is their turn.
func (r *round) choose(loads []*load) (items []*sink.Item, attempts map[*sink.Item]*attempt) {
	with := make(map[*held]bool, len(loads))
	for _, one := range loads {
		with[one.held] = true
	}
	now := r.now()
	skipped := map[uint64]bool{}
	attempts = map[*sink.Item]*attempt{}
	for _, one := range loads {
		chosen := r.ready(one, with, skipped, now)
		ctx := r.tracer.continued(one.unit.Trace)
		one.sent = make([]*attempt, len(one.entries))
		one.open.Store(int64(len(chosen)))
		for _, i := range chosen {
			next := r.attempt(ctx, one, i)
			one.sent[i], attempts[&next.Item] = next, next
			items = append(items, &next.Item)
		}
	}
	return items, attempts
}

// ready returns which events of a unit can be sent now.
func (r *round) ready(one *load, with map[*held]bool, skipped map[uint64]bool, now time.Time) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var chosen []int
	for i, entry := range one.entries {
		key := r.key(one.events[i])
		if key != 0 && (skipped[key] || !r.turn(one.held, key, with)) || entry.Due.After(now) {
			skipped[key] = key != 0
			continue
		}
		chosen = append(chosen, i)
	}
	return chosen
}

// attempt makes an event of a unit ready to be sent.
func (r *round) attempt(ctx context.Context, one *load, i int) *attempt {
	entry, event := one.entries[i], one.events[i]
	ce := r.route.cloudEvent(event, entry.ID)
	next := &attempt{of: one}
	_, next.label = typeOf(event)
	next.span = r.tracer.startEvent(ctx, r.route, next.label, &ce)
	next.Event, next.Order = &ce, event.MessageID
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
func (r *round) send(ctx context.Context, items []*sink.Item, more func(over []*sink.Item) bool) { //nolint:contextcheck // see drainTime
	if len(items) == 0 {
		return
	}
	sending, cancel := context.WithCancel(r.work.Right())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(drainTime):
			cancel()
		case <-sending.Done():
		}
	})()
	var begun atomic.Int64
	r.sender.PassWhile(sending, r.route.buffered, items, func(over []*sink.Item) bool { //nolint:contextcheck // see drainTime
		begun.Add(int64(len(over)))
		return more(over)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dull, r.slow = !slices.ContainsFunc(items, (*sink.Item).Settled), time.Since(r.sent) > slowRound
	if sent := int(begun.Load()); sent < len(items) {
		r.most = max(2*sent, leastEvents)
	} else {
		r.most = min(2*r.most, roundEvents)
	}
}
