package mapping

import "github.com/mandrill-operator/mandrill-operator/mandrill"

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

// TypeOf returns the CloudEvents type of an event, and a label from a closed set for metrics and spans: the same type, or
// a prefix and an asterisk for names that the table does not have.
func TypeOf(event mandrill.Event) (ceType, label string) {
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

// DisplayType is the type of an event for people who look at dead letters. A type that does not fit on one line is
// replaced by its label.
func DisplayType(event mandrill.Event) string {
	ceType, label := TypeOf(event)
	if usableAttribute(ceType) {
		return ceType
	}
	return label
}
