package receiver

import (
	"context"
	"errors"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// storeBatch stores a batch in the buffer (Buffered mode) and returns nil when it is on disk. Package dispatch delivers it.
func (h *Handler) storeBatch(ctx context.Context, route *routing.Route, value []byte, events [][]byte) error {
	if len(events) == 0 {
		return nil
	}
	duplicate, err := h.buffer.Append(ctx, journal.Batch{
		Webhook: routes.Webhook(route.Name), Received: h.now(), Value: value, Events: events,
		IDs: func() []string { return mapping.EventIDs(events) }, Trace: h.tracer.Traceparent(ctx),
	})
	switch {
	case errors.Is(err, journal.ErrFull):
		return &Error{KindFull, err}
	case err != nil && ctx.Err() != nil:
		return &Error{KindAborted, ctx.Err()}
	case err != nil:
		return &Error{KindUnbuffered, err}
	case duplicate:
		h.metrics.buffered.WithLabelValues("duplicate").Add(float64(len(events)))
	default:
		h.metrics.buffered.WithLabelValues("stored").Add(float64(len(events)))
	}
	return nil
}
