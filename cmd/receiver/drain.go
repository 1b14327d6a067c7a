package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// task is what the receiver runs for: it ends when its task does.
type task struct {
	listen string // address of the webhook endpoints, if there are any
	run    func(context.Context) error
}

// task returns the server of the webhook endpoints, or with --drain the task that empties the buffer.
func (o *options) task(ctx context.Context, handler http.Handler, stored *buffer, logger *slog.Logger) (task, error) {
	if o.drain {
		d := &drain{stored: stored.journal.Stored, interval: drainInterval, logger: logger}
		return task{run: d.run}, nil
	}
	webhooks, err := o.webhookServer(ctx, handler, logger)
	if err != nil {
		return task{}, err
	}
	return task{webhooks.Listener.Addr().String(), webhooks.Serve}, nil
}

const (
	drainInterval = time.Second
	// emptyLooks is how often in a row the buffer must be empty. The streams are looked at one after the other, and an event may move
	// from one to another in between.
	emptyLooks = 2
)

// drain waits until a buffer is empty.
type drain struct {
	stored   func(context.Context) (map[string]uint64, error) // messages by stream
	interval time.Duration
	logger   *slog.Logger
}

// run returns when the buffer is empty or ctx ends.
func (d *drain) run(ctx context.Context) error {
	ticker := time.NewTicker(d.interval)
	defer ticker.Stop()
	for empty := 0; empty < emptyLooks; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		counts, err := d.stored(ctx)
		switch {
		case err != nil: // the buffer is opening, or failed and says so itself
			empty = 0
		case counts["batches"]+counts["remainders"]+counts["dead_letters"] == 0:
			empty++
		default:
			empty = 0
			d.report(counts)
		}
	}
	d.logger.Info("The buffer is empty, the receiver ends")
	return nil
}

// report logs what is left. The log leaves out most of what repeats.
func (d *drain) report(counts map[string]uint64) {
	if counts["batches"]+counts["remainders"] == 0 {
		d.logger.Warn("Only dead letters are left: redrive or purge them with receiver dead-letters", "deadLetters", counts["dead_letters"])
		return
	}
	d.logger.Warn("Waiting until the buffer is empty", "batches", counts["batches"], "remainders", counts["remainders"], "deadLetters", counts["dead_letters"])
}
