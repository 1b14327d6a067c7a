package sink

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// ContentMode is a content mode of the CloudEvents HTTP protocol binding.
type ContentMode string

// The content modes. Empty means Binary.
const (
	Binary     ContentMode = "Binary"     // attributes as headers, data as the body
	Structured ContentMode = "Structured" // an event as JSON
	Batched    ContentMode = "Batched"    // several events as a JSON array
)

// Payload is the content of a request to a sink.
type Payload struct {
	Header http.Header
	Body   []byte
}

func (m ContentMode) encode(event *cloudevents.Event) (Payload, error) {
	if m == Structured || m == Batched {
		return structured(event)
	}
	return binary(event)
}

// binary encodes an event in binary mode. The body shares the memory of the event's data.
func binary(event *cloudevents.Event) (Payload, error) {
	attributes := map[string]any{"specversion": event.SpecVersion(), "id": event.ID(), "source": event.Source(), "type": event.Type()}
	if subject := event.Subject(); subject != "" {
		attributes["subject"] = subject
	}
	if schema := event.DataSchema(); schema != "" {
		attributes["dataschema"] = schema
	}
	if at := event.Time(); !at.IsZero() {
		attributes["time"] = at
	}
	maps.Copy(attributes, event.Extensions())
	header := http.Header{"Content-Type": {event.DataContentType()}}
	for name, value := range attributes {
		text, err := types.Format(value)
		if err != nil {
			return Payload{}, fmt.Errorf("encoding the attribute %s: %w", name, err)
		}
		header.Set("Ce-"+name, escape(text))
	}
	continueTrace(header, event)
	return Payload{header, event.DataEncoded}, nil
}

// structured encodes an event in structured mode. JSON data stays as it is, byte for byte, which encoding/json would not
// guarantee.
func structured(event *cloudevents.Event) (Payload, error) {
	var body bytes.Buffer
	body.Grow(len(event.DataEncoded) + 1<<10)
	if err := cloudevents.WriteJson(event, &body); err != nil {
		return Payload{}, fmt.Errorf("encoding the event: %w", err)
	}
	header := http.Header{"Content-Type": {cloudevents.ApplicationCloudEventsJSON}}
	continueTrace(header, event)
	return Payload{header, body.Bytes()}, nil
}

// batched joins events that are encoded in structured mode. It sets no trace headers: each event has a trace of its own,
// in its extensions.
func batched(events []Payload) Payload {
	body := []byte{'['}
	for i, event := range events {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, event.Body...)
	}
	return Payload{http.Header{"Content-Type": {cloudevents.ApplicationCloudEventsBatchJSON}}, append(body, ']')}
}

func (p Payload) reader() io.Reader { return bytes.NewReader(p.Body) }

// escape percent-encodes an attribute for a header, as the HTTP binding demands: everything outside of printable ASCII,
// quotes and percent signs. Spaces stay, because the SDK, and with it Knative, does not decode them.
func escape(value string) string {
	var out []byte
	for i := range len(value) {
		c := value[i]
		if plain := c >= ' ' && c < 0x7f && c != '"' && c != '%'; plain {
			if out != nil {
				out = append(out, c)
			}
			continue
		}
		if out == nil {
			out = append(make([]byte, 0, len(value)+16), value[:i]...)
		}
		out = fmt.Appendf(out, "%%%02X", c)
	}
	if out == nil {
		return value
	}
	return string(out)
}
