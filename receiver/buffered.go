package receiver

import (
	"context"
	"errors"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// storeBatch stores a batch in the buffer (Buffered mode) and returns nil when it is on disk. Package dispatch delivers it.
// It returns the id of the batch in the buffer as far as it is known.
func (h *Handler) storeBatch(ctx context.Context, route *routing.Route, value []byte, events [][]byte) (id string, err error) {
	if len(events) == 0 {
		return "", nil
	}
	webhook := routes.Webhook(route.Name)
	duplicate, err := h.buffer.Append(ctx, journal.Batch{
		Webhook: webhook, Received: h.now(), Value: value, Events: events,
		IDs: func() []string { return mapping.EventIDs(events) }, Trace: h.tracer.Traceparent(ctx), Identified: func(found string) { id = found },
	})
	if !duplicate {
		h.state.Webhook(webhook).Received(len(events))
	}
	switch {
	case errors.Is(err, journal.ErrFull):
		h.state.Refused(reports.BufferFull)
		return id, &Error{KindFull, err}
	case err != nil && ctx.Err() != nil:
		return id, &Error{KindAborted, ctx.Err()}
	case err != nil:
		h.state.Refused(reports.BufferUnavailable)
		return id, &Error{KindUnbuffered, err}
	case duplicate:
		h.metrics.buffered.WithLabelValues("duplicate").Add(float64(len(events)))
	default:
		h.metrics.buffered.WithLabelValues("stored").Add(float64(len(events)))
	}
	return id, nil
}
