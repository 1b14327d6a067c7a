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
	var found fields
	if err := found.scan(raw); err != nil {
		return Event{Raw: raw}
	}
	event := Event{Raw: raw, Time: found.time, Test: found.test}
	found.texts(&event)
	name, list, action := found.name.name(), found.list.name(), found.action.name()
	switch {
	case name == "inbound":
		event.Kind, event.Name = KindInbound, name
	case usableName(name):
		event.Kind, event.Name = KindMessage, name
	case syncLists[list] != "" && usableName(action):
		event.Kind, event.Name, event.Action = KindSync, syncLists[list], action
	}
	return event
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
