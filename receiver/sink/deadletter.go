package sink

import (
	"context"
	"net/url"
	"strconv"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
)

// sendDeadLetter sends an item to the dead letter sink.
func (s *Sender) sendDeadLetter(ctx context.Context, delivery Delivery, item *Item) {
	counts, err := s.post(ctx, *delivery.DeadLetter, Binary, Binary.encode(deadLetter(delivery.URI, item), nil), nil, []*Item{item})
	item.DeadLetterErr = err
	if err != nil && counts {
		item.DeadLetterAttempts++
	}
	if err != nil {
		s.metrics.deadLetters.WithLabelValues("failed").Inc()
		return
	}
	s.metrics.deadLetters.WithLabelValues("accepted").Inc()
	item.State = DeadLettered
}

// deadLetter returns an item's event with the extensions that Knative adds to dead letters.
func deadLetter(uri string, item *Item) *cloudevent.Event {
	event := item.Event.Clone()
	if destination, err := url.Parse(uri); err == nil {
		destination.User, destination.RawQuery, destination.ForceQuery, destination.Fragment = nil, "", false, "" // may be secret
		event.Set("knativeerrordest", destination.String())
	}
	status, answer := Describe(item.Err)
	if status != 0 {
		event.Set("knativeerrorcode", strconv.Itoa(status))
	}
	if answer != "" {
		event.Set("knativeerrordata", answer)
	}
	return event
}

// Describe returns the status and the body with which a sink refused an event. Without an answer the status is 0 and the
// body is the outcome as the metrics name it. The body is for dead letters, not for logs.
func Describe(err error) (status int, answer string) {
	failure := asError(err)
	if failure.Status == 0 && failure.Answer == "" {
		return 0, outcomeOf(err) // the text of the error may contain addresses
	}
	return failure.Status, failure.Answer
}
