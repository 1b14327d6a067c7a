package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// ErrNotFound is returned for a batch or a dead letter that is not in the buffer.
var ErrNotFound = errors.New("not found")

// Consumer is the leader's handle on the buffer, or on a partition of it. Its methods may be called until [Consumer.LeaseContext] ends.
type Consumer struct {
	session   *session
	journal   *Journal
	partition int             // or partition.Whole
	lease     context.Context //nolint:containedctx // its end is what callers wait for

	announced atomic.Uint64      // sequence up to which Watch has announced batches
	before    atomic.Uint64      // sequence of the last of them under an old subject
	record    *quarantine.Record // nil: nothing is recorded

	// How messages and objects are removed.
	remove       func(context.Context, jetstream.Stream, uint64) error
	removeObject func(context.Context, string) error

	mu         sync.Mutex
	incomplete map[Position][]uint64 // messages of incomplete remainders, by what they were to replace
	held       map[Position]bool     // batches that are not read, and stay where they are
}

// LeaseContext ends when another process may become the leader, or the buffer does not work any more.
func (c *Consumer) LeaseContext() context.Context { return c.lease }

// errBacklogChanged is returned for a message that was announced and is missing. Where streams are shared, a former leader may have
// replaced it, or a replica that lags behind may have announced one that was deleted.
var errBacklogChanged = errors.New("the backlog changed while it was read; delivery restarts")

func (c *Consumer) errMissing() error {
	if c.session.store.Exclusive {
		return ErrNotFound
	}
	return errBacklogChanged
}

// Next returns the first batch of a webhook at a position or after it, [ErrNotFound] when there is none. The caller ends the
// section of the batch in the record.
func (c *Consumer) Next(ctx context.Context, webhook string, from uint64) (*StoredBatch, error) {
	for missing := c.errMissing(); ; missing = ErrNotFound {
		msg, err := c.first(ctx, webhook, max(from, 1))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, errors.Join(missing, c.checkUnreadable(ctx, webhook, from))
		}
		if err != nil {
			return nil, fmt.Errorf("reading a batch: %w", err)
		}
		position := Position{Seq: msg.Sequence}
		if c.isHeld(position) {
			from = msg.Sequence + 1
			continue
		}
		back, err := c.dropIfBack(ctx, position, msg.Header.Get(headerID))
		if err != nil {
			return nil, err
		}
		if !back {
			batch, err := c.decode(ctx, position, msg)
			if !errors.Is(err, store.ErrDamaged) {
				return batch, err
			}
			if err := c.dropDamaged(ctx, position, msg.Header, err); err != nil {
				return nil, err
			}
		}
		from = msg.Sequence + 1
	}
}

// errUnreadable is returned for a message that is in the stream and cannot be read.
var errUnreadable = errors.New("the buffer's server does not find a message that it has")

// checkUnreadable returns [errUnreadable] if the stream still has a message that the server claims not to find: nats-server
// answers "not found" for messages that it cannot read. An exclusive buffer is then opened again, which finds the damage.
func (c *Consumer) checkUnreadable(ctx context.Context, webhook string, from uint64) error {
	if !c.session.store.Exclusive {
		return nil
	}
	subject := c.session.subjects.Store(kindBatch, webhook)
	last, err := c.session.batches.GetLastMsgForSubject(ctx, subject)
	if err == nil && last.Sequence < from {
		return nil
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		state, err := c.session.store.State(ctx, c.session.batches, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return err
		}
		if state.Subjects[subject] == 0 {
			return nil
		}
	}
	c.journal.reportUnreadable(c.session)
	return errUnreadable
}

// Get reads a batch or a remainder again, [ErrNotFound] when it is not there. The caller ends its section in the record.
func (c *Consumer) Get(ctx context.Context, position Position) (*StoredBatch, error) {
	msg, err := c.session.store.GetEventually(ctx, c.session.streamOf(position), position.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, c.errMissing()
	}
	if err != nil {
		return nil, fmt.Errorf("reading a batch: %w", err)
	}
	batch, err := c.decode(ctx, position, msg)
	if errors.Is(err, store.ErrDamaged) {
		return nil, errors.Join(ErrNotFound, c.dropDamaged(ctx, position, msg.Header, err))
	}
	return batch, err
}

// Ack removes a batch or a remainder whose events are all delivered, or dead letters.
func (c *Consumer) Ack(ctx context.Context, batch *StoredBatch) error {
	return c.markFinishedAndDelete(ctx, batch.Position, batch.ID, batch.object)
}

// markFinishedAndDelete deletes a message, and its object if it is given. A batch is first marked as finished, so that it is
// recognised when Mandrill sends it again, and an object, so that its message is no loss if it comes back without it.
func (c *Consumer) markFinishedAndDelete(ctx context.Context, position Position, id, object string) error {
	if err := c.dropIncomplete(ctx, position); err != nil {
		return err
	}
	if !position.Remainder {
		defer c.journal.checkpoint.RemovingBatch()()
		if err := c.session.finished.MarkBatch(ctx, id); err != nil {
			return err
		}
	} else if err := c.session.finished.MarkObject(ctx, object); err != nil {
		return err
	}
	if err := c.remove(ctx, c.session.streamOf(position), position.Seq); err != nil {
		return fmt.Errorf("deleting a batch: %w", err)
	}
	if object != "" {
		return c.removeObject(ctx, object)
	}
	return nil
}

// dropIfBack removes a batch that was finished in an earlier session and has come back, and reports whether it did. A shared buffer has
// no earlier sessions: another process may be replacing the batch just now.
func (c *Consumer) dropIfBack(ctx context.Context, position Position, id string) (back bool, err error) {
	if position.Remainder || position.Seq > c.session.lastOfEarlier {
		return false, nil
	}
	if back, err = c.session.finished.HasBatch(ctx, id); err == nil && back {
		err = c.dropFinished(ctx, position, id)
	}
	return back, err
}

// dropFinished removes a message that has come back after its events were delivered, replaced or removed (package finished).
// A batch is marked again, because the checkpoint counts its removal by the mark.
func (c *Consumer) dropFinished(ctx context.Context, position Position, id string) error {
	c.journal.logger.Info("Removed a message that came back after it had been finished", "position", position.String())
	return c.markFinishedAndDelete(ctx, position, id, "")
}

// dropDamaged removes a message that cannot be read, logs and counts it, unless it was finished before.
func (c *Consumer) dropDamaged(ctx context.Context, position Position, header nats.Header, cause error) error {
	id := header.Get(headerID)
	finished, err := c.session.finished.HasMessage(ctx, position.Remainder, id, header.Get(headerObject))
	if err != nil {
		return err
	}
	if finished {
		return c.dropFinished(ctx, position, id)
	}
	c.journal.metrics.Damaged.Inc()
	if lost := c.journal.lostDamaged; lost != nil {
		lost(header.Get(headerWebhook))
	}
	c.journal.logger.Error("Lost a damaged message of the buffer", "position", position.String(), "error", cause.Error())
	if err := c.session.store.Delete(ctx, c.session.streamOf(position), position.Seq); err != nil {
		return fmt.Errorf("deleting a damaged message: %w", err)
	}
	return nil
}

func (s *session) streamOf(position Position) jetstream.Stream {
	if position.Remainder {
		return s.remainders
	}
	return s.batches
}

// decodeMessage reads a message, and the object of a large event.
func (s *session) decodeMessage(ctx context.Context, position Position, header nats.Header, data []byte) (*StoredBatch, error) {
	batch, err := parseHeaders(position, header, len(data))
	if err != nil {
		return nil, err
	}
	if err := batch.decode(header, data); err != nil {
		return nil, err
	}
	if batch.object == "" {
		return batch, nil
	}
	if len(batch.Events) != 1 {
		return nil, fmt.Errorf("%w: a large event is not alone", store.ErrDamaged)
	}
	batch.Events[0].Raw, err = s.objects.Get(ctx, batch.object, batch.Size)
	return batch, err
}
