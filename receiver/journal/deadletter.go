package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// The reasons why an event is a dead letter.
const (
	ReasonRefused        = "refused"         // the sink will never accept it
	ReasonExhausted      = "exhausted"       // its retries are used up
	ReasonExpired        = "expired"         // it could not be delivered for too long
	ReasonWebhookDeleted = "webhook_deleted" // its webhook is gone
)

// Reasons are all of them.
var Reasons = []string{ReasonRefused, ReasonExhausted, ReasonExpired, ReasonWebhookDeleted}

// Dead is an event that is given up, and why.
type DeadLetter struct {
	PendingEvent
	Reason string
	Type   string // of the event, of a kilobyte at most; for those who look
}

// Bury keeps events as dead letters. When there is no room the oldest go. What was buried before, which may be seen again
// after a crash, is not buried twice; a dead letter that was delivered anew is of another batch (see [Journal.Redrive]).
func (w *Consumer) DeadLetter(ctx context.Context, unit *StoredBatch, dead []DeadLetter) error {
	subject := w.journal.subject(kindDead, token(unit.Webhook))
	for _, letter := range dead {
		letter.Due = time.Time{}
		parts, err := w.encodeParts(ctx, subject, unit, []PendingEvent{letter.PendingEvent})
		if err != nil {
			return err
		}
		msg := parts[0]
		msg.Header.Set(nats.MsgIdHdr, unit.Batch+"/"+letter.ID)
		msg.Header.Set(headerReason, letter.Reason)
		msg.Header.Set(headerDeadLettered, millis(w.journal.now()))
		msg.Header.Set(headerEvent, letter.ID)
		msg.Header.Set(headerType, letter.Type)
		msg.Header.Set(headerStatus, strconv.Itoa(letter.Status))
		msg.Header.Set(headerAttempts, strconv.Itoa(letter.Attempts))
		before := false
		err = w.evictUntilStored(ctx, func() (err error) { _, before, err = w.publish(ctx, msg); return err })
		if err != nil {
			return fmt.Errorf("keeping a dead letter: %w", err)
		}
		if before {
			w.discardObjects(ctx, parts, unit.large)
		}
		if msg.Header.Get(headerLarge) != "" {
			unit.large = "" // the object goes with the dead letter
		}
	}
	return nil
}

// makeRoom tries to store a dead letter, and takes away the oldest as long as there is no room. While there is little on the
// volume one goes for one that comes, so that there are not more.
func (w *Consumer) evictUntilStored(ctx context.Context, store func() error) error {
	for little := !w.disk.Fits(0, engine.ForRemainders); ; little = false {
		err := engine.ErrDiskFull
		if !little {
			err = store()
		}
		if !little && !isFull(err) {
			return err
		}
		oldest, getErr := w.get(ctx, w.dead, 1, jetstream.WithGetMsgSubject(w.journal.subject(kindDead, ">")))
		if errors.Is(getErr, jetstream.ErrMsgNotFound) && little {
			continue
		}
		if errors.Is(getErr, jetstream.ErrMsgNotFound) {
			return err // it has no room at all
		}
		if getErr != nil {
			return fmt.Errorf("looking for the oldest: %w", getErr)
		}
		removed, err := w.removeDeadLetter(ctx, oldest.Sequence, oldest.Header)
		if err != nil {
			return err
		}
		if removed {
			w.journal.metrics.evicted.Inc()
		}
	}
}

// removeDead takes a dead letter away, and tells whether it was still there.
func (s *session) removeDeadLetter(ctx context.Context, seq uint64, header nats.Header) (removed bool, err error) {
	bounded, cancel := s.withTimeout(ctx)
	defer cancel()
	err = s.dead.DeleteMsg(bounded, seq)
	if err != nil && !isGone(err) {
		return false, fmt.Errorf("removing a dead letter: %w", err)
	}
	removed = err == nil
	if large := header.Get(headerLarge); large != "" {
		return removed, s.removeLargeEvent(ctx, large)
	}
	return removed, nil
}
