package mapping

import (
	"encoding/json"

	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// normalForm returns the data of an event as package events encodes them. An event without a name has no normal form, and neither has
// one with a value of a kind that package events refuses: it is sent as it is, because a consumer may still understand it.
func normalForm(event mandrill.Event, ceType string) ([]byte, bool) {
	if event.Kind == mandrill.KindUnknown {
		return nil, false
	}
	parsed, err := events.ParseData(ceType, event.Raw)
	if err != nil {
		return nil, false
	}
	data, err := json.Marshal(parsed)
	return data, err == nil
}
