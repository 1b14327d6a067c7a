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
func (r *round) settle(ctx context.Context, one *load) error {
	r.judge(one)
	bounded, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	return r.write(bounded, one)
}

// judge finds out what is left of a unit and what is given up.
func (r *round) judge(one *load) {
	now := r.now()
	for i, entry := range one.entries {
		next := one.sent[i]
		if next == nil || !next.over { // a span that is not ended is not reported
			one.left = append(one.left, entry)
			continue
		}
		if entry.Attempts > 0 || entry.DeadLetterAttempts > 0 {
			r.metrics.redeliveries.Inc()
		}
		after := r.after(entry, next, now)
		var outcome string
		switch reason := r.reason(next, one.unit.Begin(), now); {
		case next.State == sink.Accepted:
			outcome = "accepted"
		case next.State == sink.DeadLettered:
			outcome = "dead letter"
		case reason != "":
			outcome = "buried"
			one.dead = append(one.dead, journal.Dead{Entry: after, Reason: reason, Type: letterType(one.events[i])})
		default:
			one.left = append(one.left, after)
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

// after is an entry after an attempt.
func (r *round) after(entry journal.Entry, sent *attempt, now time.Time) journal.Entry {
	entry.Attempts, entry.DeadLetterAttempts = sent.Attempts, sent.DeadLetterAttempts
	entry.Refused, entry.Exhausted = sent.State == sink.Refused, sent.State == sink.Exhausted
	if sent.Err != nil {
		entry.Status, entry.Answer = sink.Describe(sent.Err)
	}
	entry.Due = time.Time{}
	if pause := r.route.buffered.Pause(&sent.Item); pause > 0 {
		entry.Due = now.Add(pause)
	}
	return entry
}

// reason is why an event is given up; empty if it is not.
func (r *round) reason(sent *attempt, begin, now time.Time) string {
	most, hasDeadLetterSink := r.route.buffered.Retry.Max, r.route.buffered.DeadLetter != nil
	switch {
	case sent.State == sink.Refused && (!hasDeadLetterSink || sent.DeadLetterAttempts > most):
		return journal.ReasonRefused
	case sent.State == sink.Exhausted && (!hasDeadLetterSink || sent.DeadLetterAttempts > most),
		sent.State == sink.Pending && !hasDeadLetterSink && sent.Attempts > most:
		return journal.ReasonExhausted
	case !sent.Settled() && (sent.Err != nil || sent.DeadLetterErr != nil) && now.Sub(begin) > r.maxAge:
		return journal.ReasonExpired
	}
	return ""
}

// write puts what is left of a unit in its place.
func (r *round) write(ctx context.Context, one *load) error {
	if len(one.dead) > 0 {
		if err := r.bury(ctx, one.unit, one.dead); err != nil {
			return err
		}
	}
	switch {
	case len(one.left) == 0:
		if err := r.work.Finish(ctx, one.unit); err != nil {
			return err
		}
		r.logger.Info("Delivered a batch", "route", r.webhook, "events", len(one.entries), "buried", len(one.dead),
			"age", r.now().Sub(one.unit.Begin()).Round(time.Millisecond).String())
		r.settled(one)
	case one.changed || one.held.left != nil:
		return r.putBack(ctx, one)
	default:
		r.postpone(one, one.held, one.left)
	}
	return nil
}

func (r *round) putBack(ctx context.Context, one *load) error {
	units, err := r.work.PutBack(ctx, one.unit, one.left)
	if errors.Is(err, journal.ErrFull) {
		if one.held.left == nil {
			r.logger.Warn("Found no room for what is left of a batch, its place is in memory alone", "route", r.webhook, "events", len(one.left))
		}
		r.postpone(one, one.held, one.left)
		r.remember(one)
		return nil
	}
	if err != nil {
		return err
	}
	parts := make([]*held, len(units))
	for i, unit := range units {
		part, err := open(unit, r.now())
		if err != nil {
			return err
		}
		parts[i] = r.hold(part)
	}
	r.settled(one, parts...)
	for i, unit := range units {
		r.postpone(one, parts[i], unit.Entries)
	}
	r.logger.Debug("Put back what is left of a batch", "route", r.webhook, "events", len(one.left))
	return nil
}

// remember keeps in memory what is left of a unit, whose events are where they were.
func (r *round) remember(one *load) {
	left := slices.Clone(one.left)
	for i := range left {
		left[i].Raw = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	one.held.left = left
}

// settled puts what is left in memory of a unit in its place.
func (r *round) settled(one *load, parts ...*held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace(one.held, one.held.keys, parts...)
}

// postpone finds out when something can be done of a unit.
func (r *round) postpone(one *load, unit *held, left []journal.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	due := now.Add(forever) // or when it is its turn
	before := map[uint64]bool{}
	for _, entry := range left {
		key := r.key(mandrill.ParseEvent(entry.Raw))
		if key != 0 && (before[key] || !r.turn(unit, key, nil)) {
			continue
		}
		before[key] = key != 0
		if entry.Due.Before(due) {
			due = entry.Due
		}
	}
	unit.due = due
	if one.held == unit {
		unit.events = len(left)
	}
}

// bury gives events up.
func (l *lane) bury(ctx context.Context, unit *journal.Unit, dead []journal.Dead) error {
	if err := l.work.Bury(ctx, unit, dead); err != nil {
		return err
	}
	reasons := map[string]int{}
	for _, letter := range dead {
		reasons[letter.Reason]++
	}
	for reason, events := range reasons {
		l.metrics.buried.WithLabelValues(reason).Add(float64(events))
		l.logger.Warn("Gave up events, they are dead letters now", "route", l.webhook, "events", events, "reason", reason)
	}
	return nil
}
