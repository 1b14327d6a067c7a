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
	work := &fullConsumer{fakeConsumer: &fakeConsumer{}, requeues: map[journal.Position]int{}}
	var want []string
	for seq := range uint64(batches) {
		names := []string{fmt.Sprintf("fail f%d", seq), fmt.Sprintf("open f%d", seq)}
		for i := range events - len(names) {
			names = append(names, fmt.Sprintf("open %d-%d", seq, i))
		}
		work.batches = append(work.batches, batchAt(seq+1, names...))
		for _, name := range names {
			want = append(want, "a "+name)
		}
	}
	to := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	to.setAnswer(func(_, event string, _ int) error {
		if strings.HasPrefix(event, "a fail ") {
			return errSinkDown
		}
		return nil
	})
	startDispatcher(t, work, to)
	eventually(t, "that some are tried again", func() bool {
		work.mu.Lock()
		defer work.mu.Unlock()
		again := 0
		for _, times := range work.requeues {
			again += min(times-1, 1)
		}
		return again >= 8
	})
	eventually(t, "that they are not in memory", func() bool {
		runtime.GC()
		work.mu.Lock()
		defer work.mu.Unlock()
		inMemory := 0
		for _, taken := range work.loaded {
			if taken.Value() != nil {
				inMemory++
			}
		}
		return inMemory <= 1 // the sinks have an event of the last
	})
	work.mu.Lock()
	if taken := len(work.loaded); taken > batches/2 {
		t.Errorf("of %d batches there was no room for what is left", taken)
	}
	work.hasSpace = true
	work.mu.Unlock()
	to.setAnswer(nil)
	to.expectAccepted(t, want...)
	for i := range batches {
		to.mu.Lock()
		if open := fmt.Sprintf("a open f%d", i); to.attempts[open] != 1 {
			t.Errorf("%q was sent %d times", open, to.attempts[open])
		}
		to.mu.Unlock()
	}
}

// What was written when the clock was a year ahead does not wait for a year, and the rest waits for its time.
func TestDueTimeFarInTheFutureIsIgnored(t *testing.T) {
	t.Parallel()
	to := &fakeSinks{attempts: map[string]int{}, changed: make(chan struct{})}
	ahead, due, before := remainderAt(1, 1, "open 1"), remainderAt(2, 2, "open 2"), remainderAt(3, 3, "open 3")
	ahead.Events[0].Due = time.Now().Add(365 * 24 * time.Hour)
	due.Events[0].Due = time.Now().Add(9 * time.Minute)
	before.Events[0].Due = time.Now().Add(-time.Minute)
	startDispatcher(t, &fakeConsumer{batches: []*journal.StoredBatch{ahead, due, before}}, to)
	to.expectAccepted(t, "a open 1", "a open 3")
	if to.mu.Lock(); to.attempts["a open 2"] > 0 {
		t.Error("one was sent before its time")
	}
	to.mu.Unlock()
}
