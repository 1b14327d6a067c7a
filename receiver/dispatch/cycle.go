package dispatch

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// cycle delivers some batches of a webhook once: it loads them, sends their events, and saves the progress. It loads while
// the cycle before it sends.
type cycle struct {
	queue   *webhookQueue
	route   *routing.Route
	batches []*pendingBatch // those that are due and those that were read; guarded by the queue's lock
	takeNew bool            // further batches may be read
	small   bool            // the sink has not proven itself: one batch, and of that what fits into smallCycleBytes
	memory  reservation
	sending time.Time     // when it started to send; set before the next cycle can start
	done    chan struct{} // closed when it has ended
	// accepted is closed when the sink has all events of its batches, and only their acknowledgements in the buffer are left.
	accepted   chan struct{}
	unaccepted atomic.Int64 // batches with other events
	earlier    []*cycle     // accepted before this one started to send
}

func newCycle(q *webhookQueue, route *routing.Route, batches []*pendingBatch, takeNew bool, limit *memoryLimit) *cycle {
	return &cycle{
		queue: q, route: route, batches: append([]*pendingBatch(nil), batches...), takeNew: takeNew, memory: reservation{limit: limit},
		done: make(chan struct{}), accepted: make(chan struct{}),
	}
}

func (c *cycle) dispatcher() *Dispatcher { return c.queue.leadership.dispatcher }

func (c *cycle) consumer() Consumer { return c.queue.leadership.consumer }

// run loads, sends and settles. An error means that the buffer failed.
func (c *cycle) run(ctx context.Context) error {
	defer c.memory.release()
	batches, err := c.load(ctx)
	if err != nil || len(batches) == 0 || !c.waitForPrevious(ctx) {
		return err
	}
	return c.deliver(ctx, batches)
}

// waitForPrevious waits until the cycles before this one have ended, or have sent for so long that they start no more requests. Of one of
// them it is enough that the sink has accepted all events. It reports false when the context has ended.
func (c *cycle) waitForPrevious(ctx context.Context) bool {
	for _, other := range c.queue.others(c) {
		select {
		case <-other.accepted:
		case <-other.done:
		case <-time.After(cycleTime - time.Since(other.sending)):
		case <-ctx.Done():
			return false
		}
		if other.isAccepted() { // also when its time is over
			c.earlier = append(c.earlier, other)
		}
	}
	slices.SortFunc(c.earlier, func(a, b *cycle) int { return a.sending.Compare(b.sending) })
	for ; len(c.earlier) > 1; c.earlier = c.earlier[1:] { // or a slow disk would let a crash repeat more and more
		select {
		case <-c.earlier[0].done:
		case <-ctx.Done():
			return false
		}
	}
	c.sending = time.Now()
	c.queue.startSending()
	return true
}

// isAccepted reports whether the sink has all events of the cycle.
func (c *cycle) isAccepted() bool {
	select {
	case <-c.accepted:
		return true
	default:
		return false
	}
}

// noneInFlight notes when the sink has accepted all events of a batch, and when all of the cycle.
func (c *cycle) noneInFlight(batch *loadedBatch) {
	if !batch.allAccepted() {
		return
	}
	c.queue.accepted(batch.pending)
	if c.unaccepted.Add(-1) == 0 {
		close(c.accepted)
	}
}

// deadLetter keeps events of a batch as dead letters in the buffer.
func (c *cycle) deadLetter(ctx context.Context, batch *journal.StoredBatch, dead []journal.DeadLetter) error {
	if err := c.consumer().DeadLetter(ctx, batch, dead); err != nil {
		return err
	}
	reasons := map[string]int{}
	for _, event := range dead {
		reasons[event.Reason]++
	}
	for reason, events := range reasons {
		c.dispatcher().state.DeadLettered(c.queue.webhook, reason, events)
		c.dispatcher().logger.Warn("Kept events as dead letters", "webhook", c.queue.webhook, "events", events, "reason", reason)
	}
	return nil
}
