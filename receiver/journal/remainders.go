package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/codec"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/streams"
)

// A remainder replaces its parent: a batch, or an earlier remainder, of which some events are delivered. It is stored before
// its parent is deleted. One that does not fit into a message is stored in several, one after the other, so a crash may leave
// some of them:
//
//   - All messages are there: the remainder counts, and the parent is deleted if it is still there.
//   - Some are missing and the parent is there: they were never all there. The parent counts.
//   - Some are missing and the parent is gone: they were all there, and the missing ones are delivered. The others count.
//
// The messages of an incomplete remainder are not deleted at once, but just before their parent is. A former leader may still be
// about to store the missing ones and to delete the parent, and then they are all that there is of its events.
//
// On some file systems a deletion does not survive a loss of power, even if a later one does. So a remainder also names what its
// parent has replaced: of that nothing counts, although its own remainder is gone.

// maxReplaced bounds how many earlier ancestors a remainder names. Deletions that many requeues ago have reached the disk.
const maxReplaced = 16

// Requeue replaces a batch or a remainder by what remains of it. After [ErrFull] nothing has changed. After another error it is
// not known whether it has, and the consumer must not be used any more.
func (c *Consumer) Requeue(ctx context.Context, batch *StoredBatch, remaining []PendingEvent) ([]*StoredBatch, error) {
	remainder := *batch
	remainder.Value, remainder.parent, remainder.set = nil, batch.Position, remainderSet{}
	if batch.Position.Remainder {
		remainder.replaced = append(streams.Positions{batch.parent}, batch.replaced[:min(len(batch.replaced), maxReplaced-1)]...)
	}
	groups := codec.GroupBySize(remaining, c.session.maxMessage)
	if len(groups) > 1 {
		remainder.set = remainderSet{id: nuid.Next(), parts: len(groups)}
	}
	var stored []*StoredBatch
	for i, events := range groups {
		remainder.set.part = i + 1
		part, err := c.storeRemainder(ctx, &remainder, events)
		if errors.Is(err, ErrFull) {
			if removeErr := c.removeStored(ctx, stored, batch.object); removeErr != nil {
				return nil, removeErr // and not ErrFull
			}
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("storing a remainder: %w", err)
		}
		stored = append(stored, part)
	}
	if err := c.markFinishedAndDelete(ctx, batch.Position, batch.ID, ""); err != nil {
		return nil, err
	}
	return stored, nil
}

// storeRemainder stores a message of a remainder. With [ErrFull] nothing is stored.
func (c *Consumer) storeRemainder(ctx context.Context, remainder *StoredBatch, events []PendingEvent) (*StoredBatch, error) {
	subject := c.session.subjects.Store(kindRemainder, remainder.Webhook)
	msg, err := c.session.encode(ctx, subject, remainder, events)
	if store.IsFull(err) {
		return nil, fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return nil, err
	}
	msg.Header.Set(headerOrigin, strconv.FormatUint(remainder.Origin, 10))
	msg.Header.Set(headerParent, remainder.parent.String())
	if len(remainder.replaced) > 0 {
		msg.Header.Set(headerReplaced, remainder.replaced.String())
	}
	if remainder.set.parts > 1 {
		msg.Header.Set(headerSet, remainder.set.String())
	}
	done, err := c.session.claimDisk(int64(len(msg.Data)), engine.ForRemainders)
	if err != nil {
		c.session.discardObject(ctx, msg, remainder.object)
		return nil, err
	}
	defer done()
	seq, _, err := c.session.store.Publish(ctx, msg)
	if store.IsFull(err) {
		c.session.discardObject(ctx, msg, remainder.object)
		return nil, fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return nil, err
	}
	stored, err := parseHeaders(Position{Remainder: true, Seq: seq}, msg.Header, len(msg.Data))
	if err == nil {
		stored.Events = events
	}
	return stored, err
}

// removeStored removes the messages of a remainder for which there was no space in the end, and their objects except the
// parent's.
func (c *Consumer) removeStored(ctx context.Context, stored []*StoredBatch, parentObject string) error {
	for _, part := range stored {
		if err := c.session.store.Delete(ctx, c.session.remainders, part.Position.Seq); err != nil {
			return fmt.Errorf("removing a part of a remainder: %w", err)
		}
		if part.object != "" && part.object != parentObject {
			_ = c.session.objects.Remove(context.WithoutCancel(ctx), part.object) // else it is garbage
		}
	}
	return nil
}

// Remainders hands over all remainders, in no order, and finishes or undoes what a crash has interrupted. It is to be called
// before the other methods.
func (c *Consumer) Remainders(ctx context.Context, take func(*StoredBatch)) error {
	objects := map[string]uint64{}    // the remainder of each large event
	replaced := map[Position]string{} // the batch's id of each earlier ancestor that may be there
	older := map[Position]bool{}
	found, parents := map[Position]*siblings{}, []Position(nil) // parents are in order, each after its own parent
	err := c.session.store.ScanAll(ctx, c.session.remainders, c.session.subjects.All(kindRemainder, c.partition), func(msg *jetstream.RawStreamMsg) error {
		position := Position{Remainder: true, Seq: msg.Sequence}
		if c.isHeld(position) || !c.session.subjects.Has(c.partition, msg.Subject) {
			return nil
		}
		remainder, err := c.decodeOnly(ctx, position, msg)
		if errors.Is(err, store.ErrDamaged) {
			return c.dropDamaged(ctx, position, msg.Header, err)
		}
		if err != nil {
			return err
		}
		if remainder.object != "" { // two with one object: on some file systems a deletion does not survive a loss of power
			if older, ok := objects[remainder.object]; ok {
				if err := c.session.store.Delete(ctx, c.session.remainders, older); err != nil {
					return fmt.Errorf("deleting a replaced remainder: %w", err)
				}
			}
			objects[remainder.object] = msg.Sequence
		}
		for _, ancestor := range remainder.replaced { // an ancestor is older, so it was read before
			if !ancestor.Remainder || older[ancestor] {
				replaced[ancestor] = remainder.ID
			}
		}
		older[position] = true
		of := found[remainder.parent]
		if of == nil {
			of = &siblings{id: remainder.ID, sets: map[string]*foundSet{}}
			found[remainder.parent], parents = of, append(parents, remainder.parent)
		}
		if remainder.set.parts < 2 {
			of.complete = true
			take(remainder)
			return nil
		}
		of.add(remainder)
		return nil
	})
	if err != nil {
		return err
	}
	var accepted []uint64
	for _, parent := range parents { // a crash in between must not leave one whose remainder is gone
		seqs, err := c.resolve(ctx, parent, found[parent])
		if err != nil {
			return err
		}
		accepted = append(accepted, seqs...)
	}
	if err := c.deleteReplaced(ctx, replaced); err != nil {
		return err
	}
	return c.takeAgain(ctx, accepted, take)
}

// deleteReplaced deletes earlier ancestors of remainders whose deletion a loss of power undid.
func (c *Consumer) deleteReplaced(ctx context.Context, replaced map[Position]string) error {
	for position, id := range replaced {
		there, err := c.isThere(ctx, position, id)
		if err != nil {
			return err
		}
		if there {
			if err := c.markFinishedAndDelete(ctx, position, id, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// siblings are the remainders with one parent. There are several if it was requeued again after a crash.
type siblings struct {
	id       string // of the parent
	complete bool   // there is a complete one
	sets     map[string]*foundSet
}

// foundSet is a remainder in several messages, of which some may be missing.
type foundSet struct {
	parts int            // how many messages the whole remainder has
	seqs  map[int]uint64 // sequences of the messages that exist, by part
}

func (f *foundSet) complete() bool { return len(f.seqs) == f.parts }

func (s *siblings) add(remainder *StoredBatch) {
	set := s.sets[remainder.set.id]
	if set == nil {
		set = &foundSet{parts: remainder.set.parts, seqs: map[int]uint64{}}
		s.sets[remainder.set.id] = set
	}
	set.seqs[remainder.set.part] = remainder.Position.Seq
	s.complete = s.complete || set.complete()
}

// resolve decides which remainders of a parent count, and deletes the parent when there is a complete one. It returns the
// messages of those in several messages.
func (c *Consumer) resolve(ctx context.Context, parent Position, of *siblings) (accepted []uint64, err error) {
	there, err := c.isThere(ctx, parent, of.id)
	if err != nil {
		return nil, err
	}
	var incomplete []uint64
	for _, set := range of.sets {
		seqs := slices.Sorted(maps.Values(set.seqs))
		if there && !set.complete() {
			incomplete = append(incomplete, seqs...)
		} else {
			accepted = append(accepted, seqs...)
		}
	}
	if len(incomplete) > 0 {
		c.mu.Lock()
		c.incomplete[parent] = incomplete
		c.mu.Unlock()
	}
	if there && of.complete {
		err = c.markFinishedAndDelete(ctx, parent, of.id, "")
	}
	return accepted, err
}

// isThere reports whether a parent is still there. After a stream was damaged there may be another batch at its position. A batch that was
// finished and has come back is removed: its remainder was complete, and some of it may be delivered.
func (c *Consumer) isThere(ctx context.Context, position Position, id string) (bool, error) {
	msg, err := c.session.store.Get(ctx, c.session.streamOf(position), position.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for what a remainder replaces: %w", err)
	}
	if msg.Header.Get(headerID) != id {
		return false, nil
	}
	back, err := c.dropIfBack(ctx, position, id)
	return !back, err
}

// dropIncomplete deletes what is there of incomplete remainders, before what they were to replace is deleted.
func (c *Consumer) dropIncomplete(ctx context.Context, parent Position) error {
	c.mu.Lock()
	seqs := c.incomplete[parent]
	c.mu.Unlock()
	for _, seq := range seqs {
		if err := c.remove(ctx, c.session.remainders, seq); err != nil {
			return fmt.Errorf("deleting an incomplete remainder: %w", err)
		}
	}
	c.mu.Lock()
	delete(c.incomplete, parent)
	c.mu.Unlock()
	return nil
}

// takeAgain hands over remainders in several messages. They are read once more, so that only one is in memory at a time.
func (c *Consumer) takeAgain(ctx context.Context, seqs []uint64, take func(*StoredBatch)) error {
	for _, seq := range seqs {
		position := Position{Remainder: true, Seq: seq}
		msg, err := c.session.store.Get(ctx, c.session.remainders, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) { // it is itself the parent of another one, and was deleted
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a remainder: %w", err)
		}
		remainder, err := c.decodeOnly(ctx, position, msg)
		if errors.Is(err, store.ErrDamaged) {
			if err := c.dropDamaged(ctx, position, msg.Header, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		take(remainder)
	}
	return nil
}

// discardObject removes the object of a message that was not stored, unless it is another message's too. If that is not
// possible it is garbage (package gc).
func (s *session) discardObject(ctx context.Context, msg *nats.Msg, shared string) {
	if name := msg.Header.Get(headerObject); name != "" && name != shared {
		_ = s.objects.Remove(context.WithoutCancel(ctx), name)
	}
}
