package dispatch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// outgoingEvent is an event of a batch that is sent in a cycle.
type outgoingEvent struct {
	item  sink.Item
	event cloudevent.Event
	label string // the event's type in metrics
	span  telemetry.EventSpan
	batch *loadedBatch
	// message and recipient are for those who look at recent events.
	message, recipient string
	done               bool
}

// Origin implements [recent.Tagged].
func (e *outgoingEvent) Origin() recent.Origin {
	return recent.Origin{Batch: e.batch.stored.ID, Message: e.message, Recipient: e.recipient}
}

// allAccepted reports whether the sink has accepted all events of a batch of which none is in flight.
func (b *loadedBatch) allAccepted() bool {
	return !slices.ContainsFunc(b.sent, func(event *outgoingEvent) bool { return event == nil || event.item.State != sink.Accepted })
}

// deliver sends what can be sent, and settles each batch as soon as none of its events is in flight: progress that is saved
// is not repeated after a crash. Batches of earlier cycles are settled before.
func (c *cycle) deliver(ctx context.Context, batches []*loadedBatch) error {
	items := c.choose(batches) //nolint:contextcheck // spans continue the batch's
	finished := make(chan *loadedBatch, len(batches))
	var failed atomic.Bool
	var err error
	var settler sync.WaitGroup
	settler.Go(func() { //nolint:contextcheck // progress is saved after a planned stop, too
		for _, earlier := range c.earlier {
			<-earlier.done
		}
		for batch := range finished {
			if err == nil {
				err = c.settle(c.consumer().LeaseContext(), batch)
				failed.Store(err != nil)
			}
		}
	})
	c.unaccepted.Store(int64(len(batches)))
	complete := func(batch *loadedBatch) {
		c.noneInFlight(batch)
		finished <- batch
	}
	for _, batch := range batches {
		if batch.inFlight.Load() == 0 {
			complete(batch)
		}
	}
	c.send(ctx, items, func(done []*sink.Item) bool {
		for _, item := range done {
			event := item.Tag.(*outgoingEvent)
			event.done = true
			if event.batch.inFlight.Add(-1) == 0 {
				complete(event.batch)
			}
		}
		return ctx.Err() == nil && !failed.Load() && time.Since(c.sending) < cycleTime
	})
	for _, batch := range batches { // those that were cut short
		if batch.inFlight.Load() > 0 {
			finished <- batch
		}
	}
	close(finished)
	settler.Wait()
	return err
}

// choose prepares the events that can be sent now: they are due and first of their message.
func (c *cycle) choose(batches []*loadedBatch) (items []*sink.Item) {
	sameCycle := make(map[*pendingBatch]bool, len(batches))
	for _, batch := range batches {
		sameCycle[batch.pending] = true
	}
	now := c.dispatcher().now()
	blocked := map[uint64]bool{}
	for _, batch := range batches {
		c.queue.mu.Lock()
		chosen := c.queue.order.sendable(batch.pending, ordered(batch.events, batch.keys), sameCycle, blocked, now)
		c.queue.mu.Unlock()
		chosen = slices.DeleteFunc(chosen, func(i int) bool { return batch.trimmed && batch.events[i].Raw == nil })
		ctx := c.dispatcher().tracer.Continue(batch.stored.Trace)
		batch.sent = make([]*outgoingEvent, len(batch.events))
		batch.inFlight.Store(int64(len(chosen)))
		end := c.section(batch)()
		var copied int64 // the normal form is not in the batch's memory
		for _, i := range chosen {
			event := c.prepare(ctx, batch, i)
			batch.sent[i], event.item.Tag = event, event
			items = append(items, &event.item)
			copied += int64(len(event.item.Event.Data))
		}
		if c.route.Mapping.Normalize && !c.small {
			c.memory.tryGrow(copied) // the limit is approximate, as in readNext
		}
		end()
	}
	return items
}

// prepare maps an event of a batch and restores how far its delivery has come.
func (c *cycle) prepare(ctx context.Context, batch *loadedBatch, i int) *outgoingEvent {
	pending, parsed := batch.events[i], batch.parsed[i]
	event := &outgoingEvent{
		batch: batch, event: mapping.Map(c.route.Mapping, parsed, pending.ID), label: mapping.LabelOf(parsed), message: parsed.MessageID, recipient: parsed.Email,
	}
	event.span = c.dispatcher().tracer.StartEvent(ctx, c.route.Name, event.label, &event.event)
	event.item = sink.Item{Event: &event.event, OrderKey: mapping.OrderKey(parsed), Attempts: pending.Attempts, DeadLetterAttempts: pending.DeadLetterAttempts}
	if len(pending.Raw) >= largeEvent {
		event.item.BeforeEncoding = c.section(batch)
	}
	switch {
	case pending.Refused:
		event.item.State = sink.Refused
	case pending.Exhausted:
		event.item.State = sink.Exhausted
	}
	if event.item.State != sink.Pending {
		event.item.Err = &sink.Error{Status: pending.Status, Answer: pending.Answer}
	}
	return event
}

// send sends items as long as onDone asks for more. Requests that are under way when the receiver is told to stop get
// drainTime.
func (c *cycle) send(ctx context.Context, items []*sink.Item, onDone func(done []*sink.Item) (goOn bool)) { //nolint:contextcheck // see drainTime
	if len(items) == 0 {
		return
	}
	sending, cancel := context.WithCancel(c.consumer().LeaseContext())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(drainTime):
			cancel()
		case <-sending.Done():
		}
	})()
	var started atomic.Int64
	c.dispatcher().sender.SendUntil(sending, c.route.Buffered, items, func(done []*sink.Item) bool { //nolint:contextcheck // see drainTime
		started.Add(int64(len(done)))
		return onDone(done)
	})
	c.queue.sent(slices.ContainsFunc(items, (*sink.Item).Settled), int(started.Load()), len(items), time.Since(c.sending))
}
