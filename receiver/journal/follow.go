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
)

// Follow tells of each batch that waits, says when all are known, and tells of each that comes, in order, until the context
// ends or that is not possible any more.
func (w *Work) Follow(ctx context.Context, tell func(Notice), known func()) error {
	var info *jetstream.StreamInfo
	err := w.insist(ctx, func(ctx context.Context) (err error) {
		info, err = w.batches.Info(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("asking for the state of a stream: %w", err)
	}
	f := &follower{Work: w, last: info.State.LastSeq, next: 1, heard: time.Now(), tell: tell, known: sync.OnceFunc(known)}
	if info.State.Msgs == 0 {
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

// errSilent is of a consumer that is gone, or was: it is at one server, and goes with it.
var errSilent = errors.New("the consumer does not say anything")

// follower reads the headers of batches.
type follower struct {
	*Work
	last  uint64    // that was there at the beginning
	next  uint64    // place
	heard time.Time // when there was a consumer
	tell  func(Notice)
	known func()
}

// read reads on by a consumer of its own, until that is gone. It is made at a server that is chosen by lot, maybe one that is
// gone.
func (f *follower) read(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, f.attemptTime())
	defer cancel()
	consumer, err := f.batches.CreateConsumer(attempt, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.next, AckPolicy: jetstream.AckNonePolicy,
		HeadersOnly: true, Replicas: 1, MemoryStorage: true, InactiveThreshold: followIdle,
	})
	if err != nil && leaderless(err) {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(followMessages), jetstream.PullHeartbeat(followHeartbeat), jetstream.PullExpiry(followExpiry))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for count := uint64(1); ; count++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			f.heard = time.Now() // until now, or nearly: heartbeats are not told of
			return fmt.Errorf("%w: %w", errSilent, err)
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return err
		}
		if metadata.Sequence.Consumer != count {
			return fmt.Errorf("%w: a message was lost on its way", errSilent)
		}
		if err := f.take(ctx, msg.Headers(), metadata); err != nil {
			return err
		}
	}
}

func (f *follower) take(ctx context.Context, header nats.Header, metadata *jetstream.MsgMetadata) error {
	place := Place{Seq: metadata.Sequence.Stream}
	stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
	if unit, err := unitOf(place, header, stored); err == nil {
		f.tell(Notice{Seq: place.Seq, Webhook: unit.Webhook, Received: unit.Begin(), Events: unit.Events, Size: unit.Size, Stored: unit.Stored})
	} else if err := f.lose(ctx, place, err); err != nil {
		return err
	}
	f.next = place.Seq + 1
	if place.Seq >= f.last || metadata.NumPending == 0 {
		f.known()
	}
	return nil
}
