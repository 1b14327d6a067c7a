package store

import (
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
	// A scan gives up some time after maxIdle without a header. Until then it asks again after idlePause, after twice that, and so on.
	maxIdle   = 5 * time.Second
	idlePause = 5 * time.Millisecond
	// consumerTime is when the server forgets the consumer of a scan, if its reader is gone.
	consumerTime = time.Minute
)

// errNotSent is returned when a JetStream consumer does not hand over a header that there is.
var errNotSent = errors.New("the server does not send all of them")

// ScanHeaders hands over the headers of messages, beginning after a number, until yield returns false or MaxScanned are read. It
// returns the number to continue after, 0 at the end. The server does not send the data.
func ScanHeaders(ctx context.Context, stream jetstream.Stream, subject string, after uint64, yield func(seq uint64, header nats.Header) bool) (next uint64, err error) {
	if after == math.MaxUint64 {
		return 0, nil
	}
	s := &scan{stream: stream, subject: subject, yield: yield, last: after, heard: time.Now()}
	for {
		more, err := s.read(ctx)
		switch {
		case err == nil && more:
			return s.last, nil
		case err == nil:
			return 0, nil
		case !errors.Is(err, errNotSent) || time.Since(s.heard) > maxIdle:
			return 0, fmt.Errorf("reading headers: %w", err)
		}
		if err := Sleep(ctx, MinPause); err != nil { // each consumer is a change that the cluster agrees on
			return 0, fmt.Errorf("reading headers: %w", err)
		}
	}
}

// scan is one run of [ScanHeaders].
type scan struct {
	stream  jetstream.Stream
	subject string
	yield   func(seq uint64, header nats.Header) bool
	last    uint64    // number of the last message that was handed over
	heard   time.Time // when it was
	scanned int
}

// read reads on with a new JetStream consumer, and reports whether there are more headers than were to be read. The error is errNotSent if
// another consumer may hand over what this one does not: it fails with the member that it runs on, and what it sends may be lost.
func (s *scan) read(ctx context.Context) (more bool, err error) {
	consumer, err := s.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.last + 1, FilterSubject: s.subject, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerTime,
	})
	if err != nil {
		return false, err
	}
	defer s.stream.DeleteConsumer(context.WithoutCancel(ctx), consumer.CachedInfo().Name) //nolint:errcheck // after a while the server does so itself
	pending, pause := consumer.CachedInfo().NumPending, idlePause
	for count := uint64(0); pending > 0; {
		batch, err := consumer.FetchNoWait(int(min(pending, fetched)))
		if err != nil {
			return false, err
		}
		before := count
		for msg := range batch.Messages() {
			metadata, err := msg.Metadata()
			if err != nil {
				return false, err
			}
			if count++; metadata.Sequence.Consumer != count {
				return false, errNotSent
			}
			s.last, s.heard, pending = metadata.Sequence.Stream, time.Now(), metadata.NumPending
			s.scanned++
			if !s.yield(s.last, msg.Headers()) || s.scanned >= MaxScanned {
				return pending > 0, nil
			}
		}
		if err = batch.Error(); err != nil && !IsNoLeader(err) {
			return false, err
		}
		if count > before {
			continue
		}
		// The pending ones were removed meanwhile, the server is slow, or it does not know yet where the new consumer is.
		if err := Sleep(ctx, pause); err != nil {
			return false, err
		}
		pause *= 2
		info, err := s.ask(ctx, consumer)
		if err != nil || info.Delivered.Consumer != count || time.Since(s.heard) > maxIdle {
			return false, errors.Join(errNotSent, batch.Error(), err)
		}
		pending = info.NumPending
	}
	return false, nil
}

// ask asks for the state of a consumer, which does not answer if it is gone.
func (*scan) ask(ctx context.Context, consumer jetstream.Consumer) (*jetstream.ConsumerInfo, error) {
	bounded, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return consumer.Info(bounded)
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
