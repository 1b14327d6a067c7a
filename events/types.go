package events

import (
	"slices"
	"strings"
)

// The CloudEvents types that have a type here. Other events of messages are OtherMessage, other changes of lists OtherListEvent.
const (
	TypeSend            = "com.mandrill.message.send"
	TypeDelivered       = "com.mandrill.message.delivered"
	TypeDeferral        = "com.mandrill.message.deferral"
	TypeHardBounce      = "com.mandrill.message.hard_bounce"
	TypeSoftBounce      = "com.mandrill.message.soft_bounce"
	TypeOpen            = "com.mandrill.message.open"
	TypeClick           = "com.mandrill.message.click"
	TypeSpam            = "com.mandrill.message.spam"
	TypeUnsub           = "com.mandrill.message.unsub"
	TypeReject          = "com.mandrill.message.reject"
	TypeAllowlistAdd    = "com.mandrill.sync.allowlist.add"
	TypeAllowlistRemove = "com.mandrill.sync.allowlist.remove"
	TypeDenylistAdd     = "com.mandrill.sync.denylist.add"
	TypeDenylistChange  = "com.mandrill.sync.denylist.change"
	TypeDenylistRemove  = "com.mandrill.sync.denylist.remove"
	TypeInbound         = "com.mandrill.inbound"
	TypeUnknown         = "com.mandrill.unknown"
)

// The beginnings of types that Mandrill may add.
const (
	PrefixMessage = "com.mandrill.message."
	PrefixList    = "com.mandrill.sync."
)

// Type is a CloudEvents type and the Go type of its data.
type Type struct {
	Name string     // of the CloudEvents type, or the beginning of several, which ends with a dot
	New  func() any // a pointer to the Go type
}

// IsPrefix reports whether Name is the beginning of several types.
func (t Type) IsPrefix() bool { return strings.HasSuffix(t.Name, ".") }

// Constants returns the fields that say in the data of which type they are, and the values that each may have. Nil: any name. Alerts
// have no such fields.
func (t Type) Constants() map[string][]string {
	switch {
	case t.Name == TypeUnknown, strings.HasPrefix(t.Name, PrefixAlert):
		return nil
	}
	switch t.Name {
	case TypeInbound:
		return map[string][]string{"event": {"inbound"}}
	case PrefixMessage:
		return map[string][]string{"event": nil}
	case PrefixList:
		return map[string][]string{"type": slices.Concat(listNames["allowlist"], listNames["denylist"]), "action": nil}
	}
	if event, ok := strings.CutPrefix(t.Name, PrefixMessage); ok {
		return map[string][]string{"event": {event}}
	}
	list, action, _ := strings.Cut(strings.TrimPrefix(t.Name, PrefixList), ".")
	return map[string][]string{"type": listNames[list], "action": {action}}
}

// listNames are the names that Mandrill has used for its two lists, first the current ones.
var listNames = map[string][]string{
	"allowlist": {"allowlist", "whitelist", "safelist"},
	"denylist":  {"denylist", "blacklist", "blocklist"},
}

// TypeNamed returns the type that the data of a CloudEvents type have.
func TypeNamed(ceType string) (Type, bool) {
	for _, t := range slices.Concat(Types, Alerts) {
		if t.Name == ceType && !t.IsPrefix() || t.IsPrefix() && len(ceType) > len(t.Name) && strings.HasPrefix(ceType, t.Name) {
			return t, true
		}
	}
	return Type{}, false
}

// Types are all types, those that begin several last.
var Types = []Type{
	{TypeSend, func() any { return new(Send) }},
	{TypeDelivered, func() any { return new(Delivered) }},
	{TypeDeferral, func() any { return new(Deferral) }},
	{TypeHardBounce, func() any { return new(HardBounce) }},
	{TypeSoftBounce, func() any { return new(SoftBounce) }},
	{TypeOpen, func() any { return new(Open) }},
	{TypeClick, func() any { return new(Click) }},
	{TypeSpam, func() any { return new(Spam) }},
	{TypeUnsub, func() any { return new(Unsub) }},
	{TypeReject, func() any { return new(Reject) }},
	{TypeAllowlistAdd, func() any { return new(AllowlistAdd) }},
	{TypeAllowlistRemove, func() any { return new(AllowlistRemove) }},
	{TypeDenylistAdd, func() any { return new(DenylistAdd) }},
	{TypeDenylistChange, func() any { return new(DenylistChange) }},
	{TypeDenylistRemove, func() any { return new(DenylistRemove) }},
	{TypeInbound, func() any { return new(Inbound) }},
	{TypeUnknown, func() any { return new(Unknown) }},
	{PrefixMessage, func() any { return new(OtherMessage) }},
	{PrefixList, func() any { return new(OtherListEvent) }},
}

// Unknown is the data of [TypeUnknown]: what Mandrill sent is not an object, is not valid JSON, or has no usable name.
type Unknown struct {
	// Data as they were sent.
	Data []byte
}
