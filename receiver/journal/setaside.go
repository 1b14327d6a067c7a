package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/codec"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const recordKey = "processing"

// newRecord returns the record of what this process processes of a partition. A process may have several; they share its turns.
func (j *Journal) newRecord(s *session, leaseCtx context.Context, number int) *quarantine.Record { //nolint:revive // it is not the context of this call
	failed := func(err error) {
		if leaseCtx.Err() == nil {
			j.logger.Warn("Could not record which batch is processed", "error", err.Error())
		}
	}
	if s.recordFile != "" {
		return quarantine.New(quarantine.NewFile(s.recordFile, failed), quarantine.InFile, j.turns)
	}
	key := recordKey
	if number > 0 { // the first one has the only one before there were partitions
		key += "." + strconv.Itoa(number)
	}
	get := func(ctx context.Context) ([]byte, error) { return s.state.GetOrCreate(ctx, key, []byte("\n")) }
	put := func(data []byte) error {
		ctx, cancel := context.WithTimeout(leaseCtx, s.store.Attempt) // once the lease is lost, the record is another leader's
		defer cancel()
		_, err := s.state.KeyValue.Put(ctx, key, data)
		return err
	}
	return quarantine.New(quarantine.NewBucket(get, put, failed), quarantine.InSharedBuffer, j.turns)
}

// Record is the record of what is being processed. It does nothing until it is opened.
func (c *Consumer) Record() *quarantine.Record { return c.record }

// decode decodes a message in a section of the record, which is under way unless there is an error.
func (c *Consumer) decode(ctx context.Context, position Position, msg *jetstream.RawStreamMsg) (*StoredBatch, error) {
	c.record.Begin(quarantine.Key(position))
	batch, err := c.session.decodeMessage(ctx, position, msg.Header, msg.Data)
	if err != nil {
		c.record.End(quarantine.Key(position))
	}
	return batch, err
}

// decodeOnly decodes a message in a section that has ended when it returns.
func (c *Consumer) decodeOnly(ctx context.Context, position Position, msg *jetstream.RawStreamMsg) (*StoredBatch, error) {
	batch, err := c.decode(ctx, position, msg)
	if err == nil {
		c.record.End(quarantine.Key(position))
	}
	return batch, err
}

// isHeld reports whether a batch stays in the buffer without being read.
func (c *Consumer) isHeld(position Position) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[position]
}

// SetAside makes one dead letter of a whole batch, as it is: it is neither decoded nor changed. It returns what the headers say of
// the batch. The error may be [ErrNotFound], or [ErrFull], after which the batch is held.
func (c *Consumer) SetAside(ctx context.Context, position Position, reason string) (*StoredBatch, error) {
	s := c.session
	msg, err := s.getWaiting(ctx, position)
	if err != nil {
		return nil, err
	}
	batch, err := parseHeaders(position, msg.Header, len(msg.Data))
	if err != nil {
		return nil, errors.Join(ErrNotFound, c.dropDamaged(ctx, position, msg.Header, err))
	}
	letter := newMessage(c.journal.subject(kindDeadLetter, token(batch.Webhook)), msg.Header.Get(headerFormat), batch, 0, msg.Data)
	letter.Header.Set(nats.MsgIdHdr, batch.ID+"/"+position.String())
	letter.Header.Set(headerReason, reason)
	letter.Header.Set(headerDeadLettered, millis(c.journal.now()))
	letter.Header.Set(headerEvent, batch.ID)
	letter.Header.Set(headerChecksum, msg.Header.Get(headerChecksum)) // damage stays visible
	duplicate := false
	err = c.evictUntilStored(ctx, func() (err error) { _, duplicate, err = s.store.Publish(ctx, letter); return err })
	if store.IsFull(err) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.held[position] = true
		return batch, fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return nil, fmt.Errorf("storing a batch as a dead letter: %w", err)
	}
	if !duplicate {
		c.session.shares.Add(batch.Webhook, deadLetterBytes(letter.Header, len(letter.Data)))
	}
	return batch, c.markFinishedAndDelete(ctx, position, batch.ID, "") // its object belongs to the dead letter now
}

// isWholeBatch reports whether a dead letter is a batch that was set aside, as opposed to an event.
func isWholeBatch(header nats.Header) bool {
	return header.Get(headerFormat) == formatBatch || header.Get(headerEvents) != "1"
}

// wholeBatch returns the events of a batch in one piece: the array as it came, or an array of what remains of it.
func (b *StoredBatch) wholeBatch() PendingEvent {
	value := b.Value
	if value == nil {
		value = []byte{'['}
		for i, event := range b.Events {
			if i > 0 {
				value = append(value, ',')
			}
			value = append(value, event.Raw...)
		}
		value = append(value, ']')
	}
	return PendingEvent{ID: b.ID, Raw: value}
}

// redriveBatch stores a batch that was set aside as a batch again, as it is.
func (j *Journal) redriveBatch(ctx context.Context, s *session, seq uint64, letter *StoredBatch, msg *jetstream.RawStreamMsg) error {
	if msg.Header.Get(headerChecksum) != codec.Checksum(msg.Data) {
		return store.ErrDamaged
	}
	batch := *letter
	batch.ID = redrivenID(letter, letter.ID, seq, msg.Header.Get(headerDeadLettered))
	batch.Redriven = j.now()
	again := newMessage(s.subjects.Store(kindBatch, letter.Webhook), msg.Header.Get(headerFormat), &batch, 0, msg.Data)
	_, err := s.publishOnce(ctx, again, batch.ID)
	return err
}
