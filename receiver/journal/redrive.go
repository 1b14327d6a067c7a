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

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Selection selects dead letters: by number, or by a filter.
type Selection struct {
	Seqs   []uint64 // at most MaxDeadLetters
	Filter DeadLetterFilter
	// After and UpTo bound what the filter selects. With UpTo 0 the bound is the newest dead letter that there is now, so an event
	// that becomes a dead letter meanwhile is not selected.
	After, UpTo uint64
}

// Progress is how far work on dead letters has come.
type Progress struct {
	Count   int      `json:"count"`
	Missing []uint64 `json:"missing,omitempty"` // were not there
	Damaged []uint64 `json:"damaged,omitempty"` // cannot be read, and are still there
	// Next and UpTo are After and UpTo of the selection to continue with; Next is 0 when all is done.
	Next uint64 `json:"next,omitempty"`
	UpTo uint64 `json:"upTo,omitempty"`
}

// Redrive delivers the events of dead letters again, behind the backlog. Each event is stored as a batch of its own before its
// dead letter is removed, so a crash in between loses nothing. Repeating it then, or in two processes at once, adds nothing
// for half a day; after that it adds the event a second time. Any process may call it, leader or not.
//
// It does some of the work, at least one dead letter, and returns its progress, also with an error. The error may be [ErrFull],
// after which the dead letter is as it was, or [ErrUnavailable].
func (j *Journal) Redrive(ctx context.Context, selection Selection) (Progress, error) {
	return j.forEachSelected(ctx, selection, j.redrive)
}

// Purge removes dead letters. Otherwise it is like Redrive.
func (j *Journal) Purge(ctx context.Context, selection Selection) (Progress, error) {
	return j.forEachSelected(ctx, selection, func(ctx context.Context, s *session, seq uint64) error {
		msg, err := s.getDeadLetter(ctx, seq)
		if err != nil {
			return err
		}
		return s.dropDeadLetter(ctx, seq, msg.Header)
	})
}

// dropDeadLetter removes a dead letter, [ErrNotFound] when another process has.
func (s *session) dropDeadLetter(ctx context.Context, seq uint64, header nats.Header) error {
	removed, err := s.removeDeadLetter(ctx, seq, header.Get(headerObject))
	if err == nil && !removed {
		return ErrNotFound
	}
	return err
}

// forEachSelected calls do with each selected dead letter, for progressInterval at most if they are selected by a filter.
func (j *Journal) forEachSelected(ctx context.Context, selection Selection, do func(context.Context, *session, uint64) error) (Progress, error) {
	s := j.current.Load()
	if s == nil {
		return Progress{}, ErrUnavailable
	}
	seqs, progress, byFilter := selection.Seqs, Progress{UpTo: selection.UpTo}, len(selection.Seqs) == 0
	if len(seqs) > MaxDeadLetters {
		return progress, fmt.Errorf("%d dead letters are too many at once", len(seqs))
	}
	if byFilter {
		var err error
		if seqs, err = j.selected(ctx, s, selection, &progress); err != nil {
			return progress, err
		}
	}
	begun := time.Now()
	for i, seq := range seqs {
		if i > 0 && byFilter && time.Since(begun) > progressInterval {
			progress.Next = seqs[i-1]
			return progress, nil
		}
		err := do(ctx, s, seq)
		switch {
		case err == nil:
			progress.Count++
		case errors.Is(err, ErrNotFound):
			if !byFilter { // else another process works on the same
				progress.Missing = append(progress.Missing, seq)
			}
		case errors.Is(err, ErrDamaged):
			j.logger.Error("Skipped a dead letter that cannot be read", "seq", seq, "error", err.Error())
			progress.Damaged = append(progress.Damaged, seq)
		default:
			return progress, err
		}
	}
	return progress, nil
}

// selected returns the numbers of the next dead letters that a filter selects, and notes in progress where to continue.
func (j *Journal) selected(ctx context.Context, s *session, selection Selection, progress *Progress) (seqs []uint64, err error) {
	if progress.UpTo == 0 {
		info, err := s.dead.Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking for the state of the dead letters: %w", err)
		}
		if info.State.Msgs == 0 {
			return nil, nil
		}
		progress.UpTo = info.State.LastSeq
	}
	beyond := false
	progress.Next, err = store.ScanHeaders(ctx, s.dead, j.subject(kindDeadLetter, selection.Filter.token()), selection.After, func(seq uint64, header nats.Header) bool {
		if seq > progress.UpTo {
			beyond = true
			return false
		}
		if selection.Filter.Reason == "" || selection.Filter.Reason == header.Get(headerReason) {
			seqs = append(seqs, seq)
		}
		return len(seqs) < MaxDeadLetters
	})
	if beyond || progress.Next >= progress.UpTo {
		progress.Next = 0
	}
	return seqs, err
}

// redrive stores the event of a dead letter as a batch, and removes the dead letter.
func (j *Journal) redrive(ctx context.Context, s *session, seq uint64) error {
	msg, err := s.getDeadLetter(ctx, seq)
	if err != nil {
		return err
	}
	letter, err := parseHeaders(Position{Seq: seq}, msg.Header, len(msg.Data))
	if err != nil {
		return s.deadLetterError(ctx, seq, err)
	}
	done, err := s.claimDisk(max(letter.Size, int64(len(msg.Data))), engine.ForBatches)
	if err != nil {
		return err
	}
	defer done()
	again := j.redriveEvent
	if isWholeBatch(msg.Header) {
		again = j.redriveBatch
	}
	if err := again(ctx, s, seq, letter, msg); err != nil {
		if store.IsFull(err) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return s.deadLetterError(ctx, seq, err)
	}
	return s.dropDeadLetter(ctx, seq, msg.Header) // not found: another process has redriven it meanwhile, and counts it
}

// redriveEvent stores the event of a dead letter as a batch.
func (j *Journal) redriveEvent(ctx context.Context, s *session, seq uint64, letter *StoredBatch, msg *jetstream.RawStreamMsg) error {
	if err := letter.decode(msg.Header, msg.Data); err != nil {
		return err
	}
	if len(letter.Events) != 1 {
		return store.ErrDamaged
	}
	event := PendingEvent{ID: letter.Events[0].ID, Raw: letter.Events[0].Raw}
	batch := &StoredBatch{
		Webhook: letter.Webhook, ID: redrivenID(letter, event.ID, seq, msg.Header.Get(headerDeadLettered)), Received: letter.Received, Redriven: j.now(),
		Trace: letter.Trace, EventCount: 1, Size: letter.Size,
	}
	return s.appendRedriven(ctx, s.subjects.Store(kindBatch, letter.Webhook), batch, event, letter.object)
}

// redrivenID is the id of a dead letter's event as a batch. It is the same when the dead letter is redriven twice. It differs from all
// ids that the event had before, so the event is a duplicate neither as a batch nor when it becomes a dead letter again.
func redrivenID(letter *StoredBatch, eventID string, seq uint64, deadLettered string) string {
	hash := sha256.New()
	for _, part := range []string{letter.Webhook, letter.ID, eventID, strconv.FormatUint(seq, 10), deadLettered} {
		hash.Write([]byte(part))
		hash.Write([]byte{0})
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// appendRedriven stores an event as a batch. A large event gets a copy of the dead letter's object, which is removed with the
// dead letter. When another process does the same, each makes a copy, and that of the duplicate is discarded.
func (s *session) appendRedriven(ctx context.Context, subject string, batch *StoredBatch, event PendingEvent, object string) error {
	events := []PendingEvent{event}
	var msg *nats.Msg
	var err error
	if object == "" {
		msg, err = s.encode(ctx, subject, batch, events)
	} else {
		batch.object = store.NewName(batch.ID)
		if err = s.objects.Copy(ctx, batch.object, object); err == nil {
			msg, err = newEventsMessage(subject, batch, events)
		}
	}
	if err != nil {
		return err
	}
	_, err = s.publishOnce(ctx, msg, batch.ID)
	return err
}
