package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/checkpoint"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

func (j *Journal) orders(s *session) *erasure.Orders {
	return &erasure.Orders{Store: s.store, State: s.state, Key: s.secretKey, Now: j.now}
}

// OrderErasure leaves an order for the leader to erase events, and returns its id. Any process may call it.
func (j *Journal) OrderErasure(ctx context.Context, request erasure.Request) (id string, err error) {
	s := j.current.Load()
	if s == nil {
		return "", ErrUnavailable
	}
	return j.orders(s).Add(ctx, request)
}

// ErasureResult returns what an order did and forgets the order; nil while the leader has not carried it out.
func (j *Journal) ErasureResult(ctx context.Context, id string) (*erasure.Result, error) {
	s := j.current.Load()
	if s == nil {
		return nil, ErrUnavailable
	}
	return j.orders(s).Result(ctx, id)
}

// Erasures are the orders to erase events.
func (c *Consumer) Erasures() *erasure.Orders { return c.journal.orders(c.session) }

// Erasing returns a consumer that overwrites what it removes. While it is used, nothing else may use the buffer as the leader.
func (c *Consumer) Erasing() *Consumer {
	erasing := c.journal.newConsumer(c.session, c.lease)
	erasing.remove = c.session.store.Erase
	erasing.removeObject = c.session.objects.Erase
	return erasing
}

// ScanDeadLetters hands over dead letters and their events, and ScanBatches batches, and ScanRemainders the messages of remainders.
// They return how many could not be read.
func (c *Consumer) ScanDeadLetters(ctx context.Context, each func(*StoredBatch) error) (unreadable int, err error) {
	return c.scan(ctx, checkpoint.DeadLetters, each)
}

// ScanBatches hands over all batches.
func (c *Consumer) ScanBatches(ctx context.Context, each func(*StoredBatch) error) (unreadable int, err error) {
	return c.scan(ctx, checkpoint.Batches, each)
}

// ScanRemainders hands over the messages of remainders, also those that do not count. See [Consumer.Remainders].
func (c *Consumer) ScanRemainders(ctx context.Context, each func(*StoredBatch) error) (unreadable int, err error) {
	return c.scan(ctx, checkpoint.Remainders, each)
}

func (c *Consumer) scan(ctx context.Context, stream string, each func(*StoredBatch) error) (unreadable int, err error) {
	err = c.session.store.Scan(ctx, c.session.measured()[stream], ">", func(msg *jetstream.RawStreamMsg) error {
		position := Position{Remainder: stream == checkpoint.Remainders, Seq: msg.Sequence}
		batch, err := c.session.decodeMessage(ctx, position, msg.Header, msg.Data)
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, errNewerMessage) {
			unreadable++
			return nil
		}
		if err != nil {
			return err
		}
		return each(batch)
	})
	return unreadable, err
}

// EraseDeadLetter removes a dead letter that [Consumer.ScanDeadLetters] has handed over.
func (c *Consumer) EraseDeadLetter(ctx context.Context, letter *StoredBatch) error {
	if err := c.remove(ctx, c.session.dead, letter.Position.Seq); err != nil {
		return fmt.Errorf("erasing a dead letter: %w", err)
	}
	if letter.object != "" {
		return c.removeObject(ctx, letter.object)
	}
	return nil
}
