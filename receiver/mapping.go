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

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// EventType is one row of the mapping from what Mandrill sends to types of CloudEvents.
type EventType struct {
	Kind         mandrill.Kind
	Name, Action string // as in mandrill.Event; a row without a Name stands for all others of its kind
	Type         string // a row without a Name appends the event's name (and action)
	Description  string
}

// EventTypes is the mapping. docs/events.md is generated from it.
var EventTypes = []EventType{
	{mandrill.KindMessage, "send", "", "com.mandrill.message.send", "Mandrill accepted the message"},
	{mandrill.KindMessage, "delivered", "", "com.mandrill.message.delivered", "the recipient's server accepted the message"},
	{mandrill.KindMessage, "deferral", "", "com.mandrill.message.deferral", "the recipient's server asked to try later"},
	{mandrill.KindMessage, "hard_bounce", "", "com.mandrill.message.hard_bounce", "the message cannot be delivered"},
	{mandrill.KindMessage, "soft_bounce", "", "com.mandrill.message.soft_bounce", "the message was not delivered this time"},
	{mandrill.KindMessage, "open", "", "com.mandrill.message.open", "the recipient opened the message"},
	{mandrill.KindMessage, "click", "", "com.mandrill.message.click", "the recipient followed a link"},
	{mandrill.KindMessage, "spam", "", "com.mandrill.message.spam", "the recipient reported spam"},
	{mandrill.KindMessage, "unsub", "", "com.mandrill.message.unsub", "the recipient unsubscribed"},
	{mandrill.KindMessage, "reject", "", "com.mandrill.message.reject", "Mandrill refused to send the message"},
	{mandrill.KindMessage, "", "", "com.mandrill.message.", "any event that Mandrill may add, by its name"},
	{mandrill.KindSync, "allowlist", "add", "com.mandrill.sync.allowlist.add", "an address was added to the allowlist"},
	{mandrill.KindSync, "allowlist", "remove", "com.mandrill.sync.allowlist.remove", "an address was removed from the allowlist"},
	{mandrill.KindSync, "denylist", "add", "com.mandrill.sync.denylist.add", "an address was added to the denylist"},
	{mandrill.KindSync, "denylist", "change", "com.mandrill.sync.denylist.change", "an entry of the denylist changed"},
	{mandrill.KindSync, "denylist", "remove", "com.mandrill.sync.denylist.remove", "an address was removed from the denylist"},
	{mandrill.KindSync, "", "", "com.mandrill.sync.", "any change of a list that Mandrill may add, by its action"},
	{mandrill.KindInbound, "inbound", "", "com.mandrill.inbound", "mail arrived at an inbound route"},
	{mandrill.KindUnknown, "", "", "com.mandrill.unknown", "Mandrill sent something that has no name"},
}

type typeKey struct {
	kind         mandrill.Kind
	name, action string
}

var typeIndex = func() map[typeKey]*EventType {
	index := map[typeKey]*EventType{}
	for i, row := range EventTypes {
		index[typeKey{row.Kind, row.Name, row.Action}] = &EventTypes[i]
	}
	return index
}()

// typeOf returns the CloudEvents type of an event, and the same from a closed set for metric labels.
func typeOf(event mandrill.Event) (ceType, label string) {
	if row, ok := typeIndex[typeKey{event.Kind, event.Name, event.Action}]; ok {
		return row.Type, row.Type
	}
	prefix := typeIndex[typeKey{kind: event.Kind}].Type
	ceType = prefix + event.Name
	if event.Action != "" {
		ceType += "." + event.Action
	}
	return ceType, prefix + "*"
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
