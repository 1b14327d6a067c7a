package receiver

import (
	"errors"
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// keep puts a batch into the buffer (Buffered mode) and returns nil when it is on disk. A [Dispatcher] delivers it.
func (h *Handler) keep(r *http.Request, route *Route, value []byte, elements [][]byte) error {
	if len(elements) == 0 {
		return nil
	}
	ctx, seen := r.Context(), map[string]int{}
	duplicate, err := h.buffer.Append(ctx, journal.Batch{
		Webhook: routes.Webhook(route.Name), Received: h.now(), Value: value, Events: elements,
		ID: func(i int) string { return eventID(elements[i], seen) }, Trace: h.tracer.mark(ctx),
		Signature: r.Header.Get(mandrill.SignatureHeader),
	})
	switch {
	case errors.Is(err, journal.ErrFull):
		return &Error{KindFull, err}
	case err != nil && ctx.Err() != nil:
		return &Error{KindAborted, ctx.Err()}
	case err != nil:
		return &Error{KindUnbuffered, err}
	case duplicate:
		h.metrics.kept.WithLabelValues("remembered").Add(float64(len(elements)))
	default:
		h.metrics.kept.WithLabelValues("kept").Add(float64(len(elements)))
	}
	return nil
}
