package mandrill

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// Kind is the family of an event.
type Kind int

// The families of events. Events of KindUnknown are delivered like the others.
const (
	KindUnknown Kind = iota // not an object, not valid JSON, or without a usable name
	KindMessage             // something happened to a message: send, open, hard_bounce, ...
	KindSync                // the allowlist or denylist changed
	KindInbound             // mail arrived at an inbound route
)

// Event is one event of a batch: its bytes as Mandrill sent them, and the fields that routing needs. All fields except Raw
// may be empty, because Mandrill omits fields, sets them to null, and changes their types.
type Event struct {
	Raw  []byte
	Kind Kind

	// Name is the event's name ("hard_bounce") for KindMessage, the list ("allowlist", "denylist") for
	// KindSync, and "inbound" for KindInbound.
	Name string
	// Action is what happened to the list for KindSync: "add", "change", "remove".
	Action string
	// MessageID is Mandrill's _id: of the message, not of the event.
	MessageID string
	// Time is ts in UTC; zero when ts is missing or out of range.
	Time time.Time
	// Email is the recipient of the message, the address on the list, or the address that received the mail.
	Email string
	// Subaccount, Template and Tag (the first one) are those of the message.
	Subaccount, Template, Tag string
	// Test is true for an event that TestField marks.
	Test bool
}

// TestField is a field that Mandrill does not send: if it is true, a person sent the event as a test. CloudEvents have it as an
// extension.
const TestField = "mandrilltest"

// syncLists maps the names that Mandrill has used for its two lists to the current ones. Its documentation renamed them
// twice; its API and every captured event use the oldest.
var syncLists = map[string]string{
	"allowlist": "allowlist", "whitelist": "allowlist", "safelist": "allowlist",
	"denylist": "denylist", "blacklist": "denylist", "blocklist": "denylist",
}

// WireName returns the name of an event in the API. The argument may be that or the current name.
func WireName(event string) string {
	switch event {
	case "allowlist":
		return "whitelist"
	case "denylist":
		return "blacklist"
	}
	return event
}

// CurrentName is the inverse of [WireName].
func CurrentName(event string) string {
	if list, ok := syncLists[event]; ok {
		return list
	}
	return event
}

// ParseEvent classifies one element of a batch. It never fails: an element that is not valid JSON, is not an object, or has
// no usable name is of KindUnknown. The last one of a repeated key counts.
func ParseEvent(raw []byte) Event {
	event := Event{Raw: raw}
	var name, list string
	err := members(raw, func(m member) {
		switch m.key {
		case "event":
			name = text(m.value)
		case "type":
			list = text(m.value)
		case "action":
			event.Action = text(m.value)
		case "ts":
			event.Time = timestamp(m.value)
		case "_id":
			event.MessageID = text(m.value)
		case TestField:
			event.Test = string(m.value) == "true"
		case "msg":
			event.readMessage(m.value)
		case "reject", "entry":
			event.readEntry(m.value)
		}
	})
	if err != nil {
		return Event{Raw: raw}
	}
	switch {
	case name == "inbound":
		event.Kind, event.Name, event.Action = KindInbound, name, ""
	case usableName(name):
		event.Kind, event.Name, event.Action = KindMessage, name, ""
	case syncLists[list] != "" && usableName(event.Action):
		event.Kind, event.Name = KindSync, syncLists[list]
	default:
		event.Action = ""
	}
	return event
}

// readMessage reads msg. It is an object; without a message it is [], null or missing.
func (e *Event) readMessage(msg []byte) {
	_ = members(msg, func(m member) {
		switch m.key {
		case "_id":
			if e.MessageID == "" {
				e.MessageID = text(m.value)
			}
		case "email":
			e.Email = text(m.value)
		case "subaccount":
			e.Subaccount = text(m.value)
		case "template":
			e.Template = text(m.value)
		case "tags":
			e.Tag = firstText(m.value)
		}
	})
}

// readEntry reads the entry of a sync event. It is also called with the reject of a message event, which sets nothing
// because it has no email.
func (e *Event) readEntry(entry []byte) {
	_ = members(entry, func(m member) {
		switch m.key {
		case "email":
			if email := text(m.value); email != "" {
				e.Email = email
			}
		case "subaccount":
			if subaccount := text(m.value); subaccount != "" {
				e.Subaccount = subaccount
			}
		}
	})
}

// usableName reports whether the name of an event or action may become part of a CloudEvents type.
func usableName(name string) bool {
	const maxName = 64
	if name == "" || len(name) > maxName {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// text returns the string or number that value begins with as text, anything else as "".
func text(value []byte) string {
	switch c := value[0]; {
	case c == '"':
		end, err := validString(value, 0)
		if err != nil {
			return ""
		}
		return unquote(value[:end])
	case c == '-' || '0' <= c && c <= '9':
		end, err := validNumber(value, 0)
		if err != nil {
			return ""
		}
		return string(value[:end])
	}
	return ""
}

// firstText returns the first element of an array, or the value itself: PHP may turn a list of one into a scalar.
func firstText(value []byte) string {
	if value[0] != '[' {
		return text(value)
	}
	i := skipSpace(value, 1)
	if value[i] == ']' { // value is valid JSON
		return ""
	}
	return text(value[i:])
}

// timestamp parses seconds since 1970, whole or fractional, as a number or a string.
func timestamp(value []byte) time.Time {
	const lastSecond = 253402300799 // 9999-12-31T23:59:59Z, the last that RFC 3339 can write
	number := string(bytes.Trim(value, `"`))
	if seconds, err := strconv.ParseInt(number, 10, 64); err == nil {
		if seconds <= 0 || seconds > lastSecond {
			return time.Time{}
		}
		return time.Unix(seconds, 0).UTC()
	}
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil || !(seconds > 0 && seconds <= lastSecond) {
		return time.Time{}
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1e3).UTC()
}
