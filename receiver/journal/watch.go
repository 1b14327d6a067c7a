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

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Watch announces each batch in the buffer, in order, calls known when all that were there at the beginning are announced, and
// announces each new one, until the context ends. It returns an error when that is not possible any more.
func (c *Consumer) Watch(ctx context.Context, announce func(BatchInfo), known func()) error {
	state, err := c.session.store.State(ctx, c.session.batches)
	if err != nil {
		return err
	}
	w := &watcher{consumer: c, session: c.session, last: state.LastSeq, next: 1, lastHeard: time.Now(), attempt: c.session.store.Attempt, announce: announce}
	w.allKnown = sync.OnceFunc(func() { w.complete = true; known() })
	if state.Msgs == 0 {
		w.allKnown()
	}
	for {
		err := w.read(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if !errors.Is(err, errStale) || time.Since(w.lastHeard) > store.ElectionTimeout {
			return fmt.Errorf("watching the batches: %w", err)
		}
		if store.Sleep(ctx, store.MinPause) != nil {
			return nil //nolint:nilerr // it was told to end
		}
	}
}

// errStale is returned for a JetStream consumer that is gone or lags behind. It runs on one member of a cluster, and fails with it.
// Watch continues with another one.
var errStale = errors.New("no heartbeat from the JetStream consumer, or it lags behind")

// watcher reads the headers of batches.
type watcher struct {
	consumer  *Consumer
	session   *session
	last      uint64        // sequence at the beginning
	next      uint64        // sequence to continue at
	staleAt   uint64        // sequence of a batch that the leader has and the consumer has not announced
	complete  bool          // all batches that were there at the beginning are announced
	lastHeard time.Time     // when there was a consumer that worked
	attempt   time.Duration // for creating the next one
	announce  func(BatchInfo)
	allKnown  func()
}

// read continues from w.next with a new ephemeral consumer and returns when it fails. The server places the consumer at random,
// possibly on a member that is down.
func (w *watcher) read(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, w.attempt)
	consumer, err := w.session.batches.CreateConsumer(attempt, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: w.next, AckPolicy: jetstream.AckNonePolicy,
		HeadersOnly: true, Replicas: 1, MemoryStorage: true, InactiveThreshold: watchInactive,
	})
	cancel()
	if err != nil && store.IsNoLeader(err) {
		w.attempt = min(2*w.attempt, w.session.store.Timeout)
		return fmt.Errorf("%w: %w", errStale, err)
	}
	if err != nil {
		return err
	}
	w.attempt = w.session.store.Attempt
	messages, err := consumer.Messages(jetstream.PullMaxMessages(watchMessages), jetstream.PullHeartbeat(watchHeartbeat), jetstream.PullExpiry(watchExpiry))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for count := uint64(1); ; count++ {
		msg, err := w.nextMessage(ctx, messages)
		if err != nil {
			return err
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return err
		}
		if metadata.Sequence.Consumer != count {
			return fmt.Errorf("%w: a message was lost on its way", errStale)
		}
		if err := w.handle(ctx, msg.Headers(), metadata.Sequence.Stream); err != nil {
			return err
		}
	}
}

// nextMessage returns the next message. While none comes it asks the stream leader whether there is one.
func (w *watcher) nextMessage(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, askLeaderAfter)
		msg, err := messages.Next(jetstream.NextContext(waiting))
		cancel()
		if err == nil {
			w.lastHeard, w.staleAt = time.Now(), 0
			return msg, nil
		}
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", errStale, err)
		}
		if err := w.askLeader(ctx); err != nil {
			return nil, err
		}
	}
}

// askLeader asks the stream leader for the next batch. If none of the initial batches remain, the initial listing is complete. If
// the same batch is still missing on the second look, the consumer's replica is stale: use another one. A single server is
// never stale.
func (w *watcher) askLeader(ctx context.Context) error {
	if w.session.store.Exclusive && w.complete {
		w.lastHeard = time.Now()
		return nil
	}
	msg, err := w.session.store.Get(ctx, w.session.batches, w.next, jetstream.WithGetMsgSubject(">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		w.lastHeard = time.Now()
		w.allKnown()
		return nil
	}
	if err != nil {
		return err
	}
	if msg.Sequence > w.last {
		w.allKnown()
	}
	if msg.Sequence == w.staleAt {
		return fmt.Errorf("%w: it does not have a batch that the leader has", errStale)
	}
	w.staleAt = msg.Sequence
	return nil
}

func (w *watcher) handle(ctx context.Context, header nats.Header, seq uint64) error {
	position := Position{Seq: seq}
	stored, _ := strconv.Atoi(header.Get(nats.MsgSize)) // 0 does no harm
	if batch, err := parseHeaders(position, header, stored); err == nil {
		w.announce(BatchInfo{Seq: seq, Webhook: batch.Webhook, Received: batch.AgeStart(), Events: batch.EventCount, Size: batch.Size, Stored: batch.StoredBytes})
	} else if err := w.consumer.dropDamaged(ctx, position, err); err != nil {
		return err
	}
	w.next = seq + 1
	if seq >= w.last {
		w.allKnown()
	}
	return nil
}
