package dispatch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// Outcomes of events.
const (
	outcomeAccepted       = "accepted"
	outcomeDeadLetterSink = "dead_letter_sink"
	outcomeDeadLettered   = "dead_lettered"
	outcomeFailed         = "failed" // in spans alone: it is tried again
)

// settle saves how far the delivery of a batch has come.
func (c *cycle) settle(ctx context.Context, batch *loadedBatch) error {
	c.classify(batch)
	c.consumer().Record().Forget(quarantine.Key(batch.stored.Position)) // the process outlived a cycle with it
	bounded, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	return c.saveProgress(bounded, batch)
}

// classify finds out which events of a batch remain and which are given up.
func (c *cycle) classify(batch *loadedBatch) {
	now, accepted := c.dispatcher().now(), 0
	for i, before := range batch.events {
		event := batch.sent[i]
		if event == nil || !event.done { // a span that does not end is not reported
			batch.remaining, batch.remainingKeys = append(batch.remaining, before), append(batch.remainingKeys, batch.keys[i])
			continue
		}
		if before.Attempts > 0 || before.DeadLetterAttempts > 0 {
			c.dispatcher().metrics.redeliveries.Inc()
		}
		verdict := c.route.Buffered.Verdict(&event.item, now.Sub(batch.stored.AgeStart()), c.dispatcher().maxAge)
		after := afterAttempt(before, &event.item, verdict, now)
		outcome := outcomeAccepted
		switch {
		case verdict.Action == sink.ActionDone && event.item.State == sink.DeadLettered:
			outcome = outcomeDeadLetterSink
		case verdict.Action == sink.ActionDone:
			accepted++
		case verdict.Action == sink.ActionDeadLetter:
			outcome = outcomeDeadLettered
			c.dispatcher().recent.DeadLettered(c.queue.webhook, string(verdict.Reason), &event.item)
			batch.dead = append(batch.dead, journal.DeadLetter{PendingEvent: after, Reason: string(verdict.Reason), Type: mapping.DisplayType(batch.parsed[i])})
		default:
			outcome = outcomeFailed
			batch.remaining, batch.remainingKeys = append(batch.remaining, after), append(batch.remainingKeys, batch.keys[i])
		}
		event.span.End(outcome, event.item.Err)
		if outcome == outcomeFailed {
			batch.changed = batch.changed || progressed(before, after)
			continue
		}
		batch.changed = true
		c.dispatcher().metrics.events.Count(event.label, outcome)
	}
	c.dispatcher().state.Webhook(c.queue.webhook).Delivered(accepted, now.Sub(batch.stored.AgeStart()))
}

// progressed reports whether an attempt that failed changed something that must be saved.
func progressed(before, after journal.PendingEvent) bool {
	return after.Attempts != before.Attempts || after.DeadLetterAttempts != before.DeadLetterAttempts ||
		after.Refused != before.Refused || after.Exhausted != before.Exhausted
}

// afterAttempt returns an event with the result of an attempt.
func afterAttempt(event journal.PendingEvent, item *sink.Item, verdict sink.Verdict, now time.Time) journal.PendingEvent {
	event.Attempts, event.DeadLetterAttempts = item.Attempts, item.DeadLetterAttempts
	event.Refused, event.Exhausted = item.State == sink.Refused, item.State == sink.Exhausted
	if item.Err != nil {
		event.Status, event.Answer = sink.Describe(item.Err)
	}
	event.Due = time.Time{}
	if verdict.After > 0 {
		event.Due = now.Add(verdict.After)
	}
	return event
}

// saveProgress acknowledges a batch that is done, or stores its remaining events in its place.
func (c *cycle) saveProgress(ctx context.Context, batch *loadedBatch) error {
	if len(batch.dead) > 0 {
		if err := c.deadLetter(ctx, batch.stored, batch.dead); err != nil {
			return err
		}
	}
	switch {
	case len(batch.remaining) == 0:
		if err := c.consumer().Ack(ctx, batch.stored); err != nil {
			return err
		}
		d := c.dispatcher()
		d.logger.Info("Delivered a batch", telemetry.BatchAttributes(batch.stored.ID, batch.stored.Trace, "webhook", c.queue.webhook, "events", len(batch.events),
			"deadLettered", len(batch.dead), "ageSeconds", d.now().Sub(batch.stored.AgeStart()).Round(time.Millisecond).Seconds())...)
		c.queue.replacePending(batch.pending)
	case batch.changed || batch.pending.unsaved != nil:
		return c.refill(ctx, batch, func() error { return c.requeue(ctx, batch) })
	default:
		c.schedule(batch.pending, batch.remaining, batch.remainingKeys, true)
	}
	return nil
}

// requeue stores the remaining events of a batch in its place. When the buffer has no space for that they stay in memory.
func (c *cycle) requeue(ctx context.Context, batch *loadedBatch) error {
	d := c.dispatcher()
	stored, err := c.consumer().Requeue(ctx, batch.stored, batch.remaining)
	if errors.Is(err, journal.ErrFull) {
		if batch.pending.unsaved == nil {
			d.logger.Warn("No space to save the progress of a partly delivered batch; a restart will deliver it again",
				"webhook", c.queue.webhook, "events", len(batch.remaining))
		}
		c.schedule(batch.pending, batch.remaining, batch.remainingKeys, true)
		c.holdProgress(batch)
		return nil
	}
	if err != nil {
		return err
	}
	parts := make([]*pendingBatch, len(stored))
	loaded := make([]*loadedBatch, len(stored))
	for i, remainder := range stored {
		if loaded[i], err = d.loadBatch(remainder); err != nil {
			return err
		}
		parts[i] = d.pendingOf(loaded[i])
	}
	c.queue.replacePending(batch.pending, parts...)
	for i, part := range loaded {
		c.schedule(parts[i], part.events, part.keys, false)
	}
	d.logger.Debug("Requeued the remaining events of a batch", "webhook", c.queue.webhook, "events", len(batch.remaining))
	return nil
}

// holdProgress keeps the progress of a batch in memory. Its events stay where they are in the buffer.
func (c *cycle) holdProgress(batch *loadedBatch) {
	remaining := slices.Clone(batch.remaining)
	for i := range remaining {
		remaining[i].Raw = nil
	}
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	batch.pending.unsaved = remaining
}

// schedule sets when the next event of a batch can be sent. Recount says that the batch has fewer events than before.
func (c *cycle) schedule(pending *pendingBatch, remaining []journal.PendingEvent, keys []uint64, recount bool) {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	pending.due = c.queue.order.nextDue(pending, ordered(remaining, keys), c.dispatcher().now())
	if recount {
		pending.events = len(remaining)
	}
}
