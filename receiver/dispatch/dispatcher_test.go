package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// After a restart remainders are listed before the batches. A remainder of a later batch must still wait for an earlier batch that
// was not begun.
func TestRemaindersAndBatchesKeepTheirOrderAfterRestart(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]chan struct{}{"batches listed at once": nil, "batches listed late": make(chan struct{})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sinks := newFakeSinks()
			consumer := journaltest.NewConsumer(
				remainderAt(1, 7, "click 1", "click 2"), remainderAt(2, 3, "send 2"), batchAt(5, "open 1", "open 3"), batchAt(9, "spam 1", "spam 2"),
			)
			if slow != nil {
				consumer.BeforeWatch = func() { <-slow }
			}
			ended := startDispatcher(t, consumer, sinks)
			if slow != nil {
				close(slow)
			}
			sinks.expectAccepted(t, "a open 1", "a click 1", "a spam 1", "a send 2", "a click 2", "a spam 2", "a open 3")
			eventually(t, "the acknowledgement of all batches", func() bool { return len(consumer.Acked()) == 4 })
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
				t.Errorf("the dispatcher ended: %v", err)
			default:
			}
		})
	}
}

// An error of the journal ends the dispatcher, which is started again when the journal works.
func TestDispatcherEndsWhenTheJournalFails(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	sinks.setAnswer(func(_, event string, _ int) error {
		if event == "a open 1" {
			return errSinkDown
		}
		return nil
	})
	failure := errors.New("journal failed")
	consumer := journaltest.NewConsumer(batchAt(1, "open 1", "send 2"))
	consumer.OnRequeue = func(*journal.StoredBatch, []journal.PendingEvent) error { return failure }
	ended := startDispatcher(t, consumer, sinks)
	assertEndsWith(t, ended, failure)
}

// assertEndsWith waits for the dispatcher to end with a failure.
func assertEndsWith(t *testing.T, ended <-chan error, failure error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, failure) {
			t.Errorf("got %v, want %v", err, failure)
		}
	case <-time.After(patience):
		t.Error("the dispatcher did not end")
	}
}

// Without the watch the dispatcher would miss new batches, so it ends, whatever waits, and is started again.
func TestDispatcherEndsWhenTheWatchFails(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	failure, waiting := errors.New("watch failed"), batchAt(1, "open 1")
	waiting.Webhook = "shop/gone"
	consumer := journaltest.NewConsumer(waiting)
	consumer.AfterKnown = func() error { return failure }
	ended := startDispatcher(t, consumer, sinks)
	assertEndsWith(t, ended, failure)
}

// Each batch has its own time to be settled. With a shared one, a slow disk and a cycle of many small batches would run out of time
// half way, and delivered events would be sent again.
func TestEachBatchHasItsOwnTimeToSettle(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	var mu sync.Mutex
	var deadlines []time.Time
	const batches = 5
	consumer := journaltest.NewConsumer()
	consumer.OnAck = func(ctx context.Context, _ *journal.StoredBatch) {
		deadline, ok := ctx.Deadline()
		mu.Lock()
		defer mu.Unlock()
		if deadlines = append(deadlines, deadline); !ok {
			t.Error("settling has no deadline")
		}
	}
	for i := range batches {
		consumer.Append(batchAt(0, fmt.Sprintf("open %d", i)))
	}
	startDispatcher(t, consumer, sinks)
	eventually(t, "the acknowledgement of all batches", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(deadlines) == batches
	})
	mu.Lock()
	defer mu.Unlock()
	for i, deadline := range deadlines[1:] {
		if !deadline.After(deadlines[i]) {
			t.Errorf("batches %d and %d share their deadline", i, i+1)
		}
	}
}

// A batch may have several remainders. The first one may be requeued again and so be stored last.
func TestRemaindersOfOneBatchKeepTheirOrder(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	second, first := remainderAt(2, 7, "click 1"), remainderAt(3, 7, "send 1", "open 1")
	second.Events[0].Index, first.Events[1].Index = 2, 1
	startDispatcher(t, journaltest.NewConsumer(second, first), sinks)
	sinks.expectAccepted(t, "a send 1", "a open 1", "a click 1")
	if want := []string{"a send 1", "a open 1", "a click 1"}; !slices.Equal(sinks.accepted, want) {
		t.Errorf("got %q, want %q", sinks.accepted, want)
	}
}

// A delivered batch is settled while the others of its cycle are in flight, so that it is not delivered again if the receiver dies.
func TestBatchesAreSettledAsTheyEnd(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	hang := make(chan struct{})
	sinks.setAnswer(func(_, event string, _ int) error {
		if event == "a send 3" {
			<-hang
		}
		return nil
	})
	consumer := journaltest.NewConsumer(batchAt(1, "open 1", "open 2"), batchAt(2, "open 3", "send 3"), batchAt(3, "open 4"))
	startDispatcher(t, consumer, sinks)
	finished := func(want ...uint64) func() bool {
		return func() bool {
			acked := consumer.Acked()
			return len(acked) == len(want) && !slices.ContainsFunc(want, func(seq uint64) bool { return !slices.Contains(acked, journal.Position{Seq: seq}) })
		}
	}
	eventually(t, "the acknowledgement of two batches", finished(1, 3))
	close(hang)
	eventually(t, "the acknowledgement of all batches", finished(1, 2, 3))
}

// While the last batch of a cycle is acknowledged, which writes to a disk, the next cycle sends, also later events of the same messages.
// Its batches are acknowledged afterwards: after a crash no event comes again when a later one of its message will not. The cycle after
// the next waits for the first one, so that a crash repeats little when the disk is slow.
func TestNextCycleSendsDuringAcknowledgements(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	consumer := journaltest.NewConsumer(batchAt(1, "send 1"))
	slow, acknowledged := make(chan struct{}), make(chan uint64, 10)
	consumer.OnAck = func(_ context.Context, batch *journal.StoredBatch) {
		if batch.Position.Seq == 1 {
			<-slow
		}
		acknowledged <- batch.Position.Seq
	}
	startDispatcher(t, consumer, sinks)
	sinks.expectAccepted(t, "a send 1")
	for i, event := range []string{"open 1", "click 1", "spam 1"} {
		consumer.Append(batchAt(0, event))
		if i == 0 {
			sinks.expectAccepted(t, "a send 1", "a open 1")
		}
	}
	select {
	case seq := <-acknowledged:
		t.Fatalf("batch %d was acknowledged before the first one", seq)
	case <-time.After(50 * time.Millisecond): // long enough for a third cycle to send, if it does
	}
	if sinks.attemptsOf("a click 1") > 0 {
		t.Error("a third cycle sends while the first one is not acknowledged")
	}
	close(slow)
	sinks.expectAccepted(t, "a send 1", "a open 1", "a click 1", "a spam 1")
	for want := range uint64(4) {
		if got := <-acknowledged; got != want+1 {
			t.Errorf("batch %d was acknowledged, want %d", got, want+1)
		}
	}
}

// An event that failed keeps back the next cycle's events of its message, although all others of its cycle were accepted.
func TestFailedEventKeepsBackTheNextCycle(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	sinks.setAnswer(func(_, event string, attempt int) error {
		if event == "a send 1" && attempt == 1 {
			return errSinkDown
		}
		return nil
	})
	consumer := journaltest.NewConsumer(batchAt(1, "send 1", "send 2"), batchAt(2, "open 1", "open 2"))
	startDispatcher(t, consumer, sinks)
	sinks.expectAccepted(t, "a send 1", "a send 2", "a open 1", "a open 2")
	sinks.mu.Lock()
	defer sinks.mu.Unlock()
	if slices.Index(sinks.accepted, "a open 1") < slices.Index(sinks.accepted, "a send 1") {
		t.Errorf("sent %q: an event overtook an earlier one of its message", sinks.accepted)
	}
}

// A batch for a slow sink is delivered in parts: the cycle ends after its time, the remaining events are requeued, and the next cycle
// begins. A dispatcher that is stopped begins no more events.
func TestCycleIsCutShortAfterItsTime(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]bool{"after its time": false, "when the dispatcher stops": true} {
		synctest.Test(t, func(t *testing.T) {
			const events = 60
			sinks := newFakeSinks()
			sinks.setAnswer(func(string, string, int) error { time.Sleep(50 * time.Millisecond); return nil })
			var batch []string
			for i := range events { // of one message, so that they are sent one after the other
				batch = append(batch, fmt.Sprintf("e%d 1", i))
			}
			consumer := journaltest.NewConsumer(batchAt(1, "first 0"))
			ctx, cancel := context.WithCancel(t.Context())
			var requeued []journal.PendingEvent
			consumer.OnRequeue = func(_ *journal.StoredBatch, remaining []journal.PendingEvent) error {
				requeued = remaining
				cancel()
				return nil
			}
			ended := runDispatcher(ctx, t, consumer, sinks)
			accepted := func(atLeast int) func([]string, map[string]int) bool {
				return func(accepted []string, _ map[string]int) bool { return len(accepted) >= atLeast }
			}
			sinks.waitFor(t, "delivery of the first batch, after which cycles are large", accepted(1))
			synctest.Wait() // until its cycle has ended
			consumer.Append(batchAt(0, batch...))
			if stop {
				sinks.waitFor(t, "delivery of an event", accepted(2))
				cancel()
			}
			<-ended
			sent := len(sinks.accepted) - 1
			if sent == 0 || stop && sent > 10 || !stop && sent < 19 || sent+len(requeued) != events {
				t.Fatalf("%s: %d events were sent, %d requeued, of %d", name, sent, len(requeued), events)
			}
			for i, event := range requeued {
				if event.Index != sent+i || event.Attempts != 0 || !event.Due.IsZero() {
					t.Fatalf("%s: requeued event %d: %+v", name, i, event)
				}
			}
		})
	}
}
