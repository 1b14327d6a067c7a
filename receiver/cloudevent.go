package receiver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// families are the kinds of Mandrill's events in the table of types.
var families = map[mandrill.Kind]eventtypes.Family{
	mandrill.KindMessage: eventtypes.Message,
	mandrill.KindSync:    eventtypes.Sync,
	mandrill.KindInbound: eventtypes.Inbound,
	mandrill.KindUnknown: eventtypes.Unknown,
}

// typeOf returns the CloudEvents type of an event, and the same from a closed set for metric labels.
func typeOf(event mandrill.Event) (ceType, label string) {
	return eventtypes.Of(families[event.Kind], event.Name, event.Action)
}

// eventID is stable over retries and replicas: a hash of the event's bytes and, of events that are the same
// to the byte within a batch, the number of those before it. Two clicks in one second are two events.
func eventID(raw []byte, seen map[string]int) string {
	sum := sha256.Sum256(raw)
	id := hex.EncodeToString(sum[:16])
	n := seen[id]
	seen[id]++
	if n > 0 {
		id += "-" + strconv.Itoa(n)
	}
	return id
}

// cloudEvent maps an event. The data are the event's bytes, and what cannot be an attribute is left out.
func (r *Route) cloudEvent(event mandrill.Event, id string) cloudevents.Event {
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(id)
	ce.SetSource(r.Source)
	ceType, _ := typeOf(event)
	ce.SetType(ceType)
	if !event.Time.IsZero() {
		ce.SetTime(event.Time)
	}
	subject := event.MessageID
	if event.Kind == mandrill.KindSync || event.Kind == mandrill.KindInbound {
		subject = event.Email
	}
	if usableAttribute(subject) {
		ce.SetSubject(subject)
	}
	ce.SetDataContentType(contentType(event))
	ce.DataEncoded = event.Raw
	ce.DataBase64 = ce.DataContentType() != contentJSON // in JSON, where anything else cannot be embedded
	_, domain, _ := strings.Cut(event.Email, "@")
	for name, value := range map[string]string{
		"partitionkey": event.MessageID, "recipientdomain": strings.ToLower(domain),
		"subaccount": event.Subaccount, "template": event.Template, "tag": event.Tag,
	} {
		if usableAttribute(value) {
			ce.SetExtension(name, value)
		}
	}
	for name, value := range r.CEOverrides.Extensions {
		ce.SetExtension(name, value)
	}
	return ce
}

const contentJSON = "application/json"

// contentType tells the truth about the bytes: consumers parse what is called JSON.
func contentType(event mandrill.Event) string {
	if event.Kind == mandrill.KindUnknown && !json.Valid(event.Raw) {
		return "application/octet-stream"
	}
	return contentJSON
}

// usableAttribute tells whether a text may be a CloudEvents attribute: not empty, of bounded size, Unicode
// without control characters.
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
