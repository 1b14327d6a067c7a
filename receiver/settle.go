package receiver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// settle writes down what has become of a unit.
func (r *cycle) settle(ctx context.Context, one *loadedBatch) error {
	r.classify(one)
	bounded, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	return r.saveProgress(bounded, one)
}

// judge finds out what is left of a unit and what is given up.
func (r *cycle) classify(one *loadedBatch) {
	now := r.now()
	for i, entry := range one.events {
		next := one.sent[i]
		if next == nil || !next.done { // a span that is not ended is not reported
			one.remaining = append(one.remaining, entry)
			continue
		}
		if entry.Attempts > 0 || entry.DeadLetterAttempts > 0 {
			r.metrics.redeliveries.Inc()
		}
		verdict := r.route.buffered.Verdict(&next.Item, now.Sub(one.stored.AgeStart()), r.maxAge)
		after := afterAttempt(entry, next, verdict, now)
		outcome := "accepted"
		switch {
		case verdict.Action == sink.ActionDone && next.State == sink.DeadLettered:
			outcome = "dead_letter_sink"
		case verdict.Action == sink.ActionDone:
		case verdict.Action == sink.ActionDeadLetter:
			outcome = "dead_lettered"
			one.dead = append(one.dead, journal.DeadLetter{PendingEvent: after, Reason: string(verdict.Reason), Type: deadLetterType(one.parsed[i])})
		default:
			one.remaining = append(one.remaining, after)
			one.changed = one.changed || after.Attempts != entry.Attempts || after.DeadLetterAttempts != entry.DeadLetterAttempts ||
				after.Refused != entry.Refused || after.Exhausted != entry.Exhausted
			endEvent(next.span, "failed", next.Err)
			continue
		}
		one.changed = true
		r.metrics.events.WithLabelValues(next.label, outcome).Inc()
		endEvent(next.span, outcome, next.Err)
	}
}

// afterAttempt returns the entry as it is to be stored after an attempt.
func afterAttempt(entry journal.PendingEvent, sent *outgoingEvent, verdict sink.Verdict, now time.Time) journal.PendingEvent {
	entry.Attempts, entry.DeadLetterAttempts = sent.Attempts, sent.DeadLetterAttempts
	entry.Refused, entry.Exhausted = sent.State == sink.Refused, sent.State == sink.Exhausted
	if sent.Err != nil {
		entry.Status, entry.Answer = sink.Describe(sent.Err)
	}
	entry.Due = time.Time{}
	if verdict.After > 0 {
		entry.Due = now.Add(verdict.After)
	}
	return entry
}

// write puts what is left of a unit in its place.
func (r *cycle) saveProgress(ctx context.Context, one *loadedBatch) error {
	if len(one.dead) > 0 {
		if err := r.deadLetter(ctx, one.stored, one.dead); err != nil {
			return err
		}
	}
	switch {
	case len(one.remaining) == 0:
		if err := r.consumer.Ack(ctx, one.stored); err != nil {
			return err
		}
		r.logger.Info("Delivered a batch", "webhook", r.webhook, "events", len(one.events), "dead_lettered", len(one.dead),
			"age", r.now().Sub(one.stored.AgeStart()).Round(time.Millisecond).String())
		r.replaceSettled(one)
	case one.changed || one.pending.unsaved != nil:
		return r.requeue(ctx, one)
	default:
		r.schedule(one, one.pending, one.remaining)
	}
	return nil
}

func (r *cycle) requeue(ctx context.Context, one *loadedBatch) error {
	units, err := r.consumer.Requeue(ctx, one.stored, one.remaining)
	if errors.Is(err, journal.ErrFull) {
		if one.pending.unsaved == nil {
			r.logger.Warn("Found no room for what is left of a batch, its place is in memory alone", "webhook", r.webhook, "events", len(one.remaining))
		}
		r.schedule(one, one.pending, one.remaining)
		r.holdProgress(one)
		return nil
	}
	if err != nil {
		return err
	}
	parts := make([]*pendingBatch, len(units))
	for i, unit := range units {
		part, err := loadBatch(unit, r.now())
		if err != nil {
			return err
		}
		parts[i] = r.pendingOf(part)
	}
	r.replaceSettled(one, parts...)
	for i, unit := range units {
		r.schedule(one, parts[i], unit.Events)
	}
	r.logger.Debug("Put back what is left of a batch", "webhook", r.webhook, "events", len(one.remaining))
	return nil
}

// remember keeps in memory what is left of a unit, whose events are where they were.
func (r *cycle) holdProgress(one *loadedBatch) {
	left := slices.Clone(one.remaining)
	for i := range left {
		left[i].Raw = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	one.pending.unsaved = left
}

// settled puts what is left in memory of a unit in its place.
func (r *cycle) replaceSettled(one *loadedBatch, parts ...*pendingBatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replacePending(one.pending, one.pending.keys, parts...)
}

// postpone finds out when something can be done of a unit.
func (r *cycle) schedule(one *loadedBatch, unit *pendingBatch, left []journal.PendingEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	due := now.Add(noWait) // or when it is its turn
	before := map[uint64]bool{}
	for _, entry := range left {
		key := r.orderKey(mandrill.ParseEvent(entry.Raw))
		if key != 0 && (before[key] || !r.isFirst(unit, key, nil)) {
			continue
		}
		before[key] = key != 0
		if entry.Due.Before(due) {
			due = entry.Due
		}
	}
	unit.due = due
	if one.pending == unit {
		unit.events = len(left)
	}
}

// bury gives events up.
func (l *webhookQueue) deadLetter(ctx context.Context, unit *journal.StoredBatch, dead []journal.DeadLetter) error {
	if err := l.consumer.DeadLetter(ctx, unit, dead); err != nil {
		return err
	}
	reasons := map[string]int{}
	for _, letter := range dead {
		reasons[letter.Reason]++
	}
	for reason, events := range reasons {
		l.metrics.deadLettered.WithLabelValues(reason).Add(float64(events))
		l.logger.Warn("Gave up events, they are dead letters now", "webhook", l.webhook, "events", events, "reason", reason)
	}
	return nil
}
