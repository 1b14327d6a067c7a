package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// After a restart remainders are known before the batches. What is left of a later batch still comes after an earlier one
// that nobody had begun.
func TestRemaindersAndBatchesKeepTheirOrderAfterRestart(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]chan struct{}{"at once": nil, "slowly": make(chan struct{})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
			consumer := &fakeConsumer{watchGate: slow, batches: []*journal.StoredBatch{
				remainderAt(1, 7, "click 1", "click 2"), remainderAt(2, 3, "send 2"), batchAt(5, "open 1", "open 3"), batchAt(9, "spam 1", "spam 2"),
			}}
			ended := startDispatcher(t, consumer, sinks)
			if slow != nil {
				close(slow)
			}
			sinks.expectAccepted(t, "a open 1", "a click 1", "a spam 1", "a send 2", "a click 2", "a spam 2", "a open 3")
			eventually(t, "the end of all", func() bool {
				consumer.mu.Lock()
				defer consumer.mu.Unlock()
				return len(consumer.acked) == 4
			})
			for id, want := range map[string][]string{"1": {"a open 1", "a click 1", "a spam 1"}, "2": {"a send 2", "a click 2", "a spam 2"}} {
				var got []string
				for _, event := range sinks.accepted {
					if strings.HasSuffix(event, " "+id) {
						got = append(got, event)
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("message %s: got %q, want %q", id, got, want)
				}
			}
			select {
			case err := <-ended:
				t.Errorf("it ended: %v", err)
			default:
			}
		})
	}
}

// A journal that does not work ends the work, which begins anew when it does.
func TestDispatcherEndsWhenTheJournalFails(t *testing.T) {
	t.Parallel()
	sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	sinks.setAnswer(func(_, event string, _ int) error {
		if event == "a open 1" {
			return errSinkDown
		}
		return nil
	})
	failure := errors.New("it does not work")
	ended := startDispatcher(t, &fakeConsumer{requeueErr: failure, batches: []*journal.StoredBatch{batchAt(1, "open 1", "send 2")}}, sinks)
	select {
	case err := <-ended:
		if !errors.Is(err, failure) {
			t.Errorf("got %v, want %v", err, failure)
		}
	case <-time.After(30 * time.Second):
		t.Error("it goes on")
	}
}

// When it is not told of batches any more the work ends too, whatever waits, so that it is begun anew.
func TestDispatcherEndsWhenTheWatchFails(t *testing.T) {
	t.Parallel()
	sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	failure, waiting := errors.New("it does not work"), batchAt(1, "open 1")
	waiting.Webhook = "shop/gone"
	ended := startDispatcher(t, &fakeConsumer{watchErr: failure, batches: []*journal.StoredBatch{waiting}}, sinks)
	select {
	case err := <-ended:
		if !errors.Is(err, failure) {
			t.Errorf("got %v, want %v", err, failure)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}

// The time to write down how a round went is each unit's own: a slow disk and a round of many small batches must not have
// it end half way, and what was delivered sent again.
func TestEachBatchHasItsOwnTimeToSettle(t *testing.T) {
	t.Parallel()
	sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	var mu sync.Mutex
	var deadlines []time.Time
	consumer := &fakeConsumer{onAck: func(ctx context.Context) {
		deadline, ok := ctx.Deadline()
		mu.Lock()
		defer mu.Unlock()
		if deadlines = append(deadlines, deadline); !ok {
			t.Error("it may take for ever")
		}
	}}
	for seq := range uint64(5) {
		consumer.batches = append(consumer.batches, batchAt(seq+1, fmt.Sprintf("open %d", seq)))
	}
	startDispatcher(t, consumer, sinks)
	eventually(t, "the end of all", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(deadlines) == len(consumer.batches)
	})
	mu.Lock()
	defer mu.Unlock()
	for i, deadline := range deadlines[1:] {
		if !deadline.After(deadlines[i]) {
			t.Errorf("units %d and %d have to share their time", i, i+1)
		}
	}
}

// What is left of a batch may be several remainders, of which the first is put back again and so is stored last.
func TestRemaindersOfOneBatchKeepTheirOrder(t *testing.T) {
	t.Parallel()
	sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	second, first := remainderAt(2, 7, "click 1"), remainderAt(3, 7, "send 1", "open 1")
	second.Events[0].Index, first.Events[1].Index = 2, 1
	startDispatcher(t, &fakeConsumer{batches: []*journal.StoredBatch{second, first}}, sinks)
	sinks.expectAccepted(t, "a send 1", "a open 1", "a click 1")
	if want := []string{"a send 1", "a open 1", "a click 1"}; !slices.Equal(sinks.accepted, want) {
		t.Errorf("got %q, want %q", sinks.accepted, want)
	}
}

// What is delivered of a round is written down while the rest of it is under way: it is not delivered again if the
// receiver dies.
func TestBatchesAreSettledAsTheyEnd(t *testing.T) {
	t.Parallel()
	sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	hang := make(chan struct{})
	sinks.setAnswer(func(_, event string, _ int) error {
		if event == "a send 3" {
			<-hang
		}
		return nil
	})
	consumer := &fakeConsumer{batches: []*journal.StoredBatch{batchAt(1, "open 1", "open 2"), batchAt(2, "open 3", "send 3"), batchAt(3, "open 4")}}
	startDispatcher(t, consumer, sinks)
	finished := func(want ...uint64) func() bool {
		return func() bool {
			consumer.mu.Lock()
			defer consumer.mu.Unlock()
			return len(consumer.acked) == len(want) && !slices.ContainsFunc(want, func(seq uint64) bool { return !slices.Contains(consumer.acked, journal.Position{Seq: seq}) })
		}
	}
	eventually(t, "the end of two", finished(1, 3))
	close(hang)
	eventually(t, "the end of all", finished(1, 2, 3))
}

// A sink so slow that a batch takes long gets a part of it, which is written down, and then the next. When the receiver is
// told to stop it begins nothing more.
func TestCycleIsCutShortAfterItsTime(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]bool{"after some time": false, "at the end": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const events = 60
			sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
			sinks.setAnswer(func(string, string, int) error { <-time.After(50 * time.Millisecond); return nil })
			var batch []string
			for i := range events { // of one message, so that they are sent one after the other
				batch = append(batch, fmt.Sprintf("e%d 1", i))
			}
			consumer := &fakeConsumer{batches: []*journal.StoredBatch{batchAt(1, batch...)}}
			t.Run("", func(t *testing.T) {
				startDispatcher(t, consumer, sinks)
				if stop {
					sinks.waitFor(t, "delivery of something", func(accepted []string, _ map[string]int) bool { return len(accepted) > 0 })
					return
				}
				eventually(t, "a remainder", func() bool {
					consumer.mu.Lock()
					defer consumer.mu.Unlock()
					return len(consumer.requeued) > 0
				})
			})
			sent := len(sinks.accepted)
			if sent == 0 || stop && sent > 10 || sent+len(consumer.requeued) != events {
				t.Fatalf("%d events were sent, %d put back, of %d", sent, len(consumer.requeued), events)
			}
			for i, entry := range consumer.requeued {
				if entry.Index != sent+i || entry.Attempts != 0 || !entry.Due.IsZero() {
					t.Fatalf("put back as %d of what is left: %+v", i, entry)
				}
			}
		})
	}
}
