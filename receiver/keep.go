package receiver

import (
	"context"
	"errors"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// keep puts a batch into the buffer (Buffered mode) and returns nil when it is on disk. A [Dispatcher] delivers it.
func (h *Handler) keep(ctx context.Context, route *Route, form mandrill.Form, events []mandrill.Event) error {
	if len(events) == 0 {
		return nil
	}
	batch := journal.Batch{
		Webhook: routes.Webhook(route.Name), Received: h.now(), Value: form.Get(mandrill.EventsField), Events: make([][]byte, len(events)),
		Trace: h.tracer.mark(ctx),
	}
	for i, event := range events {
		batch.Events[i] = event.Raw
	}
	seen := map[string]int{}
	batch.ID = func(i int) string { return eventID(events[i].Raw, seen) }
	duplicate, err := h.buffer.Append(ctx, batch)
	outcome := "kept"
	switch {
	case errors.Is(err, journal.ErrFull):
		return &Error{KindFull, err}
	case err != nil && ctx.Err() != nil:
		return &Error{KindAborted, ctx.Err()}
	case err != nil:
		return &Error{KindUnbuffered, err}
	case duplicate:
		outcome = "remembered"
	}
	for _, event := range events {
		_, label := typeOf(event)
		h.metrics.events.WithLabelValues(label, outcome).Inc()
	}
	return nil
}
