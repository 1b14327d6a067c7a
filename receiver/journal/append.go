package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/codec"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Append stores a batch and returns when it is on disk. It reports whether all of the batch was stored before; it may have been
// delivered since. The error wraps [ErrFull] or [ErrUnavailable].
//
// A batch that does not fit into one message is stored in parts, one after the other. After an error some of them may be stored,
// and are delivered. When Mandrill sends the batch again, these are recognised and the missing ones are added.
func (j *Journal) Append(ctx context.Context, batch Batch) (duplicate bool, err error) {
	s := j.current.Load()
	if s == nil {
		return false, ErrUnavailable
	}
	if s.partitioned() { // nobody would answer
		return false, fmt.Errorf("%w: %w", ErrUnavailable, errPartitioned)
	}
	done, err := s.claimDisk(int64(len(batch.Value)), engine.ForBatches)
	if err != nil {
		return false, err
	}
	defer done()
	begin := j.now()
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	defer context.AfterFunc(s.lifetime, cancel)() //nolint:contextcheck // a server that cannot write does not answer
	duplicate, err = j.appendWithRetries(ctx, s, batch)
	j.metrics.AppendDuration.Observe(j.now().Sub(begin).Seconds())
	if err == nil {
		s.failedAppends.Store(0)
	}
	switch {
	case err == nil && duplicate:
		j.metrics.Duplicates.Inc()
	case err == nil:
	case store.IsFull(err):
		return false, fmt.Errorf("%w: %w", ErrFull, err)
	default:
		if !errors.Is(err, context.Canceled) {
			s.failedAppends.Add(1)
			j.fail(s)
		}
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return duplicate, nil
}

// appendWithRetries tries again as long as there is time where streams are shared: while a leader is elected nobody answers,
// and a request that was sent meanwhile is lost.
func (j *Journal) appendWithRetries(ctx context.Context, s *session, batch Batch) (bool, error) {
	if s.store.RetryFor == 0 {
		return j.appendOnce(ctx, s, batch)
	}
	limit := s.store.Attempt + time.Duration(len(batch.Value)/attemptBytes)*time.Second
	for retry := false; ; retry = true {
		attempt, cancel := context.WithTimeout(ctx, limit)
		duplicate, err := j.appendOnce(attempt, s, batch)
		cancel()
		if err == nil {
			return duplicate && !retry, nil // an earlier attempt may have stored it, and its answer was lost
		}
		if store.IsFull(err) || !s.store.Conn.IsConnected() {
			return false, err
		}
		if s.partitioned() {
			return false, errors.Join(errPartitioned, err)
		}
		if store.Sleep(ctx, store.MinPause) != nil {
			return false, err
		}
	}
}

func (j *Journal) appendOnce(ctx context.Context, s *session, batch Batch) (duplicate bool, err error) {
	identity, err := batch.identity(s.secretKey)
	if err != nil {
		return false, err
	}
	if batch.Identified != nil {
		batch.Identified(identity)
	}
	stored := &StoredBatch{Webhook: batch.Webhook, ID: identity, Received: batch.Received, Trace: batch.Trace, EventCount: len(batch.Events)}
	if finished, err := s.finished.HasBatch(ctx, stored.ID); finished || err != nil {
		return finished, err
	}
	subject := s.subjects.Store(kindBatch, batch.Webhook)
	if len(batch.Value) <= 2*s.maxMessage { // it may fit when it is compressed
		if compressed := codec.Compress(batch.Value); len(compressed) <= s.maxMessage {
			return s.publishOnce(ctx, newMessage(subject, formatBatch, stored, len(batch.Value), compressed), stored.ID)
		}
	}
	return s.appendParts(ctx, subject, stored, batch)
}

// appendParts stores what is missing of a batch that does not fit into one message. Each part is on disk before the next one is
// sent, so what a crash leaves is the beginning of the batch, and later events come after earlier ones.
func (s *session) appendParts(ctx context.Context, subject string, whole *StoredBatch, batch Batch) (duplicate bool, err error) {
	ids := batch.IDs()
	events := make([]PendingEvent, len(batch.Events))
	for i, raw := range batch.Events {
		events[i] = PendingEvent{ID: ids[i], Raw: raw}
	}
	duplicate = true
	first := 0
	for _, group := range codec.GroupBySize(events, s.maxMessage) {
		// The id names the events, not the number of the part: a server with another max_payload has other parts.
		part := *whole
		part.ID = fmt.Sprintf("%s/%d-%d", whole.ID, first, first+len(group)-1)
		first += len(group)
		known, err := s.appendPart(ctx, subject, &part, group)
		if err != nil {
			return false, fmt.Errorf("storing a part of a batch: %w", err)
		}
		duplicate = duplicate && known
	}
	return duplicate, nil
}

func (s *session) appendPart(ctx context.Context, subject string, part *StoredBatch, events []PendingEvent) (duplicate bool, err error) {
	if finished, err := s.finished.HasBatch(ctx, part.ID); finished || err != nil {
		return finished, err
	}
	msg, err := s.encode(ctx, subject, part, events)
	if err != nil {
		return false, err
	}
	return s.publishOnce(ctx, msg, part.ID)
}

// publishOnce stores a message unless the server has one with the same id. It removes the message's object when the
// message is not stored.
func (s *session) publishOnce(ctx context.Context, msg *nats.Msg, id string) (duplicate bool, err error) {
	msg.Header.Set(nats.MsgIdHdr, id)
	_, duplicate, err = s.store.Publish(ctx, msg)
	if duplicate || store.IsFull(err) { // after another error it may be stored
		s.discardObject(ctx, msg, "")
	}
	return duplicate, err
}

// encode makes a message of events that codec.GroupBySize has found to fit into one, or of a single larger event. That becomes an
// object, unless it fits when it is compressed; if it is an object already, it stays that object.
func (s *session) encode(ctx context.Context, subject string, batch *StoredBatch, events []PendingEvent) (*nats.Msg, error) {
	part := *batch
	part.EventCount, part.Size, part.object = len(events), 0, ""
	size := codec.Size(events[0])
	if len(events) > 1 || size <= s.maxMessage {
		return newEventsMessage(subject, &part, events)
	}
	if batch.object == "" && size <= 2*s.maxMessage {
		msg, err := newEventsMessage(subject, &part, events)
		if err != nil || len(msg.Data) <= s.maxMessage {
			return msg, err
		}
	}
	event := events[0]
	if part.object = batch.object; part.object == "" {
		part.object = store.NewName(batch.ID)
		if err := s.objects.Put(ctx, part.object, event.Raw); err != nil {
			return nil, err
		}
	}
	part.Size = int64(len(event.Raw))
	event.Raw = nil
	return newEventsMessage(subject, &part, []PendingEvent{event})
}
