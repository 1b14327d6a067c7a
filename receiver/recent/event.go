package recent

import (
	"encoding/json"
	"strings"
	"time"
)

// Outcomes that are not those of a request to a sink, which are accepted, refused, timeout, no_answer, overloaded and failed.
const (
	OutcomeAccepted       = "accepted"
	OutcomeDeadLetterSink = "dead_letter_sink" // the dead letter sink accepted it
	OutcomeDeadLettered   = "dead_lettered"    // it is kept in the buffer as a dead letter
)

// typePrefixes are what the types of events have in common, so that users can leave it out.
var typePrefixes = [...]string{"", "com.mandrill.", "com.mandrill.message."}

// Event is an attempt to deliver an event, or what became of it. The names of its JSON are for programs of others.
type Event struct {
	Time       time.Time `json:"time"`
	Webhook    string    `json:"webhook"` // namespace/name of the object
	Batch      string    `json:"batch"`   // its id in the buffer; empty in Direct mode
	ID         string    `json:"id"`      // of the CloudEvent
	Type       string    `json:"type"`
	Recipient  string    `json:"recipient"`
	Message    string    `json:"message"` // Mandrill's _id
	Attempt    int       `json:"attempt"` // the first is 1
	Outcome    string    `json:"outcome"`
	Status     int       `json:"status"` // of the sink's answer; 0 without one
	DurationMs int64     `json:"durationMs"`
	Test       bool      `json:"test"`
	Reason     string    `json:"reason,omitempty"` // why the attempt failed, or why it is a dead letter
	Answer     string    `json:"answer,omitempty"` // the beginning of what the sink answered, if it did not accept the event
	// Event is the CloudEvent in JSON. It is absent unless it was asked for.
	Event json.RawMessage `json:"event,omitempty"`
}

// Failed reports whether the sink did not accept the event.
func (e *Event) Failed() bool { return e.Outcome != OutcomeAccepted }

// Filter selects events. Its zero value selects all.
type Filter struct {
	Webhook string
	Type    string // also without its prefix, such as hard_bounce
	Outcome string
	ID      string
	Failed  bool // only those that the sink did not accept
	Payload bool // with the CloudEvent
}

func (f *Filter) matches(e *Event) bool {
	return (f.Webhook == "" || f.Webhook == e.Webhook) && (f.Outcome == "" || f.Outcome == e.Outcome) &&
		(f.ID == "" || f.ID == e.ID) && (!f.Failed || e.Failed()) && f.hasType(e.Type)
}

func (f *Filter) hasType(name string) bool {
	if f.Type == "" {
		return true
	}
	for _, prefix := range typePrefixes {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest == f.Type {
			return true
		}
	}
	return false
}
