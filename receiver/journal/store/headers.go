package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// MaxScanned is how many headers one scan reads, so that it does not take long.
	MaxScanned = 10_000
	// fetched is how many headers are fetched at once.
	fetched = 500
	// maxIdle is how often the server may hand over nothing although there is something, with a pause that doubles: five seconds in all.
	maxIdle   = 10
	idlePause = 5 * time.Millisecond
	// consumerTime is when the server forgets the consumer of a scan, if its reader is gone.
	consumerTime = time.Minute
)

var errNotSent = errors.New("the server does not send them")

// ScanHeaders hands over the headers of messages, beginning after a number, until yield returns false or MaxScanned are read. It
// returns the number to continue after, 0 at the end. The server does not send the data.
func ScanHeaders(ctx context.Context, stream jetstream.Stream, subject string, after uint64, yield func(seq uint64, header nats.Header) bool) (next uint64, err error) {
	if after == math.MaxUint64 {
		return 0, nil
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, FilterSubject: subject, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerTime,
	})
	if err != nil {
		return 0, fmt.Errorf("reading headers: %w", err)
	}
	info := consumer.CachedInfo()
	defer stream.DeleteConsumer(context.WithoutCancel(ctx), info.Name) //nolint:errcheck // after a while the server does so itself
	pending := info.NumPending
	for scanned, idle := 0, 0; pending > 0; {
		batch, err := consumer.FetchNoWait(int(min(pending, fetched)))
		if err != nil {
			return 0, fmt.Errorf("reading headers: %w", err)
		}
		before := scanned
		for msg := range batch.Messages() {
			metadata, err := msg.Metadata()
			if err != nil {
				return 0, fmt.Errorf("reading headers: %w", err)
			}
			scanned, pending = scanned+1, metadata.NumPending
			next = metadata.Sequence.Stream
			if !yield(next, msg.Headers()) {
				return nextSequence(next, pending), nil
			}
		}
		if err = batch.Error(); err != nil && !IsNoLeader(err) {
			return 0, fmt.Errorf("reading headers: %w", err)
		}
		if scanned >= MaxScanned {
			return nextSequence(next, pending), nil
		}
		if scanned > before {
			continue
		}
		// The pending ones were removed meanwhile, the server is slow, or it does not know yet where the new consumer is.
		if idle++; idle == maxIdle {
			return 0, fmt.Errorf("reading headers: %w", cmp.Or(err, errNotSent))
		}
		if err := Sleep(ctx, idlePause<<idle); err != nil {
			return 0, fmt.Errorf("reading headers: %w", err)
		}
		info, err := consumer.Info(ctx)
		switch {
		case err == nil:
			pending = info.NumPending
		case !IsNoLeader(err):
			return 0, fmt.Errorf("reading headers: %w", err)
		}
	}
	return 0, nil
}

// nextSequence is where to continue after a number: 0 if nothing is pending.
func nextSequence(seq, pending uint64) uint64 {
	if pending == 0 {
		return 0
	}
	return seq
}

// HeaderReading reads the sequences and headers of a stream's messages.
type HeaderReading func(ctx context.Context, stream jetstream.Stream, each func(uint64, nats.Header)) error

// Headers reads headers only, from any replica.
func Headers(ctx context.Context, stream jetstream.Stream, each func(uint64, nats.Header)) error {
	for next := uint64(0); ; {
		var err error
		next, err = ScanHeaders(ctx, stream, ">", next, func(seq uint64, header nats.Header) bool { each(seq, header); return true })
		if err != nil || next == 0 {
			return err
		}
	}
}

// Headers reads whole messages, from the stream leader.
func (s *Store) Headers(ctx context.Context, stream jetstream.Stream, each func(uint64, nats.Header)) error {
	return s.Scan(ctx, stream, ">", func(msg *jetstream.RawStreamMsg) error { each(msg.Sequence, msg.Header); return nil })
}
