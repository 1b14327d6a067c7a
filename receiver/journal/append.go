package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

// Codes of JetStream's errors.
const (
	codeStoreFailed     = 10077
	codeNoStorage       = 10047
	codeInsufficient    = 10023
	codeDuplicate       = 10201
	codeMessageTooLarge = 10054
	codeNotClustered    = 10074
	codeNoPeers         = 10005
	codeUnavailable     = 10008
	codeNotLeader       = 10009
)

// The headers of messages that are committed together, and the most that may be.
const (
	headerCommitID       = "Nats-Batch-Id"
	headerCommitSequence = "Nats-Batch-Sequence"
	headerCommit         = "Nats-Batch-Commit"
	maxCommit            = 1000
)

// Append keeps a batch and returns when it is on disk. It tells whether the batch was kept before, which may be long
// ago and delivered. The error is [ErrFull] or [ErrUnavailable], wrapped.
func (j *Journal) Append(ctx context.Context, batch Batch) (duplicate bool, err error) {
	s := j.current.Load()
	if s == nil {
		return false, ErrUnavailable
	}
	if s.partitioned() { // waiting for an answer would be in vain
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
	j.metrics.appendDuration.Observe(j.now().Sub(begin).Seconds())
	switch {
	case err == nil && duplicate:
		j.metrics.duplicates.Inc()
	case err == nil:
	case isFull(err):
		return false, fmt.Errorf("%w: %w", ErrFull, err)
	default:
		if !errors.Is(err, context.Canceled) {
			j.fail(s)
		}
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return duplicate, nil
}

const (
	// attemptTime is how long one attempt to store a batch may take while others are left, and one second more for
	// every attemptBytes.
	attemptTimeout = 2 * time.Second
	attemptBytes   = 4 << 20
)

// tryAppend tries again as long as there is time: while a cluster elects another leader nobody answers, and a request that
// was made meanwhile is lost.
func (j *Journal) appendWithRetries(ctx context.Context, s *session, batch Batch) (bool, error) {
	if s.alone {
		return j.appendOnce(ctx, s, batch)
	}
	limit := attemptTimeout + time.Duration(len(batch.Value)/attemptBytes)*time.Second
	for again := false; ; again = true {
		attempt, cancel := context.WithTimeout(ctx, limit)
		duplicate, err := j.appendOnce(attempt, s, batch)
		cancel()
		if err == nil {
			return duplicate && !again, nil // of an earlier attempt the answer may be lost
		}
		if isFull(err) || !s.conn.IsConnected() {
			return false, err
		}
		if s.partitioned() {
			return false, errors.Join(errPartitioned, err)
		}
		select {
		case <-time.After(minPause):
		case <-ctx.Done():
			return false, err
		}
	}
}

func (j *Journal) appendOnce(ctx context.Context, s *session, batch Batch) (bool, error) {
	identity, err := batch.identity(s.secretKey)
	if err != nil {
		return false, err
	}
	unit := &StoredBatch{Webhook: batch.Webhook, Batch: identity, Received: batch.Received, Trace: batch.Trace, EventCount: len(batch.Events)}
	// The server knows the identities of what it has, and this of what was finished before it was started.
	if seen, err := j.isFinished(ctx, s, unit.Batch); seen || err != nil {
		return seen, err
	}
	var compressed []byte
	if len(batch.Value) <= 2*s.maxMessage { // it may fit
		compressed = compress(batch.Value)
	}
	subject := j.subject(kindBatch, token(batch.Webhook))
	if compressed != nil && len(compressed) <= s.maxMessage {
		msg := newMessage(subject, formBatch, unit, len(batch.Value), compressed)
		msg.Header.Set(nats.MsgIdHdr, unit.Batch)
		_, duplicate, err := s.publish(ctx, msg)
		return duplicate, err
	}
	entries := make([]PendingEvent, len(batch.Events))
	for i, raw := range batch.Events {
		entries[i] = PendingEvent{ID: batch.ID(i), Raw: raw}
	}
	parts, err := s.encodeParts(ctx, subject, unit, entries)
	if err != nil {
		return false, err
	}
	for i, msg := range parts {
		msg.Header.Set(nats.MsgIdHdr, unit.Batch+"/"+strconv.Itoa(i))
	}
	_, duplicate, err := s.commit(ctx, s.batches, parts)
	if duplicate || isFull(err) { // after another error it may be there
		s.discardObjects(ctx, parts, "")
	}
	return duplicate, err
}

// wasSeen tells whether a batch was finished, or some of one that was taken apart.
func (j *Journal) isFinished(ctx context.Context, s *session, batch string) (bool, error) {
	_, err := s.finished.GetLastMsgForSubject(ctx, j.subject(kindFinished, batch))
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, fmt.Errorf("looking for the batch: %w", err)
	}
	return err == nil, nil
}

func (s *session) publish(ctx context.Context, msg *nats.Msg) (seq uint64, duplicate bool, err error) {
	ctx, cancel := s.withTimeout(ctx)
	defer cancel()
	ack, err := s.stream.PublishMsg(ctx, msg)
	if err != nil {
		return 0, false, fmt.Errorf("storing: %w", err)
	}
	return ack.Sequence, ack.Duplicate, s.syncDir(ack.Stream)
}

// pack makes messages of entries: one if they fit, else several, and with events that do not fit into one as objects. The
// event of a unit that is an object stays that object.
func (s *session) encodeParts(ctx context.Context, subject string, unit *StoredBatch, entries []PendingEvent) ([]*nats.Msg, error) {
	var parts []*nats.Msg
	for _, group := range groupBySize(entries, s.maxMessage) {
		part := *unit
		part.EventCount, part.Size, part.large = len(group), 0, ""
		if size := encodedSize(group[0]); len(group) == 1 && size > s.maxMessage {
			if unit.large == "" && size <= 2*s.maxMessage { // it may fit, as in a batch that did
				msg, err := encodePart(subject, part, group)
				if err == nil && len(msg.Data) <= s.maxMessage {
					parts = append(parts, msg)
					continue
				}
			}
			raw := group[0].Raw
			if part.large = unit.large; part.large == "" {
				name, err := s.putLargeEvent(ctx, unit, raw)
				if err != nil {
					s.discardObjects(ctx, parts, unit.large)
					return nil, err
				}
				part.large = name
			}
			part.Size = int64(len(raw))
			group = []PendingEvent{group[0]}
			group[0].Raw = nil
		}
		msg, err := encodePart(subject, part, group)
		if err != nil {
			return nil, err
		}
		parts = append(parts, msg)
	}
	return parts, nil
}

func encodePart(subject string, part StoredBatch, group []PendingEvent) (*nats.Msg, error) {
	data, err := encodeEvents(group)
	if err != nil {
		return nil, err
	}
	return newMessage(subject, formEvents, &part, len(data), compress(data)), nil
}

// sizeOf is what an entry takes in a message at most.
func encodedSize(entry PendingEvent) int { return len(entry.Raw) + len(entry.Answer)*6 + eventOverhead }

// entryReserve is for what is known of an event: numbers, a date, its id.
const eventOverhead = 512

// grouped divides entries, in order, into groups that fit into a message each. One that does not is alone.
func groupBySize(entries []PendingEvent, limit int) [][]PendingEvent {
	var groups [][]PendingEvent
	begin, size := 0, 0
	for i, entry := range entries {
		if grown := size + encodedSize(entry); i > begin && grown > limit {
			groups = append(groups, entries[begin:i])
			begin, size = i, 0
		}
		size += encodedSize(entry)
	}
	if begin < len(entries) {
		groups = append(groups, entries[begin:])
	}
	return groups
}

// commit publishes all messages to a stream or none, and returns the place of the last. Events that come later have theirs
// after those of the same webhook that came before.
func (s *session) commit(ctx context.Context, stream jetstream.Stream, parts []*nats.Msg) (last uint64, duplicate bool, err error) {
	if len(parts) == 1 {
		return s.publish(ctx, parts[0])
	}
	if len(parts) > maxCommit {
		return 0, false, fmt.Errorf("the batch has %d parts: the server's max_payload must be larger", len(parts))
	}
	id := nuid.Next()
	for i, msg := range parts {
		msg.Header.Set(headerCommitID, id)
		msg.Header.Set(headerCommitSequence, strconv.Itoa(i+1))
		if i == len(parts)-1 {
			msg.Header.Set(headerCommit, "1")
		}
		bounded, cancel := s.withTimeout(ctx)
		response, err := s.conn.RequestMsgWithContext(bounded, msg)
		cancel()
		if err != nil {
			return 0, false, fmt.Errorf("storing part %d of a batch: %w", i+1, err)
		}
		if len(response.Data) == 0 { // not the last
			continue
		}
		var answer struct {
			Error *jetstream.APIError `json:"error"`
			Seq   uint64              `json:"seq"`
		}
		if err := json.Unmarshal(response.Data, &answer); err != nil {
			return 0, false, fmt.Errorf("storing part %d of a batch: %w", i+1, err)
		}
		if answer.Error != nil && answer.Error.ErrorCode == codeDuplicate {
			return 0, true, s.syncDir(nameOf(stream))
		}
		if answer.Error != nil {
			return 0, false, fmt.Errorf("storing part %d of a batch: %w", i+1, answer.Error)
		}
		last = answer.Seq
	}
	if last == 0 {
		return 0, false, errors.New("storing a batch: the server did not say that it has all of it")
	}
	return last, false, errors.Join(s.syncDir(nameOf(stream)), s.confirm(ctx, stream, last))
}

func nameOf(stream jetstream.Stream) string { return stream.CachedInfo().Config.Name }

// isFull tells whether there is no room, as opposed to a fault. The server has one code for what its store says.
func isFull(err error) bool {
	api := new(jetstream.APIError)
	if !errors.As(err, &api) {
		return false
	}
	if api.ErrorCode == codeStoreFailed {
		return strings.Contains(api.Description, "maximum bytes")
	}
	return slices.Contains([]jetstream.ErrorCode{codeNoStorage, codeInsufficient, codeMessageTooLarge}, api.ErrorCode)
}
