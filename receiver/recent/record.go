package recent

import (
	"strings"
	"unicode/utf8"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Origin is what an event has that its CloudEvent does not.
type Origin struct {
	Batch     string // the id in the buffer, if it was there
	Message   string // Mandrill's _id
	Recipient string
}

// Tagged is the Tag of an item that knows where its event comes from.
type Tagged interface{ Origin() Origin }

// Attempted implements the recorder of package sink: it records an attempt for each item of a request.
func (r *Ring) Attempted(request sink.Request) {
	if r == nil {
		return
	}
	event := Event{
		Webhook: request.Webhook, Outcome: request.Outcome, Status: request.Status, DurationMs: request.Took.Milliseconds(), Reason: request.Reason,
		Answer: bounded(request.Answer, maxAnswer),
	}
	if request.DeadLetterSink && event.Outcome == OutcomeAccepted {
		event.Outcome = OutcomeDeadLetterSink
	}
	for _, item := range request.Items {
		attempt := item.Attempts
		if request.DeadLetterSink {
			attempt = item.DeadLetterAttempts
		}
		event.Attempt = attempt + 1
		event.describe(item)
		r.add(event, item.Event)
	}
}

// DeadLettered records that an event is kept as a dead letter in the buffer.
func (r *Ring) DeadLettered(webhook, reason string, item *sink.Item) {
	if r == nil {
		return
	}
	status, answer := sink.Describe(item.Err)
	event := Event{Webhook: webhook, Outcome: OutcomeDeadLettered, Reason: reason, Attempt: item.Attempts, Status: status, Answer: bounded(answer, maxAnswer)}
	event.describe(item)
	r.add(event, item.Event)
}

// describe adds what is known of an event apart from its delivery.
func (e *Event) describe(item *sink.Item) {
	event, origin := item.Event, Origin{}
	if tagged, ok := item.Tag.(Tagged); ok {
		origin = tagged.Origin()
	}
	e.ID, e.Type, e.Test = event.ID, bounded(event.Type, maxText), event.Extension(mandrill.TestField) != ""
	e.Batch, e.Message, e.Recipient = origin.Batch, bounded(origin.Message, maxText), bounded(origin.Recipient, maxText)
}

// bounded returns the beginning of a text, without keeping the rest in memory.
func bounded(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end])
}

var _ sink.Recorder = (*Ring)(nil)
