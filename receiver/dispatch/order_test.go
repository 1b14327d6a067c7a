package dispatch

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func pendingAt(origin uint64, keys ...uint64) *pendingBatch {
	batch := &pendingBatch{position: journal.Position{Seq: origin}, origin: origin, events: len(keys), keys: map[uint64]struct{}{}, due: noon}
	for _, key := range keys {
		batch.keys[key] = struct{}{}
	}
	return batch
}

func remainderAt(origin uint64, keys ...uint64) *pendingBatch {
	batch := pendingAt(origin, keys...)
	batch.position.Remainder = true
	return batch
}

func orderOf(batches ...*pendingBatch) *orderIndex {
	order := newOrderIndex()
	for _, batch := range batches {
		order.add(batch)
	}
	return &order
}

func dueAt(due time.Time, keys ...uint64) []orderedEvent {
	events := make([]orderedEvent, len(keys))
	for i, key := range keys {
		events[i] = orderedEvent{key, due}
	}
	return events
}

func TestBatchesAreOrderedByOrigin(t *testing.T) {
	t.Parallel()
	third, first, second, also := pendingAt(3, 1), pendingAt(1, 1), pendingAt(2, 1), pendingAt(2, 1)
	order := orderOf(third, first, second, also)
	want := []*pendingBatch{first, second, also, third}
	if !slices.Equal(order.batches, want) || !slices.Equal(order.byKey[1], want) {
		t.Errorf("got origins %v and %v", originsOf(order.batches), originsOf(order.byKey[1]))
	}
}

func originsOf(batches []*pendingBatch) (origins []uint64) {
	for _, batch := range batches {
		origins = append(origins, batch.origin)
	}
	return origins
}

func TestEventWaitsForEarlierBatchesOfItsMessage(t *testing.T) {
	t.Parallel()
	first, second := pendingAt(1, 1, 2), pendingAt(2, 2, 3)
	order := orderOf(first, second)
	for name, test := range map[string]struct {
		batch     *pendingBatch
		key       uint64
		sameCycle map[*pendingBatch]bool
		want      bool
	}{
		"first of its message":                  {first, 2, nil, true},
		"second of its message":                 {second, 2, nil, false},
		"alone":                                 {second, 3, nil, true},
		"the first one is in the same cycle":    {second, 2, map[*pendingBatch]bool{first: true, second: true}, true},
		"another one is in the same cycle":      {second, 2, map[*pendingBatch]bool{second: true}, false},
		"the batch has no event of the message": {second, 1, nil, false},
	} {
		if got := order.isFirst(test.batch, test.key, test.sameCycle); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestOnlyDueFirstEventsAreSendable(t *testing.T) {
	t.Parallel()
	first, second := pendingAt(1, 1, 2), pendingAt(2, 2, 3)
	order := orderOf(first, second)
	both := map[*pendingBatch]bool{first: true, second: true}
	blocked := map[uint64]bool{}
	// The first event of message 2 is not due, so its other events wait, in this batch and in the next.
	events := []orderedEvent{{1, noon}, {2, noon.Add(time.Second)}, {2, noon}, {0, noon}, {0, noon.Add(time.Second)}}
	if diff := cmp.Diff([]int{0, 3}, order.sendable(first, events, both, blocked, noon)); diff != "" {
		t.Errorf("first batch (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{1}, order.sendable(second, dueAt(noon, 2, 3), both, blocked, noon)); diff != "" {
		t.Errorf("second batch (-want +got):\n%s", diff)
	}
}

func TestNextDueIsThatOfTheFirstSendableEvent(t *testing.T) {
	t.Parallel()
	first, second := pendingAt(1, 1), pendingAt(2, 1, 2)
	order := orderOf(first, second)
	for name, test := range map[string]struct {
		batch  *pendingBatch
		events []orderedEvent
		want   time.Duration
	}{
		"earliest event": {first, []orderedEvent{{1, noon.Add(2 * time.Second)}, {0, noon.Add(time.Second)}}, time.Second},
		"a later event of the message does not count": {first, []orderedEvent{{1, noon.Add(2 * time.Second)}, {1, noon}}, 2 * time.Second},
		"an event that waits for an earlier batch":    {second, []orderedEvent{{1, noon}, {2, noon.Add(3 * time.Second)}}, 3 * time.Second},
		"only such events":                            {second, dueAt(noon, 1), noWait},
	} {
		if got := order.nextDue(test.batch, test.events, noon).Sub(noon); got != test.want {
			t.Errorf("%s: due after %s, want %s", name, got, test.want)
		}
	}
}

func TestReplacedBatchLetsTheNextOneGo(t *testing.T) {
	t.Parallel()
	first, second := pendingAt(1, 1, 2), pendingAt(2, 1, 2)
	second.due = noon.Add(time.Hour)
	order := orderOf(first, second)
	part := remainderAt(1, 2)
	order.replace(first, first.keys, noon, part)
	if !order.isFirst(second, 1, nil) || order.isFirst(second, 2, nil) || !order.isFirst(part, 2, nil) {
		t.Error("want the second batch first of message 1, and the remainder first of message 2")
	}
	if !second.due.Equal(noon) {
		t.Errorf("the second batch is due at %s, want now", second.due)
	}
	order.replace(part, part.keys, noon)
	order.replace(second, second.keys, noon)
	if len(order.batches) != 0 || len(order.byKey) != 0 {
		t.Errorf("%d batches and %d messages remain, want none", len(order.batches), len(order.byKey))
	}
}

func TestRemainderAwaitsUnreadOlderBatches(t *testing.T) {
	t.Parallel()
	order := orderOf()
	order.next = 5
	for name, test := range map[string]struct {
		batch  *pendingBatch
		unread bool
		want   bool
	}{
		"a remainder of a later batch":    {remainderAt(7), true, true},
		"a remainder of the next batch":   {remainderAt(5), true, true},
		"a remainder of an earlier batch": {remainderAt(4), true, false},
		"nothing is unread":               {remainderAt(7), false, false},
		"a batch, not a remainder":        {pendingAt(7), true, false},
	} {
		if got := order.awaitsOlder(test.batch, test.unread); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// Events fail at random. Those of each message must still be sent in the order of their batches.
func TestOrderIndexAgainstAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		order := orderOf()
		pending := map[*pendingBatch][]orderedEvent{}
		sent, want := map[uint64][]uint64{}, map[uint64][]uint64{}
		for origin := uint64(1); origin <= 10; origin++ {
			var keys []uint64
			for range 1 + random.IntN(4) {
				key := random.Uint64N(4)
				keys = append(keys, key)
				want[key] = append(want[key], origin)
			}
			batch := pendingAt(origin, slices.DeleteFunc(slices.Clone(keys), func(key uint64) bool { return key == 0 })...)
			order.add(batch)
			pending[batch] = dueAt(noon, keys...)
		}
		for range 10_000 {
			if len(order.batches) == 0 {
				break
			}
			batch := order.batches[random.IntN(len(order.batches))]
			events := pending[batch]
			failed := map[uint64]bool{} // as the sender holds back later events of a failed message
			var remaining []orderedEvent
			sendable := order.sendable(batch, events, nil, map[uint64]bool{}, noon)
			for i, event := range events {
				if !slices.Contains(sendable, i) || failed[event.key] || random.IntN(3) == 0 {
					failed[event.key] = event.key != 0
					remaining = append(remaining, event)
					continue
				}
				sent[event.key] = append(sent[event.key], batch.origin)
			}
			delete(pending, batch)
			if len(remaining) == 0 {
				order.replace(batch, batch.keys, noon)
				continue
			}
			part := remainderAt(batch.origin)
			for _, event := range remaining {
				if event.key != 0 {
					part.keys[event.key] = struct{}{}
				}
			}
			order.replace(batch, batch.keys, noon, part)
			pending[part] = remaining
		}
		delete(sent, 0)
		delete(want, 0)
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Fatalf("seed %d: origins by message (-want +got):\n%s", seed, diff)
		}
	}
}
