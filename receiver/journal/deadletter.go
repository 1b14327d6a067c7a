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
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// The reasons why an event is a dead letter.
const (
	ReasonRefused        = "refused"         // the sink will never accept it
	ReasonExhausted      = "exhausted"       // its retries are used up
	ReasonExpired        = "expired"         // it could not be delivered for too long
	ReasonWebhookDeleted = "webhook_deleted" // its webhook was deleted
	ReasonQuarantined    = "quarantined"     // the process ended several times while it was processed
	ReasonSetAside       = "set_aside"       // an administrator set it aside
)

// Reasons are all of them.
var Reasons = []string{ReasonRefused, ReasonExhausted, ReasonExpired, ReasonWebhookDeleted, ReasonQuarantined, ReasonSetAside}

// DeadLetter is an event that will not be delivered, and why.
type DeadLetter struct {
	PendingEvent
	Reason string
	Type   string // of the event, at most a kilobyte; only shown
}

// DeadLetter stores events of a batch as dead letters. When there is no space, the oldest dead letters of the webhook that has the
// most bytes of them are removed, so that one webhook cannot push out the dead letters of the others. An event that
// was stored before a crash is not stored twice. A redriven event has another id (see [Journal.Redrive]) and is stored again.
func (c *Consumer) DeadLetter(ctx context.Context, batch *StoredBatch, letters []DeadLetter) error {
	for _, letter := range letters {
		letter.Due = time.Time{}
		msg, err := c.session.encode(ctx, c.journal.subject(kindDeadLetter, token(batch.Webhook)), batch, []PendingEvent{letter.PendingEvent})
		if err != nil {
			return err
		}
		msg.Header.Set(nats.MsgIdHdr, batch.ID+"/"+letter.ID)
		msg.Header.Set(headerReason, letter.Reason)
		msg.Header.Set(headerDeadLettered, millis(c.journal.now()))
		msg.Header.Set(headerEvent, letter.ID)
		msg.Header.Set(headerType, letter.Type)
		msg.Header.Set(headerStatus, strconv.Itoa(letter.Status))
		msg.Header.Set(headerAttempts, strconv.Itoa(letter.Attempts))
		duplicate := false
		err = c.evictUntilStored(ctx, func() (err error) { _, duplicate, err = c.session.store.Publish(ctx, msg); return err })
		if err == nil && !duplicate {
			c.session.shares.Add(batch.Webhook, deadLetterBytes(msg.Header, len(msg.Data)))
		}
		if err != nil {
			return fmt.Errorf("storing a dead letter: %w", err)
		}
		if duplicate {
			c.session.discardObject(ctx, msg, batch.object)
		}
		if msg.Header.Get(headerObject) != "" {
			batch.object = "" // it belongs to the dead letter now
		}
	}
	return nil
}

// evictUntilStored stores a dead letter, and removes the oldest ones as long as there is no space. While the volume is nearly full,
// one is removed for each that is stored, so that they do not grow.
func (c *Consumer) evictUntilStored(ctx context.Context, put func() error) error {
	for nearlyFull := !c.session.disk.Fits(0, engine.ForRemainders); ; nearlyFull = false {
		err := engine.ErrDiskFull
		if !nearlyFull {
			err = put()
		}
		if !nearlyFull && !store.IsFull(err) {
			return err
		}
		evicted, evictErr := c.evictOne(ctx)
		if evictErr != nil {
			return evictErr
		}
		if !evicted && !nearlyFull {
			return err // it does not fit at all
		}
	}
}

// evictOne removes the oldest dead letter of the webhook that has the most bytes of them. It reports false when there is none.
func (c *Consumer) evictOne(ctx context.Context) (bool, error) {
	for {
		webhook, err := c.session.shares.Largest(ctx, c.deadLetterShares)
		if err != nil || webhook == "" {
			return false, err
		}
		oldest, err := c.session.store.Get(ctx, c.session.dead, 1, jetstream.WithGetMsgSubject(c.journal.subject(kindDeadLetter, token(webhook))))
		if errors.Is(err, jetstream.ErrMsgNotFound) { // they were redriven or purged
			c.session.shares.Forget(webhook)
			continue
		}
		if err != nil {
			return false, fmt.Errorf("looking for the oldest dead letter: %w", err)
		}
		removed, err := c.session.removeDeadLetter(ctx, oldest.Sequence, oldest.Header.Get(headerObject))
		if err != nil {
			return false, err
		}
		c.session.shares.Add(webhook, -deadLetterBytes(oldest.Header, len(oldest.Data)))
		if removed {
			c.journal.metrics.Removals.Evicted(webhook)
		}
		return true, nil
	}
}

// removeDeadLetter removes a dead letter and its object if it has one, and reports whether it was still there.
func (s *session) removeDeadLetter(ctx context.Context, seq uint64, object string) (removed bool, err error) {
	if err := s.finished.MarkObject(ctx, object); err != nil {
		return false, err
	}
	bounded, cancel := s.store.WithTimeout(ctx)
	defer cancel()
	err = s.store.RemoveOnce(bounded, s.dead, seq, s.dead.DeleteMsg)
	if err != nil && !store.IsGone(err) {
		return false, fmt.Errorf("removing a dead letter: %w", err)
	}
	removed = err == nil
	if object != "" {
		return removed, s.objects.Remove(ctx, object)
	}
	return removed, nil
}

// deadLetterShares returns how many bytes of dead letters each webhook has.
func (c *Consumer) deadLetterShares(ctx context.Context) (map[string]int64, error) {
	found := map[string]int64{}
	for after, first := uint64(0), true; first || after > 0; first = false {
		next, err := store.ScanHeaders(ctx, c.session.dead, c.journal.subject(kindDeadLetter, ">"), after, func(_ uint64, header nats.Header) bool {
			stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
			found[header.Get(headerWebhook)] += deadLetterBytes(header, stored)
			return true
		})
		if err != nil {
			return nil, err
		}
		after = next
	}
	return found, nil
}

// deadLetterBytes returns what a dead letter takes: its message, and its object if it has one.
func deadLetterBytes(header nats.Header, stored int) int64 {
	bytes := int64(stored) + messageReserve/32 // headers
	if header.Get(headerObject) != "" {
		size, _ := strconv.ParseInt(header.Get(headerSize), 10, 64)
		bytes += size
	}
	return bytes
}
