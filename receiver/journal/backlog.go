package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/partition"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// WaitingBatch describes a batch in the backlog, or the remainder of one, without its events.
type WaitingBatch struct {
	Position Position  `json:"position"`
	Webhook  string    `json:"webhook"`
	ID       string    `json:"id"`
	Events   int       `json:"events"`
	Stored   int64     `json:"storedBytes"` // compressed; without a large event, which is stored apart
	Received time.Time `json:"received"`
	Redriven time.Time `json:"redriven,omitzero"`
}

// Backlog returns a page of the batches that wait, at most limit and [MaxDeadLetters], beginning after a position: first the
// remainders of older batches, then the batches, each oldest first. An empty webhook selects all. The next page begins after next,
// which is nil on the last page; other pages may be short. Any process may call it, leader or not.
func (j *Journal) Backlog(ctx context.Context, webhook string, after *Position, limit int) (page []WaitingBatch, next *Position, err error) {
	s := j.current.Load()
	if s == nil {
		return nil, nil, ErrUnavailable
	}
	at := Position{Remainder: true}
	if after != nil {
		at = *after
	}
	kind := kindBatch
	if at.Remainder {
		kind = kindRemainder
	}
	subject := j.subject(kind, ">")
	if webhook != "" && s.store.Exclusive { // in a shared buffer it may have two
		subject = s.subjects.Store(kind, webhook)
	}
	limit = min(max(limit, 1), MaxDeadLetters)
	seq, err := store.ScanHeaders(ctx, s.streamOf(at), subject, at.Seq, func(seq uint64, header nats.Header) bool {
		stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
		if batch, err := parseHeaders(Position{Remainder: at.Remainder, Seq: seq}, header, stored); err == nil && (webhook == "" || batch.Webhook == webhook) {
			page = append(page, waiting(batch))
		}
		return len(page) < limit
	})
	switch {
	case err != nil:
		return nil, nil, err
	case seq > 0:
		next = &Position{Remainder: at.Remainder, Seq: seq}
	case at.Remainder && len(page) == 0:
		return j.Backlog(ctx, webhook, &Position{}, limit)
	case at.Remainder:
		next = &Position{}
	}
	return page, next, nil
}

func waiting(batch *StoredBatch) WaitingBatch {
	described := WaitingBatch{
		Position: batch.Position, Webhook: batch.Webhook, ID: batch.ID, Events: batch.EventCount, Stored: batch.StoredBytes, Received: batch.Received.UTC(),
	}
	if !batch.Redriven.IsZero() {
		described.Redriven = batch.Redriven.UTC()
	}
	return described
}

// Waiting returns a batch that waits, and its events in one array. The error may be [ErrNotFound] or [ErrDamaged].
func (j *Journal) Waiting(ctx context.Context, position Position) (WaitingBatch, []byte, error) {
	s := j.current.Load()
	if s == nil {
		return WaitingBatch{}, nil, ErrUnavailable
	}
	msg, err := s.getWaiting(ctx, position)
	if err != nil {
		return WaitingBatch{}, nil, err
	}
	batch, err := s.decodeMessage(ctx, position, msg.Header, msg.Data)
	if errors.Is(err, store.ErrDamaged) {
		return WaitingBatch{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return WaitingBatch{}, nil, err
	}
	return waiting(batch), batch.wholeBatch().Raw, nil
}

// getWaiting reads the message at a position, [ErrNotFound] when it is not there.
func (s *session) getWaiting(ctx context.Context, position Position) (*jetstream.RawStreamMsg, error) {
	if position.Seq == 0 {
		return nil, ErrNotFound
	}
	msg, err := s.store.Get(ctx, s.streamOf(position), position.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading a batch: %w", err)
	}
	return msg, nil
}

// Removed says what became of batches that were taken out of the backlog.
type Removed struct {
	Batches int        `json:"batches"`
	Events  int        `json:"events"`
	Missing []Position `json:"missing,omitempty"` // were not there
}

// Drop removes batches from the backlog for good. When Mandrill sends them again, they are duplicates. It returns what was done, also
// with an error. Any process may call it, leader or not. A batch that is being sent meanwhile may come back as its remainder.
func (j *Journal) Drop(ctx context.Context, positions []Position) (Removed, error) {
	return j.remove(ctx, positions, func(c *Consumer, position Position) (*StoredBatch, error) {
		msg, err := c.session.getWaiting(ctx, position)
		if err != nil {
			return nil, err
		}
		batch, err := parseHeaders(position, msg.Header, len(msg.Data))
		if err != nil { // it is damaged, and has no id
			return &StoredBatch{}, c.dropDamaged(ctx, position, msg.Header, err)
		}
		return batch, c.Ack(ctx, batch)
	})
}

// SetAside makes dead letters of batches: one of each, as it is. Otherwise it is like Drop.
func (j *Journal) SetAside(ctx context.Context, positions []Position) (Removed, error) {
	return j.remove(ctx, positions, func(c *Consumer, position Position) (*StoredBatch, error) {
		return c.SetAside(ctx, position, ReasonSetAside)
	})
}

func (j *Journal) remove(ctx context.Context, positions []Position, do func(*Consumer, Position) (*StoredBatch, error)) (removed Removed, err error) {
	s := j.current.Load()
	if s == nil {
		return removed, ErrUnavailable
	}
	if len(positions) > MaxDeadLetters {
		return removed, fmt.Errorf("%d batches are too many at once", len(positions))
	}
	c := j.newConsumer(s, ctx, partition.Whole)
	for _, position := range positions {
		batch, err := do(c, position)
		if errors.Is(err, ErrNotFound) {
			removed.Missing = append(removed.Missing, position)
			continue
		}
		if err != nil {
			return removed, err
		}
		removed.Batches, removed.Events = removed.Batches+1, removed.Events+batch.EventCount
	}
	return removed, nil
}
