package receiver

import (
	"context"
	"fmt"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// deliverDirect sends every event of a batch (Direct mode) and returns nil when the sink, or the dead letter sink, has
// accepted all of them. Events of one message go out in order, others at the same time. Events that were delivered when the
// batch came before are not sent again.
func (h *Handler) deliverDirect(ctx context.Context, route *routing.Route, events [][]byte) error {
	begun, outgoing := h.now(), h.prepareEvents(ctx, route, events)
	if len(outgoing) == 0 {
		return nil
	}
	items := make([]*sink.Item, len(outgoing))
	for i := range outgoing {
		items[i] = &outgoing[i].item
		items[i].Tag = &outgoing[i]
	}
	bounded, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	h.sendWithRetries(bounded, route.Direct, items)
	failed, accepted := h.recordOutcomes(outgoing)
	h.state.Webhook(routes.Webhook(route.Name)).Delivered(accepted, h.now().Sub(begun))
	switch {
	case len(failed) == 0:
		return nil
	case ctx.Err() != nil:
		return &Error{KindAborted, ctx.Err()}
	}
	return &Error{KindSinkRefused, firstCause(failed)}
}

// outgoingEvent is an event on its way to the sink.
type outgoingEvent struct {
	item  sink.Item
	event cloudevent.Event
	key   deliveredKey
	label string // the event's type in metrics
	span  telemetry.EventSpan
	// message and recipient are for those who look at recent events.
	message, recipient string
}

// Origin implements [recent.Tagged].
func (e *outgoingEvent) Origin() recent.Origin {
	return recent.Origin{Message: e.message, Recipient: e.recipient}
}

// prepareEvents maps the events that were not delivered before.
func (h *Handler) prepareEvents(ctx context.Context, route *routing.Route, events [][]byte) []outgoingEvent {
	outgoing := make([]outgoingEvent, 0, len(events)) // items point into it: it does not grow
	webhook := routes.Webhook(route.Name)
	for i, id := range mapping.EventIDs(events) {
		parsed := mandrill.ParseEvent(events[i])
		key, label := deliveredKeyOf(webhook, id), mapping.LabelOf(parsed)
		if h.delivered.has(key) {
			h.metrics.Events.Count(label, "duplicate")
			continue
		}
		outgoing = append(outgoing, outgoingEvent{
			event: mapping.Map(route.Mapping, parsed, id), key: key, label: label, message: parsed.MessageID, recipient: parsed.Email,
		})
		event := &outgoing[len(outgoing)-1]
		event.span = h.tracer.StartEvent(ctx, route.Name, label, &event.event)
		event.item.Event, event.item.OrderKey = &event.event, mapping.OrderKey(parsed)
	}
	h.state.Webhook(webhook).Received(len(outgoing))
	return outgoing
}

// sendWithRetries makes attempts until everything is settled, or nothing can be gained in the time that there is. A batch
// that finds the sink's circuit open does not wait: Mandrill's connection is not for that.
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

// recordOutcomes remembers and counts what became of the events, and returns those that were not delivered, and how many the sink
// accepted.
func (h *Handler) recordOutcomes(outgoing []outgoingEvent) (failed []*sink.Item, accepted int) {
	for i := range outgoing {
		event := &outgoing[i]
		outcome := "failed"
		switch event.item.State {
		case sink.Accepted:
			outcome = "accepted"
			accepted++
		case sink.DeadLettered:
			outcome = "dead_letter_sink"
		default:
			failed = append(failed, &event.item)
		}
		if event.item.Settled() {
			h.delivered.add(event.key)
		}
		h.metrics.Events.Count(event.label, outcome)
		event.span.End(outcome, event.item.Err)
	}
	return failed, accepted
}

// firstCause returns one of the causes, which is enough for the log.
func firstCause(failed []*sink.Item) error {
	for _, item := range failed {
		switch {
		case item.DeadLetterErr != nil:
			return fmt.Errorf("%d events were not delivered: %w; and the dead letter sink: %w", len(failed), item.Err, item.DeadLetterErr)
		case item.Err != nil:
			return fmt.Errorf("%d events were not delivered: %w", len(failed), item.Err)
		}
	}
	return context.DeadlineExceeded // nothing was sent at all
}
