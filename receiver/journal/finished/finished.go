// Package finished keeps marks of what has left a buffer: batches, and the objects of large events.
//
// A batch is marked before its message is deleted, so Mandrill's next attempt at it is recognised. The mark also proves that nothing was
// lost when the message comes back, which a deletion does not prevent:
//
//   - nats-server deletes the last message of a block of files without a trace while the block also says which messages of earlier
//     blocks are deleted. Until the server compacts the block, every two minutes, the message comes back if the process is killed.
//   - On some file systems the removal of a file does not survive a loss of power, and the removal of a later one does. The later one
//     may be that which said that a message of the earlier one is deleted.
//
// A batch that comes back is still marked. A remainder has the id of its batch, which is marked while the remainder waits, and a dead
// letter may be stored again with its id: so these are marked by their object, whose name is used once. Without an object they have no
// mark: at worst they are delivered twice, or listed again.
package finished

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Marks are the marks of a buffer. All fields are required.
type Marks struct {
	Store  *store.Store
	Stream jetstream.Stream
	// Prefix begins the subjects, and ends in a dot.
	Prefix string
}

// objects is between the prefix and the name of an object.
const objects = "object."

// MarkBatch marks a batch. It is to be called before its message is deleted, when what replaces it is stored.
func (m *Marks) MarkBatch(ctx context.Context, id string) error { return m.mark(ctx, id) }

// MarkObject marks an object. It is to be called before the last message that refers to it is deleted; without an object it does nothing.
func (m *Marks) MarkObject(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	return m.mark(ctx, objects+name)
}

func (m *Marks) mark(ctx context.Context, name string) error {
	err := m.Store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		_, _, err := m.Store.Publish(ctx, nats.NewMsg(m.Prefix+name))
		return err
	})
	if err != nil {
		return fmt.Errorf("marking what is finished: %w", err)
	}
	return nil
}

// HasBatch reports whether a batch, or a part of one, was delivered, or became a remainder or a dead letter, in the last 12 hours. The
// server recognises the ids of messages that it has; those of deleted ones it forgets when it is restarted.
func (m *Marks) HasBatch(ctx context.Context, id string) (bool, error) { return m.has(ctx, id) }

// HasObject reports whether an object was removed because its event is not needed any more.
func (m *Marks) HasObject(ctx context.Context, name string) (bool, error) {
	if name == "" {
		return false, nil
	}
	return m.has(ctx, objects+name)
}

// HasMessage reports whether a batch, or a remainder and its object, is marked, so that nothing is lost if it cannot be read.
func (m *Marks) HasMessage(ctx context.Context, remainder bool, id, object string) (bool, error) {
	if remainder {
		return m.HasObject(ctx, object)
	}
	return m.HasBatch(ctx, id)
}

// has looks for a mark. A damaged header may have any name, also one that is no subject.
func (m *Marks) has(ctx context.Context, name string) (bool, error) {
	if name == "" || strings.ContainsFunc(strings.TrimPrefix(name, objects), isForeign) {
		return false, nil
	}
	_, err := m.Stream.GetLastMsgForSubject(ctx, m.Prefix+name)
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, fmt.Errorf("looking for what is finished: %w", err)
	}
	return err == nil, nil
}

// isForeign reports whether names have no such character.
func isForeign(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '/'
}

// Back counts the marked batches among the messages of a stream, whose header has the id: they have come back.
func (m *Marks) Back(ctx context.Context, stream jetstream.Stream, idHeader string) (count uint64, err error) {
	var ids []string
	if err := store.Headers(ctx, stream, func(_ uint64, header nats.Header) { ids = append(ids, header.Get(idHeader)) }); err != nil {
		return 0, err
	}
	for _, id := range ids {
		back, err := m.HasBatch(ctx, id)
		if err != nil {
			return 0, err
		}
		if back {
			count++
		}
	}
	return count, nil
}

// ObjectsAfter counts the marks of objects after a sequence.
func (m *Marks) ObjectsAfter(ctx context.Context, seq uint64) (count uint64, err error) {
	for {
		msg, err := m.Store.Get(ctx, m.Stream, seq+1, jetstream.WithGetMsgSubject(m.Prefix+objects+">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return count, nil
		}
		if err != nil {
			return 0, fmt.Errorf("counting what is finished: %w", err)
		}
		count, seq = count+1, msg.Sequence
	}
}
