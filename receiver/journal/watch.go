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
	watchMessages = 512
	// While nothing comes, the server says every followHeartbeat that it is there. After twice that time without, another
	// consumer is made.
	watchHeartbeat = time.Second
	watchExpiry    = 10 * watchHeartbeat
	// followIdle is how long the server keeps a consumer that nobody reads from any more.
	watchInactive = time.Minute
	// lookTime is after how long without a batch the leader is asked whether there is one. It is longer than the server may be
	// silent.
	askLeaderAfter = 3 * watchHeartbeat
)

// Follow tells of each batch that waits, says when all are known, and tells of each that comes, in order, until the context
// ends or that is not possible any more.
func (w *Consumer) Watch(ctx context.Context, tell func(BatchInfo), known func()) error {
	state, err := w.stateOf(ctx, w.batches)
	if err != nil {
		return err
	}
	f := &watcher{Consumer: w, last: state.LastSeq, next: 1, lastHeard: time.Now(), limit: w.attemptLimit(), notify: tell}
	f.allKnown = sync.OnceFunc(func() { f.complete = true; known() })
	if state.Msgs == 0 {
		f.allKnown()
	}
	for {
		err := f.read(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if !errors.Is(err, errConsumerStale) || time.Since(f.lastHeard) > electionTimeout {
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
var errConsumerStale = errors.New("the consumer does not say anything")

// follower reads the headers of batches.
type watcher struct {
	*Consumer
	last      uint64        // that was there at the beginning
	next      uint64        // place
	staleAt   uint64        // place of what the leader has and the consumer has not told of
	complete  bool          // everything that was there at the beginning is known
	lastHeard time.Time     // when there was a consumer that worked
	limit     time.Duration // for making one
	notify    func(BatchInfo)
	allKnown  func()
}

// read reads on by a consumer of its own, until that is gone. It is made at a server that is chosen by lot, maybe one that is
// gone.
func (f *watcher) read(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, f.limit)
	consumer, err := f.batches.CreateConsumer(attempt, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.next, AckPolicy: jetstream.AckNonePolicy,
		HeadersOnly: true, Replicas: 1, MemoryStorage: true, InactiveThreshold: watchInactive,
	})
	cancel()
	if err != nil && isNoLeader(err) {
		f.limit = min(2*f.limit, f.timeout)
		return fmt.Errorf("%w: %w", errConsumerStale, err)
	}
	if err != nil {
		return err
	}
	f.limit = f.attemptLimit()
	messages, err := consumer.Messages(jetstream.PullMaxMessages(watchMessages), jetstream.PullHeartbeat(watchHeartbeat), jetstream.PullExpiry(watchExpiry))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for count := uint64(1); ; count++ {
		msg, err := f.nextMessage(ctx, messages)
		if err != nil {
			return err
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return err
		}
		if metadata.Sequence.Consumer != count {
			return fmt.Errorf("%w: a message was lost on its way", errConsumerStale)
		}
		if err := f.handle(ctx, msg.Headers(), metadata.Sequence.Stream); err != nil {
			return err
		}
	}
}

// following returns the next message. While none comes it is asked whether there is one: the consumer's server may lag behind.
func (f *watcher) nextMessage(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		looking, cancel := context.WithTimeout(ctx, askLeaderAfter)
		msg, err := messages.Next(jetstream.NextContext(looking))
		cancel()
		if err == nil {
			f.lastHeard, f.staleAt = time.Now(), 0
			return msg, nil
		}
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", errConsumerStale, err)
		}
		if err := f.askLeader(ctx); err != nil {
			return nil, err
		}
	}
}

// look asks the leader what is next. When there is nothing of what was there at the beginning everything is known. When there
// is something that was already there the last time another consumer may know more. A server that is alone does not lag
// behind.
func (f *watcher) askLeader(ctx context.Context) error {
	if f.alone && f.complete {
		f.lastHeard = time.Now()
		return nil
	}
	msg, err := f.get(ctx, f.batches, f.next, jetstream.WithGetMsgSubject(">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		f.lastHeard = time.Now()
		f.allKnown()
		return nil
	}
	if err != nil {
		return err
	}
	if msg.Sequence > f.last {
		f.allKnown()
	}
	if msg.Sequence == f.staleAt {
		return fmt.Errorf("%w of a batch that there is", errConsumerStale)
	}
	f.staleAt = msg.Sequence
	return nil
}

func (f *watcher) handle(ctx context.Context, header nats.Header, seq uint64) error {
	place := Position{Seq: seq}
	stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
	if unit, err := parseHeaders(place, header, stored); err == nil {
		f.notify(BatchInfo{Seq: place.Seq, Webhook: unit.Webhook, Received: unit.AgeStart(), Events: unit.EventCount, Size: unit.Size, Stored: unit.StoredBytes})
	} else if err := f.dropDamaged(ctx, place, err); err != nil {
		return err
	}
	f.next = place.Seq + 1
	if place.Seq >= f.last {
		f.allKnown()
	}
	return nil
}
