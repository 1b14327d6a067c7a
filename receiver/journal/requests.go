package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// requests says how a session asks its server. A server that nobody else uses answers, or is broken: it is asked once. Where
// streams are shared, a request is lost when the leader that it went to is gone, so it is sent again until there is another
// leader; and a message may be announced by a replica that is ahead of the leader.
type requests struct {
	exclusive  bool          // nobody else uses the streams
	timeout    time.Duration // of one request
	attempt    time.Duration // of the first attempt; each later one may take twice as long, up to timeout
	retryFor   time.Duration // how long a request without an answer is sent again
	replicaLag time.Duration // how long a message that was announced may be missing
}

// requestsFor returns the policy for streams that are used exclusively or shared.
func requestsFor(exclusive bool) requests {
	if exclusive {
		return requests{exclusive: true, timeout: requestTimeout, attempt: requestTimeout}
	}
	return requests{timeout: clusterTimeout, attempt: attemptTimeout, retryFor: electionTimeout, replicaLag: replicaLagTimeout}
}

// sleep waits, and returns the context's error if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backoff is the pause between attempts: minPause, then twice as long each time, up to maxPause. An attempt that lasted
// longer than maxPause worked for a while: the next pause is short again.
type backoff struct {
	now   func() time.Time
	begun time.Time
	pause time.Duration
}

func newBackoff(now func() time.Time) *backoff { return &backoff{now: now, pause: minPause} }

// begin notes the beginning of an attempt.
func (b *backoff) begin() { b.begun = b.now() }

// wait waits after an attempt.
func (b *backoff) wait(ctx context.Context) error {
	if b.now().Sub(b.begun) > maxPause {
		b.pause = minPause
	}
	pause := b.pause
	b.pause = min(2*pause, maxPause)
	return sleep(ctx, pause)
}

// withTimeout bounds one request, also where there is time for several: in a cluster some are lost.
func (s *session) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.requests.timeout)
}

// retryWhileNoLeader repeats a request that nobody answers, as the policy says. The request must be harmless when it is
// executed twice.
func (s *session) retryWhileNoLeader(ctx context.Context, ask func(context.Context) error) error {
	limit := s.requests.attempt
	for begun := time.Now(); ; limit = min(2*limit, s.requests.timeout) {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := ask(attempt)
		cancel()
		if err == nil || !isNoLeader(err) || s.conn.IsClosed() || time.Since(begun) >= s.requests.retryFor {
			return err
		}
		if sleep(ctx, minPause) != nil {
			return err
		}
	}
}

// deleteMessage deletes a message, which may be gone already.
func (s *session) deleteMessage(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	return s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
		if err := stream.DeleteMsg(ctx, seq); err != nil && !isGone(err) {
			return err
		}
		return s.syncDir(nameOf(stream))
	})
}

// get reads the message at a sequence, or with a subject the first one with it from there on.
func (s *session) get(ctx context.Context, stream jetstream.Stream, seq uint64, options ...jetstream.GetMsgOpt) (msg *jetstream.RawStreamMsg, err error) {
	err = s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
		msg, err = stream.GetMsg(ctx, seq, options...)
		return err
	})
	return msg, err
}

// getEventually is get for a message that was announced: the replica that announced it may be ahead of the leader.
func (s *session) getEventually(ctx context.Context, stream jetstream.Stream, seq uint64, options ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	for begun := time.Now(); ; {
		msg, err := s.get(ctx, stream, seq, options...)
		if !errors.Is(err, jetstream.ErrMsgNotFound) || time.Since(begun) >= s.requests.replicaLag {
			return msg, err
		}
		if err := sleep(ctx, replicaLagInterval); err != nil {
			return nil, err
		}
	}
}

// stateOf asks for the state of a stream.
func (s *session) stateOf(ctx context.Context, stream jetstream.Stream, options ...jetstream.StreamInfoOpt) (state jetstream.StreamState, err error) {
	err = s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
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

// scan reads what a stream has now of some subjects, one message after the other. It does not use a consumer, which may be
// at a replica that lags behind, and end too early.
func (s *session) scan(ctx context.Context, stream jetstream.Stream, subjects string, each func(msg *jetstream.RawStreamMsg) error) error {
	for next := uint64(1); ; {
		msg, err := s.get(ctx, stream, next, jetstream.WithGetMsgSubject(subjects))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a stream: %w", err)
		}
		if err := each(msg); err != nil {
			return err
		}
		next = msg.Sequence + 1
	}
}

// probe writes a key, to find out whether the buffer can be written.
func (s *session) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(s.requests.timeout, appendTimeout))
	defer cancel()
	_, err := s.state.Put(ctx, "probe", nil)
	return err
}

func nameOf(stream jetstream.Stream) string { return stream.CachedInfo().Config.Name }
