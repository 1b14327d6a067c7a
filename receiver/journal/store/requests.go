package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The time limits of requests. The package comment of journal has a table of those that depend on each other.
const (
	// attemptTimeout is for one attempt where another follows.
	attemptTimeout = 2 * time.Second
	// exclusiveTimeout is for a request to a server that nobody else uses. It may have to read.
	exclusiveTimeout = 20 * time.Second
	// sharedTimeout is the same where streams are shared: a request to a leader that is gone is never answered.
	sharedTimeout = 6 * time.Second
	// ElectionTimeout is how long such a request is sent again. An election takes 4 to 9 seconds, and again as long when
	// nobody has won.
	ElectionTimeout = 12 * time.Second
	// replicaLagTimeout is how long a message that a replica has announced may be missing at the leader.
	replicaLagTimeout  = 2 * time.Second
	replicaLagInterval = 20 * time.Millisecond
	// MinPause is the pause before the first of several attempts, MaxPause that after many.
	MinPause = 250 * time.Millisecond
	MaxPause = 5 * time.Second
)

// Policy says how requests are made. A server that nobody else uses answers, or is broken: it is asked once. Where streams are
// shared, a request is lost when the leader that it went to is gone, so it is sent again until there is another leader; and a message
// may be announced by a replica that is ahead of the leader.
type Policy struct {
	Exclusive  bool          // nobody else uses the streams
	Timeout    time.Duration // of one request
	Attempt    time.Duration // of the first attempt; each later one may take twice as long, up to Timeout
	RetryFor   time.Duration // how long a request without an answer is sent again
	ReplicaLag time.Duration // how long a message that was announced may be missing
}

// PolicyFor returns the policy for streams that are used exclusively or shared.
func PolicyFor(exclusive bool) Policy {
	if exclusive {
		return Policy{Exclusive: true, Timeout: exclusiveTimeout, Attempt: exclusiveTimeout}
	}
	return Policy{Timeout: sharedTimeout, Attempt: attemptTimeout, RetryFor: ElectionTimeout, ReplicaLag: replicaLagTimeout}
}

// Store makes requests as its policy says.
type Store struct {
	Policy
	JetStream jetstream.JetStream
	Conn      *nats.Conn
	SyncDir   func(stream string) error // syncs the directory of a stream after something was written to it
	// BeforeRemoval is called before a message of a stream is removed; nil: nothing is.
	BeforeRemoval func(stream string)
}

// Sleep waits, and returns the context's error if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Backoff is the pause between attempts: MinPause, then twice as long each time, up to MaxPause. An attempt that lasted
// longer than MaxPause worked for a while: the next pause is short again.
type Backoff struct {
	now   func() time.Time
	begun time.Time
	pause time.Duration
}

// NewBackoff returns a backoff of a clock.
func NewBackoff(now func() time.Time) *Backoff { return &Backoff{now: now, pause: MinPause} }

// Begin notes the beginning of an attempt.
func (b *Backoff) Begin() { b.begun = b.now() }

// Wait waits after an attempt.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Next returns how long to wait after an attempt.
func (b *Backoff) Next() time.Duration {
	if b.now().Sub(b.begun) > MaxPause {
		b.pause = MinPause
	}
	pause := b.pause
	b.pause = min(2*pause, MaxPause)
	return pause
}

// WithTimeout bounds one request, also where there is time for several: in a cluster some are lost.
func (s *Store) WithTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.Timeout)
}

// EachInfo calls each with the name and the information of every stream. Each stream is asked once.
func (s *Store) EachInfo(ctx context.Context, streams map[string]jetstream.Stream, each func(name string, info *jetstream.StreamInfo)) error {
	for name, stream := range streams {
		bounded, cancel := s.WithTimeout(ctx)
		info, err := stream.Info(bounded)
		cancel()
		if err != nil {
			return fmt.Errorf("asking for the state of a stream: %w", err)
		}
		each(name, info)
	}
	return nil
}

// RetryWhileNoLeader repeats a request that nobody answers, as the policy says. The request must be harmless when it is
// executed twice.
func (s *Store) RetryWhileNoLeader(ctx context.Context, ask func(context.Context) error) error {
	limit := s.Attempt
	for begun := time.Now(); ; limit = min(2*limit, s.Timeout) {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := ask(attempt)
		cancel()
		if err == nil || !IsNoLeader(err) || s.Conn.IsClosed() || time.Since(begun) >= s.RetryFor {
			return err
		}
		if Sleep(ctx, MinPause) != nil {
			return err
		}
	}
}

// Delete deletes a message, which may be gone already.
func (s *Store) Delete(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	return s.remove(ctx, stream, seq, stream.DeleteMsg)
}

// Erase is Delete that overwrites the message on disk. The server rewrites the whole file, so it is slow.
func (s *Store) Erase(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	return s.remove(ctx, stream, seq, stream.SecureDeleteMsg)
}

func (s *Store) remove(ctx context.Context, stream jetstream.Stream, seq uint64, remove func(context.Context, uint64) error) error {
	return s.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		if err := s.RemoveOnce(ctx, stream, seq, remove); err != nil && !IsGone(err) {
			return err
		}
		return s.SyncDir(NameOf(stream))
	})
}

// RemoveOnce removes a message by one of the methods of its stream.
func (s *Store) RemoveOnce(ctx context.Context, stream jetstream.Stream, seq uint64, remove func(context.Context, uint64) error) error {
	if s.BeforeRemoval != nil {
		s.BeforeRemoval(NameOf(stream))
	}
	return remove(ctx, seq)
}

// Get reads the message at a sequence, or with a subject the first one with it from there on.
func (s *Store) Get(ctx context.Context, stream jetstream.Stream, seq uint64, options ...jetstream.GetMsgOpt) (msg *jetstream.RawStreamMsg, err error) {
	err = s.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		msg, err = stream.GetMsg(ctx, seq, options...)
		return err
	})
	return msg, err
}

// GetEventually is Get for a message that was announced: the replica that announced it may be ahead of the leader.
func (s *Store) GetEventually(ctx context.Context, stream jetstream.Stream, seq uint64) (*jetstream.RawStreamMsg, error) {
	return s.eventually(ctx, func() (*jetstream.RawStreamMsg, error) { return s.Get(ctx, stream, seq) })
}

// eventually repeats get for as long as a replica may be ahead of the leader.
func (s *Store) eventually(ctx context.Context, get func() (*jetstream.RawStreamMsg, error)) (*jetstream.RawStreamMsg, error) {
	for begun := time.Now(); ; {
		msg, err := get()
		if !errors.Is(err, jetstream.ErrMsgNotFound) || time.Since(begun) >= s.ReplicaLag {
			return msg, err
		}
		if err := Sleep(ctx, replicaLagInterval); err != nil {
			return nil, err
		}
	}
}

// State asks for the state of a stream.
func (s *Store) State(ctx context.Context, stream jetstream.Stream, options ...jetstream.StreamInfoOpt) (state jetstream.StreamState, err error) {
	err = s.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		info, err := stream.Info(ctx, options...)
		if err == nil {
			state = info.State
		}
		return err
	})
	if err != nil {
		return state, fmt.Errorf("asking for the state of a stream: %w", err)
	}
	return state, nil
}

// Publish stores a message. A duplicate has the id of a message that the stream has, or had.
func (s *Store) Publish(ctx context.Context, msg *nats.Msg) (seq uint64, duplicate bool, err error) {
	ctx, cancel := s.WithTimeout(ctx)
	defer cancel()
	ack, err := s.JetStream.PublishMsg(ctx, msg)
	if err != nil {
		return 0, false, fmt.Errorf("storing: %w", err)
	}
	return ack.Sequence, ack.Duplicate, s.SyncDir(ack.Stream)
}

// NameOf returns the name of a stream.
func NameOf(stream jetstream.Stream) string { return stream.CachedInfo().Config.Name }
