package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// Selection says which dead letters are meant: those with some numbers, or all that the filter chooses.
type Selection struct {
	Seqs   []uint64 // up to MaxLetters
	Filter DeadLetterFilter
	// After and UpTo bound those that the filter chooses. With UpTo 0 these are the ones that there are now: what is
	// buried meanwhile, and what is buried again, is not meant.
	After, UpTo uint64
}

// Done is how far work on dead letters has come.
type Progress struct {
	Count   int      `json:"count"`
	Missing []uint64 `json:"missing,omitempty"` // these were not there
	Damaged []uint64 `json:"damaged,omitempty"` // these cannot be read, and were left where they are
	// Next and UpTo are what to go on with, as After and UpTo; Next is 0 when all is done.
	Next uint64 `json:"next,omitempty"`
	UpTo uint64 `json:"upTo,omitempty"`
}

const (
	// workTime is how long work on dead letters goes on before it tells how far it has come.
	progressInterval = 10 * time.Second
	// copyTime bounds copying a large event.
	copyTimeout = 5 * time.Minute
)

// Redrive has the events of dead letters delivered anew, after all that waits now. An event is kept as a batch of its own,
// on disk, before its dead letter is removed, so a crash in between loses nothing; doing it again then, or at the same
// time, adds nothing for half a day, and later the event twice. Several may do this, with the right to deliver or without.
//
// It does some of the work, at least one dead letter, and says how far it has come, also with an error. The error is
// [ErrFull], after which nothing was done to the dead letter, or [ErrUnavailable], or another.
func (j *Journal) Redrive(ctx context.Context, selection Selection) (Progress, error) {
	return j.forEachSelected(ctx, selection, j.redrive)
}

// Purge removes dead letters, as Redrive does in all else.
func (j *Journal) Purge(ctx context.Context, selection Selection) (Progress, error) {
	return j.forEachSelected(ctx, selection, func(ctx context.Context, s *session, seq uint64) error {
		msg, err := s.getDeadLetter(ctx, seq)
		if err != nil {
			return err
		}
		return s.dropDeadLetter(ctx, seq, msg.Header)
	})
}

// dropDead removes a dead letter, [ErrNone] when another has.
func (s *session) dropDeadLetter(ctx context.Context, seq uint64, header nats.Header) error {
	removed, err := s.removeDeadLetter(ctx, seq, header)
	if err == nil && !removed {
		return ErrNotFound
	}
	return err
}

// each does something with each dead letter of a selection, for some time.
func (j *Journal) forEachSelected(ctx context.Context, selection Selection, do func(context.Context, *session, uint64) error) (Progress, error) {
	s := j.current.Load()
	if s == nil {
		return Progress{}, ErrUnavailable
	}
	seqs, done := selection.Seqs, Progress{UpTo: selection.UpTo}
	if len(seqs) > MaxDeadLetters {
		return done, fmt.Errorf("%d dead letters are too many at once", len(seqs))
	}
	if len(seqs) == 0 {
		var err error
		if seqs, err = j.selected(ctx, s, selection, &done); err != nil {
			return done, err
		}
	}
	begun := time.Now()
	for i, seq := range seqs {
		if i > 0 && len(selection.Seqs) == 0 && time.Since(begun) > progressInterval {
			done.Next = seqs[i-1]
			return done, nil
		}
		err := do(ctx, s, seq)
		switch {
		case err == nil:
			done.Count++
		case errors.Is(err, ErrNotFound):
			done.Missing = append(done.Missing, seq)
		case errors.Is(err, ErrDamaged):
			j.logger.Error("Left a dead letter that cannot be read", "seq", seq, "error", err.Error())
			done.Damaged = append(done.Damaged, seq)
		default:
			return done, err
		}
	}
	if len(selection.Seqs) == 0 {
		done.Missing = nil // others have worked on them
	}
	return done, nil
}

// selected returns the numbers of the next dead letters that a filter chooses, and takes down where to go on.
func (j *Journal) selected(ctx context.Context, s *session, selection Selection, done *Progress) (seqs []uint64, err error) {
	if done.UpTo == 0 {
		info, err := s.dead.Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking for the state of the dead letters: %w", err)
		}
		if info.State.Msgs == 0 {
			return nil, nil
		}
		done.UpTo = info.State.LastSeq
	}
	beyond := false
	done.Next, err = scanHeaders(ctx, s.dead, j.subject(kindDead, selection.Filter.token()), selection.After, func(seq uint64, header nats.Header) bool {
		if seq > done.UpTo {
			beyond = true
			return false
		}
		if selection.Filter.Reason == "" || selection.Filter.Reason == header.Get(headerReason) {
			seqs = append(seqs, seq)
		}
		return len(seqs) < MaxDeadLetters
	})
	if beyond || done.Next >= done.UpTo {
		done.Next = 0
	}
	return seqs, err
}

// redrive has the event of one dead letter delivered anew.
func (j *Journal) redrive(ctx context.Context, s *session, seq uint64) error {
	msg, err := s.getDeadLetter(ctx, seq)
	if err != nil {
		return err
	}
	unit, err := parseHeaders(Position{Seq: seq}, msg.Header, len(msg.Data))
	if err == nil {
		err = unit.decode(msg.Header, msg.Data)
	}
	if err == nil && len(unit.Events) != 1 {
		err = errDamaged
	}
	if err != nil {
		return s.checkReadable(ctx, seq, err)
	}
	// Neither a duplicate of what it was nor of what it will be if it is buried again: for the batches, for those that were
	// finished, or for the dead letters.
	fresh := &StoredBatch{
		Webhook: unit.Webhook, Batch: generation(unit, seq, msg.Header.Get(headerDeadLettered)), Received: unit.Received, Redriven: j.now(),
		Trace: unit.Trace, EventCount: 1, Size: unit.Size,
	}
	entry := PendingEvent{ID: unit.Events[0].ID, Raw: unit.Events[0].Raw}
	done, err := s.claimDisk(max(unit.Size, int64(len(msg.Data))), engine.ForBatches)
	if err != nil {
		return err
	}
	defer done()
	if err := s.appendRedriven(ctx, j.subject(kindBatch, token(unit.Webhook)), fresh, entry, unit.large); err != nil {
		if isFull(err) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return s.checkReadable(ctx, seq, err)
	}
	if err := s.dropDeadLetter(ctx, seq, msg.Header); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// generation is the identity of a dead letter's event as a batch, which is the same if it is done again and not if it is
// buried again.
func generation(unit *StoredBatch, seq uint64, buried string) string {
	hash := sha256.New()
	for _, part := range []string{unit.Webhook, unit.Batch, unit.Events[0].ID, strconv.FormatUint(seq, 10), buried} {
		hash.Write([]byte(part))
		hash.Write([]byte{0})
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// appendAnew keeps an event as a batch, with an object of its own if it is large: that of the dead letter goes with it.
func (s *session) appendRedriven(ctx context.Context, subject string, unit *StoredBatch, entry PendingEvent, large string) error {
	if large == "" {
		parts, err := s.encodeParts(ctx, subject, unit, []PendingEvent{entry})
		if err != nil {
			return err
		}
		parts[0].Header.Set(nats.MsgIdHdr, unit.Batch)
		_, duplicate, err := s.publish(ctx, parts[0])
		if duplicate || isFull(err) { // after another error it may be there
			s.discardObjects(ctx, parts, "")
		}
		return err
	}
	// Somebody else may do the same, and only one of the objects is that of the batch.
	unit.large = unit.Batch + "-" + nuid.Next()
	if err := s.copyObject(ctx, unit.large, large); err != nil {
		return err
	}
	data, err := encodeEvents([]PendingEvent{entry})
	if err != nil {
		return err
	}
	msg := newMessage(subject, formEvents, unit, len(data), compress(data))
	msg.Header.Set(nats.MsgIdHdr, unit.Batch)
	_, duplicate, err := s.publish(ctx, msg)
	if duplicate || isFull(err) {
		s.discardObjects(ctx, []*nats.Msg{msg}, "")
	}
	return err
}

// copyLarge copies an object, of which never more than a part is in memory.
func (s *session) copyObject(ctx context.Context, to, from string) error {
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	object, err := s.objectStore.Get(ctx, from)
	if err == nil {
		defer object.Close() //nolint:errcheck // read to its end
		err = s.putObject(ctx, to, object)
	}
	if errors.Is(err, jetstream.ErrObjectNotFound) || errors.Is(err, jetstream.ErrDigestMismatch) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("copying a large event: %w", err)
	}
	return s.syncDir(nameOf(s.objects))
}
