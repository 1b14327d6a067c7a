package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// DeadLetterInfo describes a dead letter without its event and without the sink's answer: it has no payload and no addresses.
type DeadLetterInfo struct {
	Seq          uint64    `json:"seq"` // its number, which is never used again
	Webhook      string    `json:"webhook"`
	Type         string    `json:"type,omitempty"`
	ID           string    `json:"id"`
	Reason       string    `json:"reason"`
	Status       int       `json:"status,omitempty"` // of the sink's last answer; 0: there was none
	Attempts     int       `json:"attempts"`
	Received     time.Time `json:"received"`
	DeadLettered time.Time `json:"deadLettered"`
	Redriven     time.Time `json:"redriven,omitzero"` // when it was a dead letter before and was redriven
	Events       int       `json:"events,omitempty"`  // of a whole batch that was set aside: how many it has
}

// DeadLetterFilter selects dead letters. An empty field selects all.
type DeadLetterFilter struct{ Webhook, Reason string }

// ErrDamaged is returned for a dead letter that cannot be read.
var ErrDamaged = errors.New("the dead letter cannot be read")

// DeadLetters returns a page of dead letters, at most limit and [MaxDeadLetters], oldest first, beginning after a number. The next
// page begins after next, which is 0 on the last page. Other pages may be short, too. Any process may call it, leader or not.
func (j *Journal) DeadLetters(ctx context.Context, filter DeadLetterFilter, after uint64, limit int) (page []DeadLetterInfo, next uint64, err error) {
	s := j.current.Load()
	if s == nil {
		return nil, 0, ErrUnavailable
	}
	limit = min(max(limit, 1), MaxDeadLetters)
	next, err = store.ScanHeaders(ctx, s.dead, j.subject(kindDeadLetter, filter.token()), after, func(seq uint64, header nats.Header) bool {
		if letter := deadLetterInfo(seq, header); filter.Reason == "" || filter.Reason == letter.Reason {
			page = append(page, letter)
		}
		return len(page) < limit
	})
	return page, next, err
}

// DeadLetter returns a dead letter and its event, or its array of events if it is a whole batch, [ErrNotFound] when it is not there and [ErrDamaged] when it cannot be read.
func (j *Journal) DeadLetter(ctx context.Context, seq uint64) (DeadLetterInfo, PendingEvent, error) {
	s := j.current.Load()
	if s == nil {
		return DeadLetterInfo{}, PendingEvent{}, ErrUnavailable
	}
	msg, err := s.getDeadLetter(ctx, seq)
	if err != nil {
		return DeadLetterInfo{}, PendingEvent{}, err
	}
	batch, err := s.decodeMessage(ctx, Position{Seq: seq}, msg.Header, msg.Data)
	if err == nil && !isWholeBatch(msg.Header) && len(batch.Events) != 1 {
		err = store.ErrDamaged
	}
	if err != nil {
		return DeadLetterInfo{}, PendingEvent{}, s.deadLetterError(ctx, seq, err)
	}
	if isWholeBatch(msg.Header) {
		return deadLetterInfo(seq, msg.Header), batch.wholeBatch(), nil
	}
	return deadLetterInfo(seq, msg.Header), batch.Events[0], nil
}

// deadLetterError finds out why a dead letter could not be read: it is damaged, another process has removed it meanwhile, or it was removed
// before and has come back without its object, and is removed again.
func (s *session) deadLetterError(ctx context.Context, seq uint64, err error) error {
	if !errors.Is(err, store.ErrDamaged) {
		return err
	}
	msg, readErr := s.getDeadLetter(ctx, seq)
	if readErr != nil {
		return readErr
	}
	removed, markErr := s.finished.HasObject(ctx, msg.Header.Get(headerObject))
	if markErr != nil {
		return markErr
	}
	if removed {
		return cmp.Or(s.dropDeadLetter(ctx, seq, msg.Header), ErrNotFound)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// getDeadLetter reads the message of a dead letter, [ErrNotFound] when it is not there.
func (s *session) getDeadLetter(ctx context.Context, seq uint64) (*jetstream.RawStreamMsg, error) {
	if seq == 0 {
		return nil, ErrNotFound
	}
	msg, err := s.dead.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading a dead letter: %w", err)
	}
	return msg, nil
}

// token is the last part of the subject of the selected webhooks.
func (f DeadLetterFilter) token() string {
	if f.Webhook == "" {
		return ">"
	}
	return token(f.Webhook)
}

// deadLetterInfo reads headers. A missing one leaves its field empty: damaged dead letters are listed, too.
func deadLetterInfo(seq uint64, header nats.Header) DeadLetterInfo {
	letter := DeadLetterInfo{
		Seq: seq, Webhook: header.Get(headerWebhook), Type: header.Get(headerType), ID: header.Get(headerEvent), Reason: header.Get(headerReason),
	}
	letter.Status, _ = strconv.Atoi(header.Get(headerStatus))
	letter.Attempts, _ = strconv.Atoi(header.Get(headerAttempts))
	if isWholeBatch(header) {
		letter.Events, _ = strconv.Atoi(header.Get(headerEvents))
	}
	for name, at := range map[string]*time.Time{headerReceived: &letter.Received, headerDeadLettered: &letter.DeadLettered, headerRedriven: &letter.Redriven} {
		if read, err := parseMillis(header.Get(name)); err == nil {
			*at = read.UTC()
		}
	}
	return letter
}
