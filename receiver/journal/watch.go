package journal

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/watch"
)

// Watch announces each batch in the buffer, in order, calls known when all that were there at the beginning are announced, and
// announces each new one, until the context ends. It returns an error when that is not possible any more.
func (c *Consumer) Watch(ctx context.Context, announce func(BatchInfo), known func()) error {
	return watch.Stream(ctx, c.session.store, c.session.batches, func(ctx context.Context, header nats.Header, seq uint64) error {
		position := Position{Seq: seq}
		stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
		batch, err := parseHeaders(position, header, stored)
		if err != nil {
			return c.dropDamaged(ctx, position, header, err)
		}
		announce(BatchInfo{Seq: seq, Webhook: batch.Webhook, Received: batch.AgeStart(), Events: batch.EventCount, Size: batch.Size, Stored: batch.StoredBytes})
		return nil
	}, known)
}
