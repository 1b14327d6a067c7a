package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Letter is a dead letter, without the event and without what the sink said. It has no payload and no addresses.
type DeadLetterInfo struct {
	Seq          uint64    `json:"seq"` // its number, which no other one ever has
	Webhook      string    `json:"webhook"`
	Type         string    `json:"type,omitempty"`
	ID           string    `json:"id"`
	Reason       string    `json:"reason"`
	Status       int       `json:"status,omitempty"` // of the sink's last answer; 0: there was none
	Attempts     int       `json:"attempts"`
	Received     time.Time `json:"received"`
	DeadLettered time.Time `json:"deadLettered"`
	Redriven     time.Time `json:"redriven,omitzero"` // when it was a dead letter before and delivery began anew
}

// LetterFilter chooses dead letters. What is empty chooses all.
type DeadLetterFilter struct{ Webhook, Reason string }

const (
	// MaxLetters is the most dead letters that are read, or worked on, at once.
	MaxDeadLetters = 500
	// maxLooked bounds how many are looked at to find those that a filter chooses, so that none waits long for a page.
	maxScanned = 20 * MaxDeadLetters
	// maxIdle is how often the server may hand over nothing though there is something.
	maxIdle = 10
	// letterConsumerTime is when the server forgets what reads a page, if the one who reads is gone.
	pageConsumerTime = time.Minute
)

// ErrDamaged is of a dead letter that cannot be read.
var ErrDamaged = errors.New("the dead letter cannot be read")

// Letters returns dead letters, up to limit and [MaxLetters], in the order in which they were buried, from the one after a
// number on. The next page begins after next; it is 0 when there is none. A page may be short though there is a next.
// Several may do this, with the right to deliver or without.
func (j *Journal) DeadLetters(ctx context.Context, filter DeadLetterFilter, after uint64, limit int) (page []DeadLetterInfo, next uint64, err error) {
	s := j.current.Load()
	if s == nil {
		return nil, 0, ErrUnavailable
	}
	limit = min(max(limit, 1), MaxDeadLetters)
	next, err = scanHeaders(ctx, s.dead, j.subject(kindDead, filter.token()), after, func(seq uint64, header nats.Header) bool {
		if letter := deadLetterInfo(seq, header); filter.Reason == "" || filter.Reason == letter.Reason {
			page = append(page, letter)
		}
		return len(page) < limit
	})
	return page, next, err
}

// Letter returns a dead letter and its event, [ErrNone] when it is not there and [ErrDamaged] when it cannot be read.
func (j *Journal) DeadLetter(ctx context.Context, seq uint64) (DeadLetterInfo, PendingEvent, error) {
	s := j.current.Load()
	if s == nil {
		return DeadLetterInfo{}, PendingEvent{}, ErrUnavailable
	}
	msg, err := s.getDeadLetter(ctx, seq)
	if err != nil {
		return DeadLetterInfo{}, PendingEvent{}, err
	}
	unit, err := s.decodeMessage(ctx, Position{Seq: seq}, msg.Header, msg.Data)
	if err == nil && len(unit.Events) != 1 {
		err = errDamaged
	}
	if err != nil {
		return DeadLetterInfo{}, PendingEvent{}, s.checkReadable(ctx, seq, err)
	}
	return deadLetterInfo(seq, msg.Header), unit.Events[0], nil
}

// readable tells apart why a dead letter could not be read: it is damaged, or was removed meanwhile, by others.
func (s *session) checkReadable(ctx context.Context, seq uint64, err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	if _, err := s.getDeadLetter(ctx, seq); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// getDead reads a dead letter, [ErrNone] when it is not there.
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

// token is the part of a subject that stands for the webhooks that are chosen.
func (f DeadLetterFilter) token() string {
	if f.Webhook == "" {
		return ">"
	}
	return token(f.Webhook)
}

// letterOf reads headers. What is not there is left empty: a dead letter that is damaged is one too.
func deadLetterInfo(seq uint64, header nats.Header) DeadLetterInfo {
	letter := DeadLetterInfo{
		Seq: seq, Webhook: header.Get(headerWebhook), Type: header.Get(headerType), ID: header.Get(headerEvent), Reason: header.Get(headerReason),
	}
	letter.Status, _ = strconv.Atoi(header.Get(headerStatus))
	letter.Attempts, _ = strconv.Atoi(header.Get(headerAttempts))
	for name, at := range map[string]*time.Time{headerReceived: &letter.Received, headerDeadLettered: &letter.DeadLettered, headerRedriven: &letter.Redriven} {
		if read, err := parseMillis(header.Get(name)); err == nil {
			*at = read.UTC()
		}
	}
	return letter
}

// eachHeader hands over the headers of messages, from the one after a number on, until do says that it is enough, or it has
// been long. It returns the number to go on after, 0 at the end. The events themselves are not read.
func scanHeaders(ctx context.Context, stream jetstream.Stream, subject string, after uint64, do func(seq uint64, header nats.Header) bool) (next uint64, err error) {
	if after == math.MaxUint64 {
		return 0, nil
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, FilterSubject: subject, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: pageConsumerTime,
	})
	if err != nil {
		return 0, fmt.Errorf("reading headers: %w", err)
	}
	info := consumer.CachedInfo()
	defer stream.DeleteConsumer(context.WithoutCancel(ctx), info.Name) //nolint:errcheck // else the server forgets it
	pending := info.NumPending
	for looked, idle := 0, 0; pending > 0; {
		batch, err := consumer.FetchNoWait(min(MaxDeadLetters, int(min(pending, MaxDeadLetters))))
		if err != nil {
			return 0, fmt.Errorf("reading headers: %w", err)
		}
		before := looked
		for msg := range batch.Messages() {
			metadata, err := msg.Metadata()
			if err != nil {
				return 0, fmt.Errorf("reading headers: %w", err)
			}
			looked, pending = looked+1, metadata.NumPending
			next = metadata.Sequence.Stream
			if !do(next, msg.Headers()) {
				return nextSequence(next, pending), nil
			}
		}
		if err := batch.Error(); err != nil {
			return 0, fmt.Errorf("reading headers: %w", err)
		}
		if looked >= maxScanned {
			return nextSequence(next, pending), nil
		}
		if looked > before {
			continue
		}
		// Those that are left were removed meanwhile, or the server is slow.
		if idle++; idle == maxIdle {
			return 0, errors.New("reading headers: the server does not hand them over")
		}
		info, err := consumer.Info(ctx)
		if err != nil {
			return 0, fmt.Errorf("reading headers: %w", err)
		}
		pending = info.NumPending
	}
	return 0, nil
}

// following is where to go on after a number: nowhere if nothing comes after it.
func nextSequence(seq, pending uint64) uint64 {
	if pending == 0 {
		return 0
	}
	return seq
}
