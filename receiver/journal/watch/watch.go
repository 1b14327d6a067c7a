// Package watch reads the headers of a stream's messages as they come. The leader learns from it which batches there are.
package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

const (
	// readAhead is how many headers are read ahead.
	readAhead = 512
	// Heartbeat is how often the server sends a heartbeat while there is no message. The client reports an error after twice that
	// time.
	Heartbeat = time.Second
	// Expiry is how long one request for messages lasts.
	Expiry = 10 * Heartbeat
	// Inactive is how long the server keeps a JetStream consumer that nobody reads from.
	Inactive = time.Minute
	// AskLeaderAfter is how long to wait for a message before asking the stream leader for one.
	AskLeaderAfter = 3 * Heartbeat
)

// Stream hands over the headers of each message that the stream has of some subjects, in order, calls known when all that were there at the
// beginning were handed over, and goes on with new ones until the context ends. It returns an error when that is not possible
// any more.
func Stream(ctx context.Context, s *store.Store, stream jetstream.Stream, subjects Subjects, handle Handle, known func()) error {
	w := &watcher{store: s, stream: stream, subjects: subjects, next: 1, lastHeard: time.Now(), attempt: s.Attempt, handle: handle}
	w.allKnown = sync.OnceFunc(func() { w.complete = true; known() })
	var err error
	if w.last, err = w.start(ctx); err != nil {
		return err
	}
	if w.last == 0 {
		w.allKnown()
	}
	for {
		err := w.read(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if errors.Is(err, errSwitch) {
			continue
		}
		if !errors.Is(err, errStale) || time.Since(w.lastHeard) > store.ElectionTimeout {
			return fmt.Errorf("watching the batches: %w", err)
		}
		if store.Sleep(ctx, store.MinPause) != nil {
			return nil //nolint:nilerr // it was told to end
		}
	}
}

// Handle gets the headers of a message.
type Handle func(ctx context.Context, subject string, header nats.Header, seq uint64) error

// errStale is returned for a JetStream consumer that is gone or lags behind. It runs on one member of a cluster, and fails with it.
// Stream continues with another one.
var errStale = errors.New("no heartbeat from the JetStream consumer, or it lags behind")

// watcher reads headers.
type watcher struct {
	store     *store.Store
	stream    jetstream.Stream
	subjects  Subjects
	all       bool          // all messages of the stream are read
	checked   time.Time     // when it was decided whether they are
	last      uint64        // sequence at the beginning
	next      uint64        // sequence to continue at
	staleAt   uint64        // sequence of a message that the leader has and the consumer has not announced
	complete  bool          // all messages that were there at the beginning are handed over
	lastHeard time.Time     // when there was a consumer that worked
	attempt   time.Duration // for creating the next one
	handle    Handle
	allKnown  func()
}

// read continues from w.next with a new ephemeral consumer and returns when it fails. The server places the consumer at random,
// possibly on a member that is down.
func (w *watcher) read(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, w.attempt)
	consumer, err := w.stream.CreateConsumer(attempt, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: w.next, AckPolicy: jetstream.AckNonePolicy,
		FilterSubject: w.subject(), HeadersOnly: true, Replicas: 1, MemoryStorage: true, InactiveThreshold: Inactive,
	})
	cancel()
	if err != nil && store.IsNoLeader(err) {
		w.attempt = min(2*w.attempt, w.store.Timeout)
		return fmt.Errorf("%w: %w", errStale, err)
	}
	if err != nil {
		return err
	}
	w.attempt = w.store.Attempt
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead), jetstream.PullHeartbeat(Heartbeat), jetstream.PullExpiry(Expiry))
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
		seq := metadata.Sequence.Stream
		if err := w.handle(ctx, msg.Subject(), msg.Headers(), seq); err != nil {
			return err
		}
		w.next = seq + 1
		if seq >= w.last {
			w.allKnown()
		}
		if err := w.recheck(ctx); err != nil {
			return err
		}
	}
}

// nextMessage returns the next message. While none comes it asks the stream leader whether there is one.
func (w *watcher) nextMessage(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, AskLeaderAfter)
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
	if w.store.Exclusive && w.complete {
		w.lastHeard = time.Now()
		return nil
	}
	msg, err := w.store.Get(ctx, w.stream, w.next, jetstream.WithGetMsgSubject(w.subject()))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		w.lastHeard = time.Now()
		w.allKnown()
		return w.recheck(ctx)
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
