package sink

import (
	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
)

// ContentMode is a content mode of the CloudEvents HTTP protocol binding.
type ContentMode string

// The content modes. Empty means Binary.
const (
	Binary     ContentMode = "Binary"     // attributes as headers, data as the body
	Structured ContentMode = "Structured" // an event as JSON
	Batched    ContentMode = "Batched"    // several events as a JSON array
)

// The content types of events as JSON.
const (
	structuredFields = "Content-Type: application/cloudevents+json\r\n"
	batchedFields    = "Content-Type: application/cloudevents-batch+json\r\n"
	// attributeBytes is about what the attributes of an event take in JSON.
	attributeBytes = 768
)

// Payload is the content of a request to a sink. Both parts may be read until the request has ended, and must not be changed. The next
// request may use the buffer of the fields.
type Payload struct {
	Fields []byte // of the header, as [cloudevent.Header] reads them
	Body   []byte
	Reused bool // the next request may use the buffer of the body, too
}

// encode encodes an event in binary or structured mode. The fields are appended to a buffer, which may be used again after the request;
// the body is not in it.
func (m ContentMode) encode(event *cloudevent.Event, buffer []byte) Payload {
	if m == Structured {
		body := event.AppendJSON(make([]byte, 0, len(event.Data)+attributeBytes))
		return Payload{Fields: event.AppendTrace(append(buffer, structuredFields...)), Body: body}
	}
	return Payload{Fields: event.AppendFields(buffer), Body: event.Data}
}
