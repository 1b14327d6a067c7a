package mapping

import (
	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// families are the kinds of Mandrill's events in the table of types.
var families = [...]eventtypes.Family{
	mandrill.KindMessage: eventtypes.Message,
	mandrill.KindSync:    eventtypes.Sync,
	mandrill.KindInbound: eventtypes.Inbound,
	mandrill.KindUnknown: eventtypes.Unknown,
}

// The URLs of the schemas by the labels of types, for Mandrill's form and for the normal form of the data.
var (
	schemaURLs     = urlsOf(eventtypes.EventType.Schema)
	normalizedURLs = urlsOf(eventtypes.EventType.NormalizedSchema)
)

func urlsOf(schema func(eventtypes.EventType) string) map[string]string {
	urls := map[string]string{}
	for _, row := range eventtypes.Table {
		label := row.Type
		if row.IsPrefix() {
			label += "*"
		}
		urls[label] = schema(row)
	}
	return urls
}

// TypeOf returns the CloudEvents type of an event, and a label from a closed set for metrics and spans: the same type, or
// a prefix and an asterisk for names that the table does not have.
func TypeOf(event mandrill.Event) (ceType, label string) {
	return eventtypes.Of(families[event.Kind], event.Name, event.Action)
}

// LabelOf returns the label of [TypeOf].
func LabelOf(event mandrill.Event) string {
	_, label := TypeOf(event)
	return label
}

// DisplayType is the type of an event for people who look at dead letters. A type that does not fit on one line is
// replaced by its label.
func DisplayType(event mandrill.Event) string {
	ceType, label := TypeOf(event)
	if usableAttribute(ceType) {
		return ceType
	}
	return label
}
