package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Scan reads what a stream has now of some subjects, one message after the other. It does not use a consumer, which may be
// at a replica that lags behind, and end too early.
func (s *Store) Scan(ctx context.Context, stream jetstream.Stream, subjects string, each func(msg *jetstream.RawStreamMsg) error) error {
	return s.ScanAll(ctx, stream, []string{subjects}, each)
}

// ScanAll is Scan of several subjects, which must not overlap, in the order of the stream.
func (s *Store) ScanAll(ctx context.Context, stream jetstream.Stream, subjects []string, each func(msg *jetstream.RawStreamMsg) error) error {
	heads := make([]*jetstream.RawStreamMsg, len(subjects)) // the next message of each subject
	ask := func(i int, from uint64) (err error) {
		heads[i], err = s.Get(ctx, stream, from, jetstream.WithGetMsgSubject(subjects[i]))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			heads[i], err = nil, nil
		}
		if err != nil {
			return fmt.Errorf("reading a stream: %w", err)
		}
		return nil
	}
	for i := range subjects {
		if err := ask(i, 1); err != nil {
			return err
		}
	}
	for {
		first := -1
		for i, head := range heads {
			if head != nil && (first < 0 || head.Sequence < heads[first].Sequence) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		msg := heads[first]
		if err := each(msg); err != nil {
			return err
		}
		if err := ask(first, msg.Sequence+1); err != nil {
			return err
		}
	}
}

// GetFirst reads the first message that has one of some subjects, at a sequence or after it.
func (s *Store) GetFirst(ctx context.Context, stream jetstream.Stream, seq uint64, subjects ...string) (first *jetstream.RawStreamMsg, err error) {
	for missing := subjects; ; {
		asked, before := missing, first
		missing = nil
		for _, subject := range asked {
			msg, err := s.Get(ctx, stream, seq, jetstream.WithGetMsgSubject(subject))
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound):
				missing = append(missing, subject)
			case err != nil:
				return nil, err
			case first == nil || msg.Sequence < first.Sequence:
				first = msg
			}
		}
		switch {
		case first == nil:
			return nil, jetstream.ErrMsgNotFound
		case before != nil || len(missing) == 0:
			return first, nil
		}
		// One that was missing may have been stored before the one that was found: look once more.
	}
}

// GetFirstEventually is GetFirst for a message that was announced.
func (s *Store) GetFirstEventually(ctx context.Context, stream jetstream.Stream, seq uint64, subjects ...string) (*jetstream.RawStreamMsg, error) {
	return s.eventually(ctx, func() (*jetstream.RawStreamMsg, error) { return s.GetFirst(ctx, stream, seq, subjects...) })
}

// LastOf returns the sequence of the last message that has one of the subjects of a wildcard, 0 if there is none.
func (s *Store) LastOf(ctx context.Context, stream jetstream.Stream, subject string) (last uint64, err error) {
	err = s.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		msg, err := stream.GetLastMsgForSubject(ctx, subject)
		if err == nil {
			last = msg.Sequence
		}
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, fmt.Errorf("looking for the last message of a stream: %w", err)
	}
	return last, nil
}
