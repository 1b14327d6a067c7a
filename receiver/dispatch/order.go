package dispatch

import (
	"cmp"
	"slices"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// pendingBatch is a batch whose delivery has begun, or the remainder of one. Of its events only the messages that they
// belong to are in memory.
type pendingBatch struct {
	position   journal.Position
	origin     uint64    // position of the original batch; decides its place in the order
	firstIndex int       // number of its first event in that batch
	received   time.Time // or redriven
	events     int
	size       int64                  // in memory
	stored     int64                  // on disk
	keys       map[uint64]struct{}    // order keys of its events
	due        time.Time              // when one of its events can be sent
	busy       bool                   // a cycle has it
	accepted   bool                   // the sinks have all its events, and only its removal from the buffer is left
	unsaved    []journal.PendingEvent // the events that remain, without their bytes, while the buffer is too full to save them
}

// orderIndex keeps the pending batches of a webhook in the order in which they were received, and for each message the
// batches that hold events of it. An event may be sent when no earlier batch holds events of its message. It is not safe
// for concurrent use.
type orderIndex struct {
	batches []*pendingBatch            // by origin
	byKey   map[uint64][]*pendingBatch // by order key, each list by origin
	next    uint64                     // position of the first batch that was not read yet
}

func newOrderIndex() orderIndex { return orderIndex{byKey: map[uint64][]*pendingBatch{}} }

// add inserts a batch after those of the same origin.
func (o *orderIndex) add(batch *pendingBatch) {
	at, _ := slices.BinarySearchFunc(o.batches, batch, func(a, b *pendingBatch) int {
		return cmp.Or(cmp.Compare(a.origin, b.origin), -1)
	})
	o.batches = slices.Insert(o.batches, at, batch)
	for key := range batch.keys {
		holders := o.byKey[key]
		at := len(holders)
		for at > 0 && holders[at-1].origin > batch.origin { // after a restart remainders of later batches are listed first
			at--
		}
		o.byKey[key] = slices.Insert(holders, at, batch)
	}
}

// replace puts parts in the place of a batch: none, itself with fewer messages, or several. Keys are those that the batch
// had before. A batch that becomes the first one of a message is due now.
func (o *orderIndex) replace(batch *pendingBatch, keys map[uint64]struct{}, now time.Time, parts ...*pendingBatch) {
	at := slices.Index(o.batches, batch)
	o.batches = slices.Replace(o.batches, at, at+1, parts...)
	for key := range keys {
		var holders []*pendingBatch
		for _, holder := range o.byKey[key] {
			if holder != batch {
				holders = append(holders, holder)
				continue
			}
			for _, part := range parts {
				if _, holds := part.keys[key]; holds {
					holders = append(holders, part)
				}
			}
		}
		if len(holders) == 0 {
			delete(o.byKey, key)
			continue
		}
		if first := holders[0]; first != o.byKey[key][0] && !slices.Contains(parts, first) {
			first.due = now
		}
		o.byKey[key] = holders
	}
}

// awaitsOlder reports whether older batches of the webhook may still be unread. After a restart remainders are listed first;
// until the batches before them are read, their place in the order is unknown. unread says whether
// there may be such batches.
func (o *orderIndex) awaitsOlder(batch *pendingBatch, unread bool) bool {
	return batch.position.Remainder && o.next <= batch.origin && unread
}

// isFirst reports whether no earlier batch holds events of a message, except those in sameCycle, which go out before, and those that
// have gone out.
func (o *orderIndex) isFirst(batch *pendingBatch, key uint64, sameCycle map[*pendingBatch]bool) bool {
	for _, holder := range o.byKey[key] {
		if holder == batch {
			return true
		}
		if !sameCycle[holder] && !holder.accepted {
			return false
		}
	}
	return false
}

// orderedEvent is what the order of an event depends on.
type orderedEvent struct {
	key uint64 // 0: the event belongs to no message
	due time.Time
}

// sendable returns the numbers of the events of a batch that can be sent now, because they are due and first of their
// message. blocked is the set of messages with an earlier event in this cycle that cannot be sent yet; sendable adds to it.
func (o *orderIndex) sendable(batch *pendingBatch, events []orderedEvent, sameCycle map[*pendingBatch]bool, blocked map[uint64]bool, now time.Time) []int {
	var sendable []int
	for i, event := range events {
		if event.key != 0 && (blocked[event.key] || !o.isFirst(batch, event.key, sameCycle)) || event.due.After(now) {
			blocked[event.key] = event.key != 0
			continue
		}
		sendable = append(sendable, i)
	}
	return sendable
}

// nextDue returns when the first event of a batch can be sent. Events that wait for another one of their message do not
// count: they become due with it.
func (o *orderIndex) nextDue(batch *pendingBatch, events []orderedEvent, now time.Time) time.Time {
	due := now.Add(noWait)
	seen := map[uint64]bool{}
	for _, event := range events {
		if event.key != 0 && (seen[event.key] || !o.isFirst(batch, event.key, nil)) {
			continue
		}
		seen[event.key] = event.key != 0
		if event.due.Before(due) {
			due = event.due
		}
	}
	return due
}
