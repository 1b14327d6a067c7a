package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

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

// Reasons are all of them.
var Reasons = []string{ReasonRefused, ReasonExhausted, ReasonExpired, ReasonOrphaned}

// Dead is an event that is given up, and why.
type Dead struct {
	Entry
	Reason string
	Type   string // of the event, of a kilobyte at most; for those who look
}

// Bury keeps events as dead letters. When there is no room the oldest go. What was buried before, which may be seen again
// after a crash, is not buried twice; a dead letter that was delivered anew is of another batch (see [Journal.Redrive]).
func (w *Work) Bury(ctx context.Context, unit *Unit, dead []Dead) error {
	subject := w.journal.subject(kindDead, token(unit.Webhook))
	for _, letter := range dead {
		letter.Due = time.Time{}
		var parts []*nats.Msg
		err := w.makeRoom(ctx, w.oldestLarge, func() (err error) {
			parts, err = w.pack(ctx, subject, unit, []Entry{letter.Entry})
			return err
		})
		if err != nil {
			return fmt.Errorf("keeping a dead letter: %w", err)
		}
		msg := parts[0]
		msg.Header.Set(nats.MsgIdHdr, unit.Batch+"/"+letter.ID)
		msg.Header.Set(headerReason, letter.Reason)
		msg.Header.Set(headerBuried, millis(w.journal.now()))
		msg.Header.Set(headerEvent, letter.ID)
		msg.Header.Set(headerType, letter.Type)
		msg.Header.Set(headerStatus, strconv.Itoa(letter.Status))
		msg.Header.Set(headerAttempts, strconv.Itoa(letter.Attempts))
		if err := w.makeRoom(ctx, w.oldest, func() error { _, _, err := w.publish(ctx, msg); return err }); err != nil {
			return fmt.Errorf("keeping a dead letter: %w", err)
		}
		if msg.Header.Get(headerLarge) != "" {
			unit.large = "" // the object goes with the dead letter
		}
	}
	return nil
}

// makeRoom tries to store a dead letter, and takes away the oldest as long as there is no room.
func (w *Work) makeRoom(ctx context.Context, oldest func(context.Context) (uint64, nats.Header, error), store func() error) error {
	for {
		err := store()
		if !isFull(err) {
			return err
		}
		seq, header, findErr := oldest(ctx)
		if errors.Is(findErr, ErrNone) {
			return err // it has no room at all
		}
		if findErr != nil {
			return fmt.Errorf("looking for the oldest: %w", findErr)
		}
		removed, err := w.removeDead(ctx, seq, header)
		if err != nil {
			return err
		}
		if removed {
			w.journal.metrics.evicted.Inc()
		}
	}
}

// oldest finds the oldest dead letter, [ErrNone] if there is none.
func (w *Work) oldest(ctx context.Context) (uint64, nats.Header, error) {
	msg, err := w.dead.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(w.journal.subject(kindDead, ">")))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil, ErrNone
	}
	if err != nil {
		return 0, nil, err
	}
	return msg.Sequence, msg.Header, nil
}

// oldestLarge finds the oldest with an object: those are limited by themselves.
func (w *Work) oldestLarge(ctx context.Context) (found uint64, header nats.Header, err error) {
	for next := uint64(0); ; {
		next, err = w.eachLetter(ctx, w.journal.subject(kindDead, ">"), next, func(seq uint64, h nats.Header) bool {
			if h.Get(headerLarge) != "" {
				found, header = seq, h
			}
			return found == 0
		})
		switch {
		case err != nil || found > 0:
			return found, header, err
		case next == 0:
			return 0, nil, ErrNone
		}
	}
}

// removeDead takes a dead letter away, and tells whether it was still there.
func (s *session) removeDead(ctx context.Context, seq uint64, header nats.Header) (removed bool, err error) {
	err = s.dead.DeleteMsg(ctx, seq)
	if err != nil && !isGone(err) {
		return false, fmt.Errorf("removing a dead letter: %w", err)
	}
	removed = err == nil
	if large := header.Get(headerLarge); large != "" {
		if err := s.large.Delete(ctx, large); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			return removed, fmt.Errorf("removing a large event: %w", err)
		}
	}
	return removed, nil
}
