package dispatch_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// What finds no room does not take it in memory: of a batch of which something is left there is only where its delivery
// stands, and there are few of them. Nothing is delivered twice or out of order.
func TestUnsavedRemaindersAreFewAndNotInMemory(t *testing.T) {
	t.Parallel()
	const batches, events = 40, 1000
	consumer := &fullConsumer{fakeConsumer: &fakeConsumer{}, requeues: map[journal.Position]int{}}
	var want []string
	for seq := range uint64(batches) {
		names := []string{fmt.Sprintf("fail f%d", seq), fmt.Sprintf("open f%d", seq)}
		for i := range events - len(names) {
			names = append(names, fmt.Sprintf("open %d-%d", seq, i))
		}
		consumer.batches = append(consumer.batches, batchAt(seq+1, names...))
		for _, name := range names {
			want = append(want, "a "+name)
		}
	}
	sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	sinks.setAnswer(func(_, event string, _ int) error {
		if strings.HasPrefix(event, "a fail ") {
			return errSinkDown
		}
		return nil
	})
	startDispatcher(t, consumer, sinks)
	eventually(t, "that some are tried again", func() bool {
		consumer.mu.Lock()
		defer consumer.mu.Unlock()
		retried := 0
		for _, times := range consumer.requeues {
			retried += min(times-1, 1)
		}
		return retried >= 8
	})
	eventually(t, "that they are not in memory", func() bool {
		runtime.GC()
		consumer.mu.Lock()
		defer consumer.mu.Unlock()
		inMemory := 0
		for _, loaded := range consumer.loaded {
			if loaded.Value() != nil {
				inMemory++
			}
		}
		return inMemory <= 1 // the sinks have an event of the last
	})
	consumer.mu.Lock()
	if loaded := len(consumer.loaded); loaded > batches/2 {
		t.Errorf("of %d batches there was no room for what is left", loaded)
	}
	consumer.hasSpace = true
	consumer.mu.Unlock()
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

// What was written when the clock was a year ahead does not wait for a year, and the rest waits for its time.
func TestDueTimeFarInTheFutureIsIgnored(t *testing.T) {
	t.Parallel()
	sinks := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	farAhead, dueLater, overdue := remainderAt(1, 1, "open 1"), remainderAt(2, 2, "open 2"), remainderAt(3, 3, "open 3")
	farAhead.Events[0].Due = time.Now().Add(365 * 24 * time.Hour)
	dueLater.Events[0].Due = time.Now().Add(9 * time.Minute)
	overdue.Events[0].Due = time.Now().Add(-time.Minute)
	startDispatcher(t, &fakeConsumer{batches: []*journal.StoredBatch{farAhead, dueLater, overdue}}, sinks)
	sinks.expectAccepted(t, "a open 1", "a open 3")
	if sinks.mu.Lock(); sinks.attempts["a open 2"] > 0 {
		t.Error("one was sent before its time")
	}
	sinks.mu.Unlock()
}
