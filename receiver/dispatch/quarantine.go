package dispatch

import (
	"context"
	"errors"
	"fmt"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/quarantine"
)

// quarantine sets aside the batches that were being processed at several abnormal ends of the process in a row, before anything else is
// read. Those that were being processed at the last end are processed alone from now on (package quarantine).
func (l *leadership) quarantine(ctx context.Context) error {
	record, logger := l.consumer.Record(), l.dispatcher.logger
	found, err := record.Open(ctx)
	if err != nil {
		return err
	}
	if found.Suspects > 0 {
		logger.Warn("The receiver ended abnormally while it processed batches; each of them is processed alone now", "batches", found.Suspects)
	}
	for _, key := range found.Poison {
		position := journal.Position(key)
		batch, err := l.consumer.SetAside(ctx, position, journal.ReasonQuarantined)
		switch {
		case errors.Is(err, journal.ErrFull): // it stays poison
			logger.Error("A batch that ended the receiver several times does not fit into the dead letters; it is not delivered until it is dropped or --dead-letter-max-bytes is raised",
				"webhook", batch.Webhook, "position", position.String(), "bytes", batch.StoredBytes)
			continue
		case errors.Is(err, journal.ErrNotFound):
		case err != nil:
			return fmt.Errorf("setting aside a batch: %w", err)
		default:
			l.dispatcher.state.DeadLettered(batch.Webhook, journal.ReasonQuarantined, batch.EventCount)
			logger.Error("Set aside a batch that was being processed at several abnormal ends in a row; it is a dead letter now",
				"webhook", batch.Webhook, "position", position.String(), "events", batch.EventCount)
		}
		record.Forget(key)
	}
	return nil
}

// clearRecord clears the record after an orderly stop: the context has ended, and the lease was not lost.
func clearRecord(ctx context.Context, consumer Consumer) {
	if ctx.Err() != nil && consumer.LeaseContext().Err() == nil {
		consumer.Record().Clear()
	}
}

// section returns a function that begins a section of a batch in the record, and returns what ends it.
func (c *cycle) section(batch *loadedBatch) func() (end func()) {
	record, key := c.consumer().Record(), quarantine.Key(batch.stored.Position)
	return func() func() {
		record.Begin(key)
		return func() { record.End(key) }
	}
}
