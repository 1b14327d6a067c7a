package mapping

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
)

// maxAttribute is the longest value that becomes a CloudEvents attribute, and so an HTTP header.
const maxAttribute = 1024

// Target is what the CloudEvents of a webhook have in common.
type Target struct {
	Source     string
	Extensions map[string]string // override those of events
	OmitSchema bool              // leave dataschema out
	Normalize  bool              // send the normal form of the data

	shared *cloudevent.Shared // nil before Prepare
}

// Prepare encodes what all events have in common, once for all of them.
func (t Target) Prepare() Target {
	var extensions []cloudevent.Attribute
	for _, name := range slices.Sorted(maps.Keys(t.Extensions)) {
		// The SDK decides which names are possible, and has them in lower case.
		if value := attribute(t.Extensions[name]); value != "" && cloudevents.IsExtensionNameValid(name) && !specAttributes[strings.ToLower(name)] {
			extensions = append(extensions, cloudevent.Attribute{Name: strings.ToLower(name), Value: value})
		}
	}
	t.shared = cloudevent.NewShared(t.Source, extensions)
	return t
}

// specAttributes cannot be extensions.
var specAttributes = map[string]bool{
	"id": true, "source": true, "type": true, "specversion": true, "subject": true, "time": true, "datacontenttype": true, "dataschema": true, "data": true,
}

// maxExtensions is how many extensions come from an event.
const maxExtensions = 6

// CloudEvent maps an event of Mandrill to one of sdk-go, as [Map] does.
func CloudEvent(target Target, event mandrill.Event, id string) cloudevents.Event {
	ce := Map(target.Prepare(), event, id)
	return ce.SDK()
}

// Map maps an event of Mandrill. The data is the event's bytes, unchanged, or their normal form if the target asks for it and there is
// one: dataschema says which. All attributes are made from the event's bytes. A value that cannot be an attribute is left out. The
// extensions of the target are set last. The target is prepared.
func Map(target Target, event mandrill.Event, id string) cloudevent.Event {
	ce := cloudevent.Event{Shared: target.shared, ID: id, Time: event.Time}
	ceType, label := TypeOf(event)
	ce.Type = ceType
	subject := event.MessageID
	if event.Kind == mandrill.KindSync || event.Kind == mandrill.KindInbound {
		subject = event.Email
	}
	ce.Subject = strings.TrimSpace(attribute(subject))
	ce.ContentType = contentType(event)
	ce.Data = event.Raw
	isJSON, urls := ce.ContentType == cloudevent.ContentJSON, schemaURLs
	if target.Normalize && isJSON {
		if data, ok := normalForm(event, ceType); ok {
			ce.Data, urls = data, normalizedURLs
		}
	}
	if !target.OmitSchema && isJSON {
		ce.DataSchema = urls[label]
	}
	extensions := make([]cloudevent.Attribute, 0, maxExtensions) // not in the heap
	for _, extension := range [...]struct{ name, value string }{
		{"partitionkey", OrderKey(event)}, {"recipientdomain", domainOf(event.Email)},
		{"subaccount", event.Subaccount}, {"template", event.Template}, {"tag", event.Tag},
	} {
		if value := attribute(extension.value); value != "" && !target.shared.Has(extension.name) {
			extensions = append(extensions, cloudevent.Attribute{Name: extension.name, Value: value})
		}
	}
	if event.Test && !target.shared.Has(mandrill.TestField) {
		extensions = append(extensions, cloudevent.Attribute{Name: mandrill.TestField, Value: "true"})
	}
	ce.Extensions = slices.Clone(extensions)
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
	return cloudevent.ContentJSON
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
