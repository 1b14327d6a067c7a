package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// followMessages is how many are read ahead.
	followMessages = 512
	// While nothing comes, the server says every followHeartbeat that it is there. After twice that time without, another
	// consumer is made.
	followHeartbeat = time.Second
	followExpiry    = 10 * followHeartbeat
	// followIdle is how long the server keeps a consumer that nobody reads from any more.
	followIdle = time.Minute
	// lookTime is after how long without a batch the leader is asked whether there is one. It is longer than the server may be
	// silent.
	lookTime = 3 * followHeartbeat
)

// Follow tells of each batch that waits, says when all are known, and tells of each that comes, in order, until the context
// ends or that is not possible any more.
func (w *Work) Follow(ctx context.Context, tell func(Notice), known func()) error {
	state, err := w.stateOf(ctx, w.batches)
	if err != nil {
		return err
	}
	f := &follower{Work: w, last: state.LastSeq, next: 1, heard: time.Now(), limit: w.attemptLimit(), tell: tell}
	f.known = sync.OnceFunc(func() { f.complete = true; known() })
	if state.Msgs == 0 {
		f.known()
	}
	for {
		err := f.read(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if !errors.Is(err, errSilent) || time.Since(f.heard) > electionTime {
			return fmt.Errorf("following the batches: %w", err)
		}
		select {
		case <-time.After(minPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// errSilent is of a consumer that is gone, or does not tell of everything: it is at one server, and goes with it.
var errSilent = errors.New("the consumer does not say anything")

// follower reads the headers of batches.
type follower struct {
	*Work
	last     uint64        // that was there at the beginning
	next     uint64        // place
	missed   uint64        // place of what the leader has and the consumer has not told of
	complete bool          // everything that was there at the beginning is known
	heard    time.Time     // when there was a consumer that worked
	limit    time.Duration // for making one
	tell     func(Notice)
	known    func()
}

// read reads on by a consumer of its own, until that is gone. It is made at a server that is chosen by lot, maybe one that is
// gone.
func (f *follower) read(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, f.limit)
	consumer, err := f.batches.CreateConsumer(attempt, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.next, AckPolicy: jetstream.AckNonePolicy,
		HeadersOnly: true, Replicas: 1, MemoryStorage: true, InactiveThreshold: followIdle,
	})
	cancel()
	if err != nil && leaderless(err) {
		f.limit = min(2*f.limit, f.timeout)
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	if err != nil {
		return err
	}
	f.limit = f.attemptLimit()
	messages, err := consumer.Messages(jetstream.PullMaxMessages(followMessages), jetstream.PullHeartbeat(followHeartbeat), jetstream.PullExpiry(followExpiry))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for count := uint64(1); ; count++ {
		msg, err := f.following(ctx, messages)
		if err != nil {
			return err
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return err
		}
		if metadata.Sequence.Consumer != count {
			return fmt.Errorf("%w: a message was lost on its way", errSilent)
		}
		if err := f.take(ctx, msg.Headers(), metadata.Sequence.Stream); err != nil {
			return err
		}
	}
}

// following returns the next message. While none comes it is asked whether there is one: the consumer's server may lag behind.
func (f *follower) following(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		looking, cancel := context.WithTimeout(ctx, lookTime)
		msg, err := messages.Next(jetstream.NextContext(looking))
		cancel()
		if err == nil {
			f.heard, f.missed = time.Now(), 0
			return msg, nil
		}
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", errSilent, err)
		}
		if err := f.look(ctx); err != nil {
			return nil, err
		}
	}
}

// look asks the leader what is next. When there is nothing of what was there at the beginning everything is known. When there
// is something that was already there the last time another consumer may know more. A server that is alone does not lag
// behind.
func (f *follower) look(ctx context.Context) error {
	if f.alone && f.complete {
		f.heard = time.Now()
		return nil
	}
	msg, err := f.get(ctx, f.batches, f.next, jetstream.WithGetMsgSubject(">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		f.heard = time.Now()
		f.known()
		return nil
	}
	if err != nil {
		return err
	}
	if msg.Sequence > f.last {
		f.known()
	}
	if msg.Sequence == f.missed {
		return fmt.Errorf("%w of a batch that there is", errSilent)
	}
	f.missed = msg.Sequence
	return nil
}

func (f *follower) take(ctx context.Context, header nats.Header, seq uint64) error {
	place := Place{Seq: seq}
	stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
	if unit, err := unitOf(place, header, stored); err == nil {
		f.tell(Notice{Seq: place.Seq, Webhook: unit.Webhook, Received: unit.Begin(), Events: unit.Events, Size: unit.Size, Stored: unit.Stored})
	} else if err := f.lose(ctx, place, err); err != nil {
		return err
	}
	f.next = place.Seq + 1
	if place.Seq >= f.last {
		f.known()
	}
	return nil
}
