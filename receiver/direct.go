package receiver

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// deliver sends every event of a batch (Direct mode) and returns nil when the sink, or the dead letter sink, has
// accepted all. Events of one message go out in order, others at the same time. Those that were delivered when the
// batch came before are not sent again.
func (h *Handler) deliverDirect(ctx context.Context, route *Route, elements [][]byte) error {
	parcels := h.prepareEvents(ctx, route, elements)
	if len(parcels) == 0 {
		return nil
	}
	items := make([]*sink.Item, len(parcels))
	for i := range parcels {
		items[i] = &parcels[i].Item
	}
	bounded, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	h.sendWithRetries(bounded, route.delivery, items)
	left := h.recordOutcomes(parcels)
	switch {
	case len(left) == 0:
		return nil
	case ctx.Err() != nil:
		return &Error{KindAborted, ctx.Err()}
	}
	return &Error{KindSinkRefused, firstCause(left)}
}

// parcel is an event on its way.
type preparedEvent struct {
	sink.Item
	key   deliveredKey
	label string // the event's type in metrics
	span  trace.Span
}

// parcels maps the events that are not remembered. Ids are given in the batch's order.
func (h *Handler) prepareEvents(ctx context.Context, route *Route, elements [][]byte) []preparedEvent {
	seen := make(map[string]int, len(elements))
	list := make([]preparedEvent, 0, len(elements))
	for _, raw := range elements {
		event, id := mandrill.ParseEvent(raw), eventID(raw, seen)
		next := preparedEvent{key: keyOf(route, id)}
		_, next.label = typeOf(event)
		if h.delivered.has(next.key) {
			h.metrics.events.WithLabelValues(next.label, "duplicate").Inc()
			continue
		}
		ce := route.cloudEvent(event, id)
		next.span = h.tracer.startEvent(ctx, route, next.label, &ce)
		next.Event, next.OrderKey = &ce, event.MessageID
		list = append(list, next)
	}
	return list
}

// attempt makes passes until everything is settled, or nothing can be gained in the time that there is. A batch that
// finds the sink's circuit open does not wait: Mandrill's connection is not for that.
func (h *Handler) sendWithRetries(ctx context.Context, delivery sink.Delivery, items []*sink.Item) {
	for {
		h.sender.SendOnce(ctx, delivery, items)
		pause, again := delivery.Next(items)
		if deadline, _ := ctx.Deadline(); !again || noneAttempted(items) || time.Until(deadline) <= pause {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func noneAttempted(items []*sink.Item) bool {
	for _, item := range items {
		if item.Attempts > 0 {
			return false
		}
	}
	return true
}

// settle remembers and counts what has become of the events, and returns those that were not delivered.
func (h *Handler) recordOutcomes(parcels []preparedEvent) []*sink.Item {
	var left []*sink.Item
	for i := range parcels {
		next := &parcels[i]
		outcome := "failed"
		switch next.State {
		case sink.Accepted:
			outcome = "accepted"
		case sink.DeadLettered:
			outcome = "dead_letter_sink"
		default:
			left = append(left, &next.Item)
		}
		if next.Settled() {
			h.delivered.add(next.key)
		}
		h.metrics.events.WithLabelValues(next.label, outcome).Inc()
		endEvent(next.span, outcome, next.Err)
	}
	return left
}

// reason is one of the causes, which is enough for the log.
func firstCause(left []*sink.Item) error {
	for _, item := range left {
		switch {
		case item.DeadLetterErr != nil:
			return fmt.Errorf("%d events are left: %w; and the dead letter sink: %w", len(left), item.Err, item.DeadLetterErr)
		case item.Err != nil:
			return fmt.Errorf("%d events are left: %w", len(left), item.Err)
		}
	}
	return context.DeadlineExceeded // nothing was sent at all
}
