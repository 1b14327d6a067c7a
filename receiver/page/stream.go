package page

import (
	"context"
	"errors"
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sse"
)

// Events is a message with events, the oldest first.
type Events struct {
	Events  []recent.Event `json:"events"`
	Reset   bool           `json:"reset,omitempty"`   // these are all: the page forgets the ones it has
	Omitted uint64         `json:"omitted,omitempty"` // events since the message before that are not in this one
}

// serveStream sends the state and the events as they come.
func (p *page) serveStream(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		site.Refuse(w, http.StatusServiceUnavailable, "too many pages are open")
		return
	}
	filter, _, err := recent.ParseQuery(r.URL.Query(), 0)
	if err != nil || filter.Payload {
		site.Refuse(w, http.StatusBadRequest, "the query may have webhook, type, outcome and failed")
		return
	}
	stream := sse.NewStream(w)
	past, follower := p.options.Recent.Follow(filter, site.MaxEvents)
	defer follower.Stop()
	if stream.Send("events", Events{Events: notNil(past), Reset: true}) != nil {
		return
	}
	for r.Context().Err() == nil {
		if stream.Send("state", p.state(r.Context())) != nil || stream.Flush() != nil {
			return
		}
		if p.sendEvents(r.Context(), stream, follower) != nil {
			return
		}
	}
}

// sendEvents sends events for the time between two states.
func (p *page) sendEvents(ctx context.Context, stream *sse.Stream, follower *recent.Follower) error {
	interval, cancel := context.WithTimeout(ctx, site.StateInterval)
	defer cancel()
	for {
		message, err := collect(interval, follower)
		if len(message.Events) > 0 || message.Omitted > 0 {
			if sendErr := stream.Send("events", message); sendErr != nil {
				return sendErr
			}
			if flushErr := stream.Flush(); flushErr != nil {
				return flushErr
			}
		}
		switch {
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
	}
}

// collect waits for an event, and then for site.EventInterval for those that follow. Of all it returns the last ones.
func collect(ctx context.Context, follower *recent.Follower) (message Events, err error) {
	message.Events = []recent.Event{}
	add := func(events []recent.Event, skipped uint64) {
		message.Events = append(message.Events, events...)
		message.Omitted += skipped
		if more := len(message.Events) - site.MaxEvents; more > 0 {
			message.Events, message.Omitted = append([]recent.Event{}, message.Events[more:]...), message.Omitted+uint64(more)
		}
	}
	events, skipped, err := follower.Next(ctx)
	if err != nil {
		return message, err
	}
	add(events, skipped)
	// An interval of its own: what was read must be sent although the time until the next state is over.
	collecting, cancel := context.WithTimeout(context.WithoutCancel(ctx), site.EventInterval)
	defer cancel()
	for {
		events, skipped, err := follower.Next(collecting)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return message, nil
		case err != nil:
			return message, err
		}
		add(events, skipped)
	}
}

func notNil(events []recent.Event) []recent.Event {
	if events == nil {
		return []recent.Event{}
	}
	return events
}
