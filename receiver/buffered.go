package receiver

import (
	"context"
	"errors"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// keep puts a batch into the buffer (Buffered mode) and returns nil when it is on disk. A [Dispatcher] delivers it.
func (h *Handler) storeBatch(ctx context.Context, route *Route, value []byte, elements [][]byte) error {
	if len(elements) == 0 {
		return nil
	}
	duplicate, err := h.buffer.Append(ctx, journal.Batch{
		Webhook: routes.Webhook(route.Name), Received: h.now(), Value: value, Events: elements,
		IDs: func() []string { return eventIDs(elements) }, Trace: h.tracer.mark(ctx),
	})
	switch {
	case errors.Is(err, journal.ErrFull):
		return &Error{KindFull, err}
	case err != nil && ctx.Err() != nil:
		return &Error{KindAborted, ctx.Err()}
	case err != nil:
		return &Error{KindUnbuffered, err}
	case duplicate:
		h.metrics.buffered.WithLabelValues("duplicate").Add(float64(len(elements)))
	default:
		h.metrics.buffered.WithLabelValues("stored").Add(float64(len(elements)))
	}
	return nil
}

// eventIDs returns the ids of a batch's events.
func eventIDs(elements [][]byte) []string {
	seen, ids := map[string]int{}, make([]string, len(elements))
	for i, raw := range elements {
		ids[i] = eventID(raw, seen)
	}
	return ids
}
