package journal

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/watch"
)

// Watch announces each batch of the partition, in order, calls known when all that were there at the beginning are announced, and
// announces each new one, until the context ends. It returns an error when that is not possible any more.
func (c *Consumer) Watch(ctx context.Context, announce func(BatchInfo), known func()) error {
	s := c.session
	return watch.Stream(ctx, s.store, s.batches, s.subjects.Watch(kindBatch, c.partition), func(ctx context.Context, subject string, header nats.Header, seq uint64) error {
		if !s.subjects.Has(c.partition, subject) {
			return nil
		}
		if s.subjects.IsBefore(kindBatch, subject) {
			c.before.Store(seq)
		}
		position := Position{Seq: seq}
		stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
		batch, err := parseHeaders(position, header, stored)
		if err != nil {
			return c.dropDamaged(ctx, position, header, err)
		}
		c.announced.Store(seq)
		announce(BatchInfo{Seq: seq, Webhook: batch.Webhook, Received: batch.AgeStart(), Events: batch.EventCount, Size: batch.Size, Stored: batch.StoredBytes})
		return nil
	}, known)
}

// first returns the first message with a batch of a webhook at a sequence or after it. It looks under the old subject only if
// there may be one: Watch announces batches in order, so what it has announced tells.
func (c *Consumer) first(ctx context.Context, webhook string, from uint64) (*jetstream.RawStreamMsg, error) {
	s := c.session
	subjects := s.subjects.Webhook(kindBatch, webhook)
	if len(subjects) > 1 && from > c.before.Load() && from <= c.announced.Load() {
		msg, err := s.store.GetFirst(ctx, s.batches, from, subjects[0])
		if err == nil && msg.Sequence <= c.announced.Load() {
			return msg, nil
		}
	}
	return s.store.GetFirstEventually(ctx, s.batches, from, subjects...)
}
