package receiver

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// deliver sends every event of a batch (Direct mode) and returns nil when the sink accepted all. Events of one
// message go out in order, others at the same time. What the sink refuses for good does not keep the others
// back; after a failure that may pass, sending stops, because Mandrill will send the whole batch again.
func (h *Handler) deliver(ctx context.Context, route *Route, events []mandrill.Event) error {
	if len(events) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	group, sending := errgroup.WithContext(bounded)
	group.SetLimit(directConcurrency)
	refusals := make(chan error, len(events))
	for _, lane := range lanes(events) {
		group.Go(func() error {
			for _, item := range lane {
				if sending.Err() != nil {
					return sending.Err()
				}
				if err := h.send(sending, route, item); sink.Temporary(err) {
					return err
				} else if err != nil {
					refusals <- err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	close(refusals)
	for refusal := range refusals {
		err = errors.Join(refusal, err)
		break // one is enough for the log
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &Error{KindAborted, ctx.Err()}
	}
	return &Error{KindSinkRefused, err}
}

// item is an event with the id of its CloudEvent.
type item struct {
	event mandrill.Event
	id    string
}

// lanes groups events that must go out in order: those of one message. Ids are given in the batch's order.
func lanes(events []mandrill.Event) [][]item {
	seen := make(map[string]int, len(events))
	byMessage := make(map[string]int, len(events))
	var grouped [][]item
	for _, event := range events {
		next := item{event, eventID(event.Raw, seen)}
		at, known := byMessage[event.MessageID]
		if known && event.MessageID != "" {
			grouped[at] = append(grouped[at], next)
			continue
		}
		byMessage[event.MessageID] = len(grouped)
		grouped = append(grouped, []item{next})
	}
	return grouped
}

func (h *Handler) send(ctx context.Context, route *Route, next item) error {
	_, label := typeOf(next.event)
	event := route.cloudEvent(next.event, next.id)
	err := h.sender.Send(ctx, route.target, &event)
	outcome := "accepted"
	if err != nil {
		outcome = "failed"
	}
	h.metrics.events.WithLabelValues(label, outcome).Inc()
	return err
}
