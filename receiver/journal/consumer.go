package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// ErrNone is returned when there is nothing to be taken.
var ErrNotFound = errors.New("nothing is there")

// Work is what may be done with what waits, by the one who has the right to deliver it.
type Consumer struct {
	*session
	journal *Journal
	lease   context.Context //nolint:containedctx // it is how one learns of the end
}

// Right ends when somebody else may have the right to deliver, or the journal does not work any more.
func (w *Consumer) LeaseContext() context.Context { return w.lease }

// Rest hands over what is left of batches, in no order, and clears away what a crash has left twice.
func (w *Consumer) Remainders(ctx context.Context, take func(*StoredBatch)) error {
	return w.scan(ctx, w.remainders, ">", func(msg *jetstream.RawStreamMsg) error {
		place := Position{Remainder: true, Seq: msg.Sequence}
		unit, err := w.decodeMessage(ctx, place, msg.Header, msg.Data)
		if errors.Is(err, errDamaged) {
			return w.dropDamaged(ctx, place, err)
		}
		if err != nil {
			return err
		}
		if err := w.finishReplaced(ctx, unit); err != nil {
			return err
		}
		take(unit)
		return nil
	})
}

// replaced takes away what a unit has taken the place of, if it is still there. After a stream was damaged there may be
// another batch at that place.
func (w *Consumer) finishReplaced(ctx context.Context, unit *StoredBatch) error {
	msg, err := w.get(ctx, w.streamOf(unit.parent), unit.parent.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && msg.Header.Get(headerBatch) != unit.Batch {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for what was put back: %w", err)
	}
	return w.markFinishedAndDelete(ctx, unit.parent, unit.Batch, "")
}

// scan reads what a stream has now of some subjects, one message after the other: a consumer may be at a replica that lags
// behind, and end too early.
func (w *Consumer) scan(ctx context.Context, stream jetstream.Stream, subjects string, each func(msg *jetstream.RawStreamMsg) error) error {
	for next := uint64(1); ; {
		msg, err := w.get(ctx, stream, next, jetstream.WithGetMsgSubject(subjects))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a stream: %w", err)
		}
		if err := each(msg); err != nil {
			return err
		}
		next = msg.Sequence + 1
	}
}

// missing is the error for something that was told of and is not there. Where several may deliver, one that lost the
// right may have put something in its place since, which is found when the work is begun anew; or a replica that lags
// behind told of what was gone.
func (w *Consumer) errChanged() error {
	if w.alone {
		return ErrNotFound
	}
	return errors.New("what waits has changed meanwhile")
}

// Take returns the first batch of a webhook at a place or after it, [ErrNone] when there is none.
func (w *Consumer) Next(ctx context.Context, webhook string, from uint64) (*StoredBatch, error) {
	subject := w.journal.subject(kindBatch, token(webhook))
	for none := w.errChanged(); ; none = ErrNotFound {
		msg, err := w.getEventually(ctx, w.batches, max(from, 1), jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, errors.Join(none, w.checkUnreadable(ctx, subject, from))
		}
		if err != nil {
			return nil, fmt.Errorf("reading a batch: %w", err)
		}
		place := Position{Seq: msg.Sequence}
		unit, err := w.decodeMessage(ctx, place, msg.Header, msg.Data)
		if errors.Is(err, errDamaged) {
			if err := w.dropDamaged(ctx, place, err); err != nil {
				return nil, err
			}
			from = msg.Sequence + 1
			continue
		}
		return unit, err
	}
}

// errUnread is of a message that is there and cannot be read.
var errUnreadable = errors.New("the buffer's server does not find a message that it has")

// unread tells whether there is something at a place or after it all the same: of what it cannot read the server says that
// it is not there. Where nobody else uses the streams they are then opened again, by which damage is found.
func (w *Consumer) checkUnreadable(ctx context.Context, subject string, from uint64) error {
	if !w.alone {
		return nil
	}
	last, err := w.batches.GetLastMsgForSubject(ctx, subject)
	if err == nil && last.Sequence < from {
		return nil
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		state, err := w.stateOf(ctx, w.batches, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return err
		}
		if state.Subjects[subject] == 0 {
			return nil
		}
	}
	w.journal.reportUnreadable(w.session)
	return errUnreadable
}

// Load reads a unit again, [ErrNone] when it is gone.
func (w *Consumer) Get(ctx context.Context, place Position) (*StoredBatch, error) {
	msg, err := w.getEventually(ctx, w.streamOf(place), place.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, w.errChanged()
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is left of a batch: %w", err)
	}
	unit, err := w.decodeMessage(ctx, place, msg.Header, msg.Data)
	if errors.Is(err, errDamaged) {
		return nil, errors.Join(ErrNotFound, w.dropDamaged(ctx, place, err))
	}
	return unit, err
}

func (s *session) streamOf(place Position) jetstream.Stream {
	if place.Remainder {
		return s.remainders
	}
	return s.batches
}

// read makes a unit of a message.
func (s *session) decodeMessage(ctx context.Context, place Position, header nats.Header, data []byte) (*StoredBatch, error) {
	unit, err := parseHeaders(place, header, len(data))
	if err != nil {
		return nil, err
	}
	if err := unit.decode(header, data); err != nil {
		return nil, err
	}
	if unit.large == "" {
		return unit, nil
	}
	if len(unit.Events) != 1 {
		return nil, fmt.Errorf("%w: a large event is not alone", errDamaged)
	}
	unit.Events[0].Raw, err = s.getLargeEvent(ctx, unit.large)
	return unit, err
}

// lose takes away a message that cannot be read, and says so.
func (w *Consumer) dropDamaged(ctx context.Context, place Position, cause error) error {
	w.journal.metrics.damaged.Inc()
	w.journal.logger.Error("Lost a message of the buffer", "place", place.String(), "error", cause.Error())
	if err := w.deleteMessage(ctx, w.streamOf(place), place.Seq); err != nil {
		return fmt.Errorf("removing a damaged message: %w", err)
	}
	return nil
}

// Finish takes a unit away, of which everything is done.
func (w *Consumer) Ack(ctx context.Context, unit *StoredBatch) error {
	return w.markFinishedAndDelete(ctx, unit.Position, unit.Batch, unit.large)
}

// PutBack puts what is left of a unit in its place. After an error it is not known whether it did, and the work must be
// begun anew; but for [ErrFull], after which nothing has changed.
func (w *Consumer) Requeue(ctx context.Context, unit *StoredBatch, left []PendingEvent) ([]*StoredBatch, error) {
	subject := w.journal.subject(kindRemainder, token(unit.Webhook))
	rest := *unit
	rest.Value, rest.parent = nil, unit.Position
	parts, err := w.encodeParts(ctx, subject, &rest, left)
	if isFull(err) {
		return nil, fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return nil, err
	}
	var size int64
	for _, msg := range parts {
		size += int64(len(msg.Data))
		msg.Header.Set(headerOrigin, strconv.FormatUint(unit.Origin, 10))
		msg.Header.Set(headerParent, unit.Position.String())
	}
	done, err := w.claimDisk(size, engine.ForRemainders)
	if err != nil {
		w.discardObjects(ctx, parts, unit.large)
		return nil, err
	}
	defer done()
	last, _, err := w.commit(ctx, w.remainders, parts)
	if isFull(err) {
		w.discardObjects(ctx, parts, unit.large)
		return nil, fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return nil, fmt.Errorf("putting back what is left of a batch: %w", err)
	}
	if err := w.markFinishedAndDelete(ctx, unit.Position, unit.Batch, ""); err != nil {
		return nil, err
	}
	units := make([]*StoredBatch, len(parts))
	for i, msg := range parts {
		place := Position{Remainder: true, Seq: last - uint64(len(parts)-1-i)} //nolint:gosec // what is committed together has places in a row
		if units[i], err = parseHeaders(place, msg.Header, len(msg.Data)); err != nil {
			return nil, err
		}
		units[i].Events, left = left[:units[i].EventCount:units[i].EventCount], left[units[i].EventCount:]
	}
	return units, nil
}

// retire takes a message away. Of a batch it is remembered that it was here.
func (w *Consumer) markFinishedAndDelete(ctx context.Context, place Position, batch, large string) error {
	if !place.Remainder {
		err := w.retryWhileNoLeader(ctx, func(ctx context.Context) error {
			_, _, err := w.publish(ctx, nats.NewMsg(w.journal.subject(kindFinished, batch)))
			return err
		})
		if err != nil {
			return fmt.Errorf("remembering a batch: %w", err)
		}
	}
	if err := w.deleteMessage(ctx, w.streamOf(place), place.Seq); err != nil {
		return fmt.Errorf("removing what was delivered: %w", err)
	}
	if large != "" {
		return w.removeLargeEvent(ctx, large)
	}
	return nil
}

// isGone tells whether a message was not there to be removed, of which the client leaves only the words.
func isGone(err error) bool {
	if !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return errors.Is(err, jetstream.ErrMsgNotFound)
	}
	text := err.Error()
	return strings.Contains(text, "not found") || strings.Contains(text, "no message found") || strings.Contains(text, "stream store EOF")
}
