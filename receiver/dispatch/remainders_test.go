package dispatch_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// When remainders cannot be saved, only their progress may stay in memory, not their batches, and only of a few batches. Nothing is
// delivered twice or out of order.
func TestUnsavedRemaindersAreFewAndNotInMemory(t *testing.T) {
	t.Parallel()
	const batches, events = 40, 1000
	consumer := journaltest.NewConsumer()
	var mu sync.Mutex // of what follows
	hasSpace := false
	var loaded []weak.Pointer[byte]        // the first byte of each batch that was read
	requeues := map[journal.Position]int{} // attempts
	consumer.OnNext = func(batch *journal.StoredBatch) {
		mu.Lock()
		defer mu.Unlock()
		loaded = append(loaded, weak.Make(&batch.Value[0]))
	}
	consumer.OnRequeue = func(batch *journal.StoredBatch, _ []journal.PendingEvent) error {
		mu.Lock()
		defer mu.Unlock()
		requeues[batch.Position]++
		if !hasSpace {
			return journal.ErrFull
		}
		return nil
	}
	var want []string
	for seq := range uint64(batches) {
		names := []string{fmt.Sprintf("fail f%d", seq), fmt.Sprintf("open f%d", seq)}
		for i := range events - len(names) {
			names = append(names, fmt.Sprintf("open %d-%d", seq, i))
		}
		consumer.Append(batchAt(0, names...))
		for _, name := range names {
			want = append(want, "a "+name)
		}
	}
	sinks := newFakeSinks()
	sinks.setAnswer(func(_, event string, _ int) error {
		if strings.HasPrefix(event, "a fail ") {
			return errSinkDown
		}
		return nil
	})
	startDispatcher(t, consumer, sinks)
	eventually(t, "retries of some batches", func() bool {
		mu.Lock()
		defer mu.Unlock()
		retried := 0
		for _, times := range requeues {
			retried += min(times-1, 1)
		}
		return retried >= 8
	})
	eventually(t, "release of the batches from memory", func() bool {
		runtime.GC()
		mu.Lock()
		defer mu.Unlock()
		inMemory := 0
		for _, batch := range loaded {
			if batch.Value() != nil {
				inMemory++
			}
		}
		return inMemory <= 1 // the fake sinks hold an event of the last one
	})
	mu.Lock()
	if read := len(loaded); read > batches/2 {
		t.Errorf("%d batches were begun though their remainders cannot be saved, want %d at most", read, batches/2)
	}
	hasSpace = true
	mu.Unlock()
	sinks.setAnswer(nil)
	sinks.expectAccepted(t, want...)
	for i := range batches {
		sinks.mu.Lock()
		if open := fmt.Sprintf("a open f%d", i); sinks.attempts[open] != 1 {
			t.Errorf("%q was sent %d times", open, sinks.attempts[open])
		}
		sinks.mu.Unlock()
	}
}

// A due time that was saved while the clock was a year ahead must not delay an event for a year. Other due times count.
func TestDueTimeFarInTheFutureIsIgnored(t *testing.T) {
	t.Parallel()
	sinks := newFakeSinks()
	farAhead, dueLater, overdue := remainderAt(1, 1, "open 1"), remainderAt(2, 2, "open 2"), remainderAt(3, 3, "open 3")
	farAhead.Events[0].Due = time.Now().Add(365 * 24 * time.Hour)
	dueLater.Events[0].Due = time.Now().Add(9 * time.Minute)
	overdue.Events[0].Due = time.Now().Add(-time.Minute)
	startDispatcher(t, journaltest.NewConsumer(farAhead, dueLater, overdue), sinks)
	sinks.expectAccepted(t, "a open 1", "a open 3")
	if sinks.mu.Lock(); sinks.attempts["a open 2"] > 0 {
		t.Error("an event was sent before it was due")
	}
	sinks.mu.Unlock()
}
