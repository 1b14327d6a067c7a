package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// within bounds a request, also where there is time for several: in a cluster some are lost.
func (s *session) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// attemptLimit is how long one request may take where another is made after it.
func (s *session) attemptLimit() time.Duration {
	if s.alone {
		return s.timeout
	}
	return attemptTimeout
}

// insist asks again while nobody answers: in a cluster a request is lost when the leader that it went to is gone. So it is
// for what does no harm when it is done twice.
func (s *session) retryWhileNoLeader(ctx context.Context, ask func(context.Context) error) error {
	limit := s.attemptLimit()
	for begun := time.Now(); ; limit = min(2*limit, s.timeout) {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := ask(attempt)
		cancel()
		if err == nil || s.alone || !isNoLeader(err) || s.conn.IsClosed() || time.Since(begun) > electionTimeout {
			return err
		}
		select {
		case <-time.After(minPause):
		case <-ctx.Done():
			return err
		}
	}
}

// remove takes a message away, which may be gone.
func (s *session) deleteMessage(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	return s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
		if err := stream.DeleteMsg(ctx, seq); err != nil && !isGone(err) {
			return err
		}
		return s.syncDir(nameOf(stream))
	})
}

// get reads the message at a place, or with a subject the first one that has it from there on.
func (s *session) get(ctx context.Context, stream jetstream.Stream, seq uint64, options ...jetstream.GetMsgOpt) (msg *jetstream.RawStreamMsg, err error) {
	err = s.retryWhileNoLeader(ctx, func(ctx context.Context) error {
		msg, err = stream.GetMsg(ctx, seq, options...)
		return err
	})
	return msg, err
}

const (
	// lagTime is how long what was told of may not be there yet, for one who looks every lagPause.
	replicaLagTimeout  = 2 * time.Second
	replicaLagInterval = 20 * time.Millisecond
)

// await is get for what was told of, or was there: another replica than the leader has told, which may do everything a
// little later.
func (s *session) getEventually(ctx context.Context, stream jetstream.Stream, seq uint64, options ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	for begun := time.Now(); ; {
		msg, err := s.get(ctx, stream, seq, options...)
		if s.alone || !errors.Is(err, jetstream.ErrMsgNotFound) || time.Since(begun) > replicaLagTimeout {
			return msg, err
		}
		select {
		case <-time.After(replicaLagInterval):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stateOf asks for the state of a stream, with what is asked for besides.
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

// probe writes something, to see whether that is possible.
func (s *session) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(s.timeout, appendTimeout))
	defer cancel()
	_, err := s.state.Put(ctx, "probe", nil)
	return err
}
