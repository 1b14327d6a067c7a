package mapping

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// maxAttribute is the longest value that becomes a CloudEvents attribute, and so an HTTP header.
const maxAttribute = 1024

const contentJSON = "application/json"

// Target is what the CloudEvents of a webhook have in common.
type Target struct {
	Source     string
	Extensions map[string]string // override those of events
	OmitSchema bool              // leave dataschema out
	Normalize  bool              // send the normal form of the data
}

// CloudEvent maps an event of Mandrill. The data are the event's bytes, unchanged, or their normal form if the target asks for it and
// there is one: dataschema says which. All other attributes are made from the event's bytes. A value that cannot be an attribute is left
// out. The extensions of the target are set last.
func CloudEvent(target Target, event mandrill.Event, id string) cloudevents.Event {
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(id)
	ce.SetSource(target.Source)
	ceType, label := TypeOf(event)
	ce.SetType(ceType)
	if !event.Time.IsZero() {
		ce.SetTime(event.Time)
	}
	subject := event.MessageID
	if event.Kind == mandrill.KindSync || event.Kind == mandrill.KindInbound {
		subject = event.Email
	}
	if subject = attribute(subject); subject != "" {
		ce.SetSubject(subject)
	}
	ce.SetDataContentType(contentType(event))
	ce.DataEncoded = event.Raw
	ce.DataBase64 = ce.DataContentType() != contentJSON // in JSON, where anything else cannot be embedded
	urls := schemaURLs
	if target.Normalize && !ce.DataBase64 {
		if data, ok := normalForm(event, ceType); ok {
			ce.DataEncoded, urls = data, normalizedURLs
		}
	}
	if !target.OmitSchema && !ce.DataBase64 {
		ce.Context.(*cloudevents.EventContextV1).DataSchema = urls[label]
	}
	for _, extension := range [...]struct{ name, value string }{
		{"partitionkey", OrderKey(event)}, {"recipientdomain", domainOf(event.Email)},
		{"subaccount", event.Subaccount}, {"template", event.Template}, {"tag", event.Tag},
	} {
		if value := attribute(extension.value); value != "" {
			ce.SetExtension(extension.name, value)
		}
	}
	if event.Test {
		ce.SetExtension(mandrill.TestField, "true")
	}
	for name, value := range target.Extensions {
		if value = attribute(value); value != "" {
			ce.SetExtension(name, value)
		}
	}
	return ce
}

// OrderKey is what events have in common that are delivered in order: of messages their id, of changes of lists the address, of inbound
// mail the address that received it. It is empty for an event that has none.
func OrderKey(event mandrill.Event) string {
	if event.Kind == mandrill.KindSync || event.Kind == mandrill.KindInbound {
		return strings.ToLower(event.Email)
	}
	return event.MessageID
}

// domainOf returns what follows the last @ of an address, in lower case: the part before it may be quoted and have some too.
func domainOf(email string) string {
	at := strings.LastIndexByte(email, '@')
	if at < 0 {
		return ""
	}
	return strings.ToLower(email[at+1:])
}

// maxNesting is how deep JSON may be nested that is called by that name. The strictest of the usual parsers (System.Text.Json) reads 64
// levels, of which Batched mode takes two.
const maxNesting = 60

// contentType calls only valid JSON by that name, because consumers parse what is called JSON. JSON is UTF-8: with other bytes
// consumers refuse it, and in Batched mode all events of the request with it. So they do if it is nested too deep.
func contentType(event mandrill.Event) string {
	if event.Kind == mandrill.KindUnknown && !json.Valid(event.Raw) || !utf8.Valid(event.Raw) || nestsDeeper(event.Raw, maxNesting) {
		return "application/octet-stream"
	}
	return contentJSON
}

// nestsDeeper reports whether valid JSON has more levels.
func nestsDeeper(raw []byte, levels int) bool {
	if bytes.Count(raw, []byte{'{'})+bytes.Count(raw, []byte{'['}) <= levels { // nearly always
		return false
	}
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			if depth++; depth > levels {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		}
	}
	return false
}

// attribute returns a value as an attribute, or "" if it cannot be one. Spaces at its ends are removed: HTTP removes them from
// headers, and filters must see the same in all content modes.
func attribute(value string) string {
	if value = strings.Trim(value, " "); usableAttribute(value) {
		return value
	}
	return ""
}

// usableAttribute reports whether a text can be a CloudEvents attribute: not empty, of bounded size, Unicode without
// control characters.
func usableAttribute(value string) bool {
	if value == "" || len(value) > maxAttribute || strings.TrimSpace(value) == "" {
		return false
	}
	for _, c := range value {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return false
		}
	}
	return true
}
