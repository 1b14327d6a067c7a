package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The reasons why an event is a dead letter.
const (
	ReasonRefused   = "refused"   // the sink will never accept it
	ReasonExhausted = "exhausted" // its retries are used up
	ReasonExpired   = "expired"   // it could not be delivered for too long
	ReasonOrphaned  = "orphaned"  // its webhook is gone
)

// Dead is an event that is given up, and why.
type Dead struct {
	Entry
	Reason string
}

// Bury keeps events as dead letters. When there is no room the oldest go.
func (w *Work) Bury(ctx context.Context, unit *Unit, dead []Dead) error {
	subject := w.journal.subject(kindDead, token(unit.Webhook))
	for _, letter := range dead {
		parts, err := w.pack(ctx, subject, unit, []Entry{letter.Entry})
		if err != nil {
			return err
		}
		msg := parts[0]
		msg.Header.Set(nats.MsgIdHdr, unit.Batch+"/"+letter.ID)
		msg.Header.Set(headerReason, letter.Reason)
		msg.Header.Set(headerBuried, millis(w.journal.now()))
		if err := w.makeRoom(ctx, func() error { _, _, err := w.publish(ctx, msg); return err }); err != nil {
			return fmt.Errorf("keeping a dead letter: %w", err)
		}
		if msg.Header.Get(headerLarge) != "" {
			unit.large = "" // the object goes with the dead letter
		}
	}
	return nil
}

// makeRoom tries to store a dead letter, and takes away the oldest as long as there is no room.
func (w *Work) makeRoom(ctx context.Context, store func() error) error {
	for {
		err := store()
		if !isFull(err) {
			return err
		}
		oldest, getErr := w.get(ctx, w.dead, 1, jetstream.WithGetMsgSubject(w.journal.subject(kindDead, ">")))
		if errors.Is(getErr, jetstream.ErrMsgNotFound) {
			return err // it has no room at all
		}
		if getErr != nil {
			return fmt.Errorf("looking for the oldest: %w", getErr)
		}
		if err := w.removeDead(ctx, oldest.Sequence, oldest.Header); err != nil {
			return err
		}
		w.journal.metrics.evicted.Inc()
	}
}

// removeDead takes a dead letter away.
func (s *session) removeDead(ctx context.Context, seq uint64, header nats.Header) error {
	if err := s.remove(ctx, s.dead, seq); err != nil {
		return fmt.Errorf("removing a dead letter: %w", err)
	}
	if large := header.Get(headerLarge); large != "" {
		if err := s.large.Delete(ctx, large); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			return fmt.Errorf("removing a large event: %w", err)
		}
	}
	return nil
}
