// Package erase carries out orders to erase the events of a recipient or of a message, as the leader of the buffer.
//
// Delivery stops meanwhile, as it does when a receiver stops: requests under way get 10 seconds, and progress is saved. So nothing
// sends or saves an event while it is erased. A batch has many events: the others are stored as its remainder before the batch is
// removed, and keep their order, attempts and ids. A crash in between leaves the batch or its remainder, as in delivery, and the
// order, which the next leader carries out again.
package erase

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/erasure"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

// DefaultInterval is how often the leader looks for orders.
const DefaultInterval = 2 * time.Second

// Runner carries out orders. All fields are required.
type Runner struct {
	Interval time.Duration
	Logger   *slog.Logger
}

// Run calls deliver until ctx ends or deliver fails, and stops it while it carries out orders. An order that was attempted before may
// have read a batch that ends the process. So at the start deliver goes first, which sets such a batch aside.
func (r *Runner) Run(ctx context.Context, consumer *journal.Consumer, deliver func(context.Context) error) error {
	for starting := true; ctx.Err() == nil; starting = false {
		if err := r.carryOut(ctx, consumer, func(order *erasure.Order) bool { return !starting || order.Attempts == 0 }); err != nil {
			return err
		}
		if err := r.deliverUntilOrdered(ctx, consumer, deliver); err != nil {
			return err
		}
	}
	return nil
}

// deliverUntilOrdered returns when there is an order that needs delivery to stop, and delivery has stopped.
func (r *Runner) deliverUntilOrdered(ctx context.Context, consumer *journal.Consumer, deliver func(context.Context) error) error {
	delivering, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- deliver(delivering) }()
	ticker := time.NewTicker(r.Interval)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			if err == nil && ctx.Err() == nil {
				err = errEnded
			}
			return err
		case <-ticker.C:
		}
		orders, err := consumer.Erasures().Pending(ctx)
		if err != nil { // a buffer that does not work ends delivery
			continue
		}
		for _, order := range orders {
			if !order.DryRun {
				stop()
				return <-ended
			}
		}
		if len(orders) > 0 {
			if err := r.carryOut(ctx, consumer, func(order *erasure.Order) bool { return order.DryRun }); err != nil && ctx.Err() == nil {
				r.Logger.Warn("Counting what would be erased failed", "error", err.Error())
			}
		}
	}
}

var errEnded = errors.New("delivery has ended by itself")

// carryOut carries out the selected orders. Those that erase need delivery to be stopped.
func (r *Runner) carryOut(ctx context.Context, consumer *journal.Consumer, selected func(*erasure.Order) bool) error {
	orders, err := consumer.Erasures().Pending(ctx)
	if err != nil {
		return err
	}
	for _, order := range orders {
		if !selected(order) {
			continue
		}
		again, err := consumer.Erasures().Attempt(ctx, order)
		if err != nil {
			return err
		}
		if !again {
			r.Logger.Error("Gave up an order to erase events, it failed several times", "attempts", order.Attempts)
			continue
		}
		e := &eraser{order: order, consumer: consumer.Counting()}
		if !order.DryRun {
			e.consumer = consumer.Erasing()
		}
		if err := e.run(ctx); err != nil {
			return err
		}
		if err := consumer.Erasures().Finish(ctx, order, e.result); err != nil {
			return err
		}
		message := "Erased events on request"
		if order.DryRun {
			message = "Counted events that a request would erase"
		}
		if consumer.Erasures().Part > 0 && e.result == (erasure.Result{}) { // of a shared buffer, most partitions have nothing of it
			continue
		}
		r.Logger.Info(message, "deadLetters", e.result.DeadLetters, "events", e.result.Events, "batches", e.result.Batches,
			"unreadable", e.result.Unreadable, "kept", e.result.Kept)
	}
	return nil
}

// eraser carries out one order.
type eraser struct {
	order    *erasure.Order
	consumer *journal.Consumer
	result   erasure.Result
}

// run goes through the streams in the order in which a redriven event moves, and remainders before batches, which become remainders.
func (e *eraser) run(ctx context.Context) error {
	firstAttempt := e.order.Attempts <= 1 // a quarantined batch may have ended the process
	unreadable, err := e.consumer.ScanDeadLetters(ctx, firstAttempt, func(letter *journal.StoredBatch) error { return e.eraseDeadLetter(ctx, letter) })
	e.result.Unreadable += unreadable
	if err != nil {
		return err
	}
	if err := e.remainders(ctx); err != nil {
		return err
	}
	unreadable, err = e.consumer.ScanBatches(ctx, func(batch *journal.StoredBatch) error { return e.erase(ctx, batch) })
	e.result.Unreadable += unreadable
	return err
}

// eraseDeadLetter erases a dead letter, or replaces a whole batch by its other events.
func (e *eraser) eraseDeadLetter(ctx context.Context, letter *journal.StoredBatch) error {
	remaining, erased, ok := e.divide(letter)
	if !ok || erased == 0 {
		return nil
	}
	if !e.order.DryRun {
		err := e.consumer.EraseFromDeadLetter(ctx, letter, remaining)
		if errors.Is(err, journal.ErrFull) {
			e.result.Kept += erased
			return nil
		}
		if err != nil && !errors.Is(err, journal.ErrNotFound) { // somebody may have purged it
			return err
		}
	}
	e.result.DeadLetters++
	return nil
}

// remainders erases from those remainders that count, which only [journal.Consumer.Remainders] knows.
func (e *eraser) remainders(ctx context.Context) error {
	if e.order.DryRun {
		unreadable, err := e.consumer.ScanRemainders(ctx, func(batch *journal.StoredBatch) error { return e.erase(ctx, batch) })
		e.result.Unreadable += unreadable
		return err
	}
	var positions []journal.Position
	err := e.consumer.Remainders(ctx, func(batch *journal.StoredBatch) {
		if _, erased, ok := e.divide(batch); ok && erased > 0 {
			positions = append(positions, batch.Position)
		}
	})
	if err != nil {
		return err
	}
	for _, position := range positions {
		batch, err := e.consumer.Get(ctx, position)
		if errors.Is(err, journal.ErrNotFound) {
			continue
		}
		if err == nil {
			err = e.erase(ctx, batch)
			e.consumer.Record().End(quarantine.Key(position)) // which Get has begun
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// erase replaces a batch, or a remainder, by its other events.
func (e *eraser) erase(ctx context.Context, batch *journal.StoredBatch) error {
	remaining, erased, ok := e.divide(batch)
	if !ok || erased == 0 {
		return nil
	}
	if !e.order.DryRun {
		var err error
		if len(remaining) == 0 {
			err = e.consumer.Ack(ctx, batch)
		} else {
			_, err = e.consumer.Requeue(ctx, batch, remaining)
		}
		if errors.Is(err, journal.ErrFull) {
			e.result.Kept += erased
			return nil
		}
		if err != nil {
			return err
		}
	}
	e.result.Events += erased
	e.result.Batches++
	return nil
}

// divide returns the events of a batch that remain, and how many are to be erased. It is not ok if the batch cannot be read.
func (e *eraser) divide(batch *journal.StoredBatch) (remaining []journal.PendingEvent, erased int, ok bool) {
	if !e.order.Concerns(batch.Webhook) {
		return nil, 0, true
	}
	events := batch.Events
	if batch.Value != nil {
		elements, err := mandrill.SplitBatch(batch.Value)
		if err != nil {
			e.result.Unreadable++
			return nil, 0, false
		}
		events = make([]journal.PendingEvent, len(elements))
		for i, id := range mapping.EventIDs(elements) {
			events[i] = journal.PendingEvent{ID: id, Raw: elements[i], Index: i}
		}
	}
	for _, event := range events {
		if e.matches(event.Raw) {
			erased++
		} else {
			remaining = append(remaining, event)
		}
	}
	return remaining, erased, true
}

func (e *eraser) matches(raw []byte) bool {
	if e.order.Message != "" {
		return e.order.Matches(nil, mandrill.ParseEvent(raw).MessageID)
	}
	return e.order.Matches(mandrill.Recipients(raw), "")
}
