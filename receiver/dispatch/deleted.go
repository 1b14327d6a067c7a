package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// deletedSince returns when a webhook was first found deleted. The time is kept in the buffer, so that a restart does not
// begin the retention again.
func (l *leadership) deletedSince(ctx context.Context, webhook string) (time.Time, error) {
	l.mu.Lock()
	since, known := l.deleted[webhook]
	l.mu.Unlock()
	if known {
		return since, nil
	}
	return l.markDeleted(ctx, webhook, l.dispatcher.now())
}

// clearDeleted forgets that a webhook was deleted, if it was.
func (l *leadership) clearDeleted(ctx context.Context, webhook string) error {
	l.mu.Lock()
	_, known := l.deleted[webhook]
	l.mu.Unlock()
	if !known {
		return nil
	}
	_, err := l.markDeleted(ctx, webhook, time.Time{})
	return err
}

func (l *leadership) markDeleted(ctx context.Context, webhook string, since time.Time) (time.Time, error) {
	if err := l.consumer.MarkDeleted(ctx, webhook, since); err != nil {
		return since, fmt.Errorf("saving when a webhook was deleted: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if since.IsZero() {
		delete(l.deleted, webhook)
	} else {
		l.deleted[webhook] = since
	}
	return since, nil
}

// stepDeleted starts a cycle that gives up the backlog of a webhook once it has been deleted for longer than the retention.
func (q *webhookQueue) stepDeleted(ctx context.Context, gone bool) time.Duration {
	if !gone || q.idle() { // not all routes are known, or the backlog is empty
		return noWait
	}
	since, err := q.leadership.deletedSince(ctx, q.webhook)
	if err != nil {
		q.leadership.fail(err)
		return noWait
	}
	d := q.leadership.dispatcher
	if wait := d.deletedRetention - d.now().Sub(since); wait > 0 {
		return wait
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.active) > 0 {
		return noWait // its end is signalled
	}
	c := newCycle(q, nil, q.order.batches, true, d.slowMemory)
	q.start(ctx, c, c.giveUp)
	return noWait
}

// giveUp makes dead letters of the backlog of a deleted webhook, as much as fits into memory.
func (c *cycle) giveUp(ctx context.Context) error {
	defer c.memory.release()
	q, l := c.queue, c.queue.leadership
	batches, err := c.load(ctx)
	if err != nil {
		return err
	}
	if _, gone := l.dispatcher.routes.Webhook(q.webhook); !gone {
		return nil // it came back after the step that started the cycle, and some of the batches may be newer: they are delivered
	}
	for _, batch := range batches {
		dead := make([]journal.DeadLetter, len(batch.events))
		for i, event := range batch.events {
			_, label := mapping.TypeOf(batch.parsed[i])
			dead[i] = journal.DeadLetter{PendingEvent: event, Reason: journal.ReasonWebhookDeleted, Type: mapping.DisplayType(batch.parsed[i])}
			l.dispatcher.metrics.events.Count(label, outcomeDeadLettered)
		}
		if err := c.deadLetter(ctx, batch.stored, dead); err != nil {
			return err
		}
		if err := l.consumer.Ack(ctx, batch.stored); err != nil {
			return err
		}
		q.leadership.consumer.Record().Forget(quarantine.Key(batch.stored.Position))
		q.replacePending(batch.pending)
	}
	if q.empty() { // a webhook that is created and deleted again gets the whole retention
		return l.clearDeleted(ctx, q.webhook)
	}
	return nil
}
