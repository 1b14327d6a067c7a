package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// Messages that are stored together are all stored or none while the server runs. It syncs them together, and when the power
// fails before that any of them may be on disk. When it starts again it adds those that come after the last one if it can, and
// does not miss those before it. With some of them there a batch that was not acknowledged would be called a duplicate when it
// comes again, and what is left of a batch would take its place though some of it is not there. So it is written down
// up to where messages were stored together and synced. Those after that are removed when not all of them are there.

// storedKey begins the names under which that is written down, for each stream.
const storedKey = "stored."

// errTorn has the server started again, because it remembers the identities of what was removed.
var errTorn = errors.New("a part of a batch was on disk that was not acknowledged")

// confirm writes down that messages were stored together, up to a place. When two are, the lower place may be written last:
// then more is looked at than need be.
func (s *session) confirm(ctx context.Context, stream jetstream.Stream, last uint64) error {
	if !s.alone {
		return nil
	}
	ctx, cancel := s.withTimeout(ctx)
	defer cancel()
	if _, err := s.state.PutString(ctx, storedKey+nameOf(stream), strconv.FormatUint(last, 10)); err != nil {
		return fmt.Errorf("writing down that a batch is stored: %w", err)
	}
	return nil
}

// confirmed returns up to where it is known.
func (s *session) confirmed(ctx context.Context, stream jetstream.Stream) (uint64, error) {
	ctx, cancel := s.withTimeout(ctx)
	defer cancel()
	entry, err := s.state.Get(ctx, storedKey+nameOf(stream))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking up to where batches are stored: %w", err)
	}
	last, err := strconv.ParseUint(string(entry.Value()), 10, 64)
	if err != nil {
		return 0, nil // as if it were not there
	}
	return last, nil
}

// mend removes what is there of messages that were to be stored together.
func (j *Journal) removeTornBatches(ctx context.Context, s *session) error {
	if !s.alone {
		return nil
	}
	removed := 0
	for _, stream := range []jetstream.Stream{s.batches, s.remainders} {
		places, err := j.findTorn(ctx, s, stream)
		if err != nil {
			return err
		}
		for _, seq := range places {
			if err := s.deleteMessage(ctx, stream, seq); err != nil {
				return fmt.Errorf("removing a part of a batch: %w", err)
			}
		}
		removed += len(places)
	}
	if removed == 0 {
		return nil
	}
	j.logger.Warn("Removed parts of a batch that was not stored as a whole when the receiver ended; nothing of it was acknowledged", "parts", removed)
	return errTorn
}

// torn returns the places of the last messages of a stream if they were to be stored together and not all of them are there.
func (j *Journal) findTorn(ctx context.Context, s *session, stream jetstream.Stream) (places []uint64, err error) {
	confirmed, err := s.confirmed(ctx, stream)
	if err != nil {
		return nil, err
	}
	last, err := s.last(ctx, stream, confirmed)
	if err != nil || last == nil {
		return nil, err
	}
	id := last.Header.Get(headerCommitID)
	number, err := strconv.ParseUint(last.Header.Get(headerCommitSequence), 10, 64)
	if id == "" || err != nil || number > last.Sequence { // it is alone, and what was before it was synced before
		return nil, nil //nolint:nilerr // it has no number
	}
	whole := last.Header.Get(headerCommit) != ""
	for seq := last.Sequence - number + 1; seq <= last.Sequence; seq++ {
		msg, err := s.get(ctx, stream, seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			whole = false
		case err != nil:
			return nil, fmt.Errorf("reading a part of a batch: %w", err)
		case msg.Header.Get(headerCommitID) == id:
			places = append(places, seq)
		}
	}
	if !whole && stream == s.batches { // when something of it was delivered all of it had been synced
		whole, err = j.isFinished(ctx, s, last.Header.Get(headerBatch))
	}
	if whole || err != nil {
		return nil, err
	}
	return places, nil
}

// last returns the last message of a stream, nil if there is none after a place.
func (s *session) last(ctx context.Context, stream jetstream.Stream, after uint64) (*jetstream.RawStreamMsg, error) {
	end := stream.CachedInfo().State.LastSeq
	if after > end { // it is not the stream that it was
		after = 0
	}
	for seq := end; seq > after && seq+maxCommit > end; seq-- { // a part of a batch has no more after it
		msg, err := s.get(ctx, stream, seq)
		if err == nil {
			return msg, nil
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("reading the last message of a stream: %w", err)
		}
	}
	return nil, nil
}
