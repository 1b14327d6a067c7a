package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/checkpoint"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/codec"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

func (j *Journal) orders(s *session, number int) *erasure.Orders {
	return &erasure.Orders{Store: s.store, State: s.state, Key: s.secretKey, Now: j.now, Parts: s.subjects.Count, Part: number, PartOf: s.subjects.Partition}
}

// OrderErasure leaves an order for the leader to erase events, and returns its id. Any process may call it.
func (j *Journal) OrderErasure(ctx context.Context, request erasure.Request) (id string, err error) {
	s := j.current.Load()
	if s == nil {
		return "", ErrUnavailable
	}
	return j.orders(s, partition.Whole).Add(ctx, request)
}

// ErasureResult returns what an order did and forgets the order; nil while the leader has not carried it out.
func (j *Journal) ErasureResult(ctx context.Context, id string) (*erasure.Result, error) {
	s := j.current.Load()
	if s == nil {
		return nil, ErrUnavailable
	}
	return j.orders(s, partition.Whole).Result(ctx, id)
}

// Erasures are the orders to erase events, as far as they concern the partition.
func (c *Consumer) Erasures() *erasure.Orders { return c.journal.orders(c.session, c.partition) }

// Erasing returns a consumer that overwrites what it removes. While it is used, nothing else may use the buffer as the leader. What
// it reads is in the record, so that a batch that ends the process is found.
func (c *Consumer) Erasing() *Consumer {
	erasing := c.Counting()
	erasing.record = c.record
	erasing.remove = c.session.store.Erase
	erasing.removeObject = c.session.objects.Erase
	return erasing
}

// Counting returns a consumer that reads while another one delivers. It records nothing, as a batch has only one section at a time.
func (c *Consumer) Counting() *Consumer {
	counting := c.journal.newConsumer(c.session, c.lease, c.partition)
	c.mu.Lock()
	defer c.mu.Unlock()
	counting.held = maps.Clone(c.held)
	return counting
}

// ScanDeadLetters hands over dead letters and their events, and ScanBatches batches, and ScanRemainders the messages of remainders.
// They return how many could not be read. Held batches are not read, nor without withQuarantined are those that were quarantined:
// reading one may end the process.
func (c *Consumer) ScanDeadLetters(ctx context.Context, withQuarantined bool, each func(*StoredBatch) error) (unreadable int, err error) {
	return c.scan(ctx, checkpoint.DeadLetters, withQuarantined, each)
}

// ScanBatches hands over all batches.
func (c *Consumer) ScanBatches(ctx context.Context, each func(*StoredBatch) error) (unreadable int, err error) {
	return c.scan(ctx, checkpoint.Batches, true, each)
}

// ScanRemainders hands over the messages of remainders, also those that do not count. See [Consumer.Remainders].
func (c *Consumer) ScanRemainders(ctx context.Context, each func(*StoredBatch) error) (unreadable int, err error) {
	return c.scan(ctx, checkpoint.Remainders, true, each)
}

func (c *Consumer) scan(ctx context.Context, stream string, withQuarantined bool, each func(*StoredBatch) error) (unreadable int, err error) {
	record := c.record
	if stream == checkpoint.DeadLetters { // it knows batches and remainders by their positions
		record = nil
	}
	subjects, err := c.subjectsIn(ctx, stream)
	if err != nil {
		return 0, err
	}
	err = c.session.store.ScanAll(ctx, c.session.measured()[stream], subjects, func(msg *jetstream.RawStreamMsg) error {
		position := Position{Remainder: stream == checkpoint.Remainders, Seq: msg.Sequence}
		if !c.session.subjects.Has(c.partition, msg.Subject) {
			return nil
		}
		if stream == checkpoint.DeadLetters && !withQuarantined && msg.Header.Get(headerReason) == ReasonQuarantined ||
			stream != checkpoint.DeadLetters && c.isHeld(position) {
			unreadable++
			return nil
		}
		record.Begin(quarantine.Key(position))
		batch, err := c.session.decodeMessage(ctx, position, msg.Header, msg.Data)
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, errNewerMessage) {
			unreadable++
			err = nil
		} else if err == nil {
			err = each(batch)
		}
		record.End(quarantine.Key(position)) // not deferred: a panic must leave the section
		return err
	})
	return unreadable, err
}

// subjectsIn returns the subjects of the partition in a stream. Those of dead letters have no partition.
func (c *Consumer) subjectsIn(ctx context.Context, stream string) (subjects []string, err error) {
	switch {
	case c.partition == partition.Whole:
		return []string{">"}, nil
	case stream == checkpoint.Batches:
		return c.session.subjects.All(kindBatch, c.partition), nil
	case stream == checkpoint.Remainders:
		return c.session.subjects.All(kindRemainder, c.partition), nil
	}
	state, err := c.session.store.State(ctx, c.session.dead, jetstream.WithSubjectFilter(c.journal.subject(kindDeadLetter, ">")))
	if err != nil {
		return nil, err
	}
	for subject := range state.Subjects {
		if c.session.subjects.Has(c.partition, subject) {
			subjects = append(subjects, subject)
		}
	}
	return subjects, nil
}

// EraseFromDeadLetter removes a dead letter that [Consumer.ScanDeadLetters] has handed over. If it is a whole batch, the events that
// remain are stored as a dead letter before, with the same reason and times. After [ErrFull] nothing has changed.
func (c *Consumer) EraseFromDeadLetter(ctx context.Context, letter *StoredBatch, remaining []PendingEvent) error {
	if len(remaining) > 0 {
		if err := c.storeRemaining(ctx, letter, remaining); err != nil {
			return err
		}
	}
	if err := c.session.finished.MarkObject(ctx, letter.object); err != nil {
		return err
	}
	if err := c.remove(ctx, c.session.dead, letter.Position.Seq); err != nil {
		return fmt.Errorf("erasing a dead letter: %w", err)
	}
	if letter.object != "" {
		return c.removeObject(ctx, letter.object)
	}
	return nil
}

// storeRemaining stores what remains of a whole batch among the dead letters. After a crash it may be repeated.
func (c *Consumer) storeRemaining(ctx context.Context, letter *StoredBatch, remaining []PendingEvent) error {
	was, err := c.session.getDeadLetter(ctx, letter.Position.Seq)
	if err != nil {
		return err
	}
	for i, events := range codec.GroupBySize(remaining, c.session.maxMessage) {
		msg, err := c.session.encode(ctx, c.journal.subject(kindDeadLetter, token(letter.Webhook)), letter, events)
		if err == nil {
			copyDeadLetterHeaders(msg.Header, was.Header)
			if len(events) == 1 { // it is a dead letter of one event from now on
				msg.Header.Set(headerEvent, events[0].ID)
			}
			_, err = c.session.publishOnce(ctx, msg, fmt.Sprintf("%s/rest-of-%d/%d", letter.ID, letter.Position.Seq, i))
		}
		if store.IsFull(err) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		if err != nil {
			return fmt.Errorf("storing the rest of a dead letter: %w", err)
		}
	}
	return nil
}

func copyDeadLetterHeaders(to, from nats.Header) {
	for _, name := range []string{headerReason, headerDeadLettered, headerEvent, headerType, headerStatus, headerAttempts} {
		if value := from.Get(name); value != "" {
			to.Set(name, value)
		}
	}
}
