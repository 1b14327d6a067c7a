package sink

import (
	"bytes"
	"fmt"
	"io"
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

// headerNames are the headers of attributes that most events have. Others are named like them.
var headerNames = map[string]string{
	"partitionkey": "Ce-Partitionkey", "recipientdomain": "Ce-Recipientdomain", "subaccount": "Ce-Subaccount", "template": "Ce-Template", "tag": "Ce-Tag",
	"traceparent": "Ce-Traceparent", "tracestate": "Ce-Tracestate",
}

// binary encodes an event in binary mode. The body shares the memory of the event's data.
func binary(event *cloudevents.Event) (Payload, error) {
	const attributes = 9 // that are not extensions, and the content type
	extensions := extensionsOf(event)
	header := make(http.Header, attributes+len(extensions))
	values := make([]string, 0, attributes+len(extensions)) // all in one, which each header has a part of
	set := func(name, value string) {
		if value != "" {
			values = append(values, escape(value))
			header[name] = values[len(values)-1 : len(values) : len(values)]
		}
	}
	header["Content-Type"] = []string{event.DataContentType()}
	set("Ce-Specversion", event.SpecVersion())
	set("Ce-Id", event.ID())
	set("Ce-Source", event.Source())
	set("Ce-Type", event.Type())
	set("Ce-Subject", event.Subject())
	set("Ce-Dataschema", event.DataSchema())
	if at := event.Time(); !at.IsZero() {
		set("Ce-Time", types.FormatTime(at))
	}
	for name, value := range extensions {
		text, err := types.Format(value)
		if err != nil {
			return Payload{}, fmt.Errorf("encoding the attribute %s: %w", name, err)
		}
		if known, ok := headerNames[name]; ok {
			set(known, text)
		} else {
			set(http.CanonicalHeaderKey("Ce-"+name), text)
		}
	}
	continueTrace(header, extensions)
	return Payload{header, event.DataEncoded}, nil
}

// extensionsOf returns the extensions of an event, which must not be changed: Extensions makes a copy.
func extensionsOf(event *cloudevents.Event) map[string]any {
	if context, ok := event.Context.(*cloudevents.EventContextV1); ok {
		return context.Extensions
	}
	return event.Extensions()
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
	continueTrace(header, extensionsOf(event))
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
