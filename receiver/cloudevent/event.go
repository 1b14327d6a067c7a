// Package cloudevent has CloudEvents in the form in which the receiver makes and sends them: attributes are texts in a slice, and what all
// events of a webhook have in common is encoded once. An event of sdk-go has a map of extensions and parsed URLs, and takes a dozen
// allocations; [Event.SDK] makes one of an [Event].
package cloudevent

import (
	"encoding/base64"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// ContentJSON is the content type of data that is part of the JSON of an event. Other data is base64 there.
const ContentJSON = "application/json"

// Attribute is an extension attribute. Its name has lower-case letters and digits only.
type Attribute struct{ Name, Value string }

// Event is a CloudEvent of version 1.0. Subject, DataSchema, ContentType and Time may be empty.
type Event struct {
	Shared      *Shared // required
	ID, Type    string
	Subject     string
	DataSchema  string
	ContentType string
	Time        time.Time
	Extensions  []Attribute // those that Shared does not have; see Set
	Data        []byte
}

// Extension returns the value of an extension, or nothing.
func (e *Event) Extension(name string) string {
	for _, list := range [...][]Attribute{e.Extensions, e.Shared.extensions} {
		for _, extension := range list {
			if extension.Name == name {
				return extension.Value
			}
		}
	}
	return ""
}

// Set sets an extension, which may be one that other events share.
func (e *Event) Set(name, value string) {
	if e.Shared.Has(name) {
		e.Shared = e.Shared.without(name)
	}
	for i := range e.Extensions {
		if e.Extensions[i].Name == name {
			e.Extensions[i].Value = value
			return
		}
	}
	e.Extensions = append(e.Extensions, Attribute{name, value})
}

// Clone returns a copy that may be changed. It shares the data.
func (e *Event) Clone() *Event {
	clone := *e
	clone.Extensions = slices.Clone(e.Extensions)
	return &clone
}

// SDK returns the event as one of sdk-go.
func (e *Event) SDK() event.Event {
	ce := event.New(event.CloudEventsVersionV1)
	ce.SetID(e.ID)
	ce.SetSource(e.Shared.source)
	ce.SetType(e.Type)
	ce.SetSubject(e.Subject)
	ce.SetDataSchema(e.DataSchema)
	ce.SetDataContentType(e.ContentType)
	ce.SetTime(e.Time)
	for _, list := range [...][]Attribute{e.Shared.extensions, e.Extensions} {
		for _, extension := range list {
			ce.SetExtension(extension.Name, extension.Value)
		}
	}
	ce.DataEncoded, ce.DataBase64 = e.Data, e.ContentType != ContentJSON
	return ce
}

// Shared is what the events of a webhook have in common. It is never changed.
type Shared struct {
	source     string
	extensions []Attribute
	fields     []byte // as AppendFields encodes them
	json       []byte // as AppendJSON encodes them
}

// NewShared returns what events with a source and some extensions have in common. A source that is not a URI reference is left out.
func NewShared(source string, extensions []Attribute) *Shared {
	var ce event.EventContextV1
	if err := ce.SetSource(source); err == nil {
		source = ce.GetSource() // in normal form
	} else {
		source = ""
	}
	s := &Shared{source: source, extensions: extensions}
	s.fields = appendField(appendField(nil, "Ce-Specversion", event.CloudEventsVersionV1), "Ce-Source", source)
	s.json = appendMember(append(s.json, `{"specversion":"1.0"`...), "source", source)
	for _, extension := range extensions {
		s.fields = appendField(s.fields, fieldName(extension.Name), extension.Value)
		s.json = appendMember(s.json, extension.Name, extension.Value)
	}
	return s
}

// Has reports whether the extensions have a name.
func (s *Shared) Has(name string) bool {
	return slices.ContainsFunc(s.extensions, func(a Attribute) bool { return a.Name == name })
}

func (s *Shared) without(name string) *Shared {
	return NewShared(s.source, slices.DeleteFunc(slices.Clone(s.extensions), func(a Attribute) bool { return a.Name == name }))
}

// AppendJSON appends the event in the JSON format. JSON data stays as it is, byte for byte.
func (e *Event) AppendJSON(to []byte) []byte {
	to = append(to, e.Shared.json...)
	to = appendMember(to, "id", e.ID)
	to = appendMember(to, "type", e.Type)
	for _, member := range [...]Attribute{{"subject", e.Subject}, {"datacontenttype", e.ContentType}, {"dataschema", e.DataSchema}} {
		if member.Value != "" {
			to = appendMember(to, member.Name, member.Value)
		}
	}
	if !e.Time.IsZero() {
		to = appendTime(append(to, `,"time":"`...), e.Time)
		to = append(to, '"')
	}
	for _, extension := range e.Extensions {
		to = appendMember(to, extension.Name, extension.Value)
	}
	switch {
	case e.Data == nil:
	case e.ContentType == ContentJSON:
		to = append(append(to, `,"data":`...), e.Data...)
	default:
		to = base64.StdEncoding.AppendEncode(append(to, `,"data_base64":"`...), e.Data)
		to = append(to, '"')
	}
	return append(to, '}')
}

// appendTime appends a time as CloudEvents write it.
func appendTime(to []byte, at time.Time) []byte { return at.UTC().AppendFormat(to, time.RFC3339Nano) }

// appendMember appends a member of an object that has one already.
func appendMember(to []byte, name, value string) []byte {
	to = append(append(append(to, `,"`...), name...), `":"`...)
	return append(appendEscaped(to, value), '"')
}

// appendEscaped appends a text as it is in a JSON string.
func appendEscaped(to []byte, text string) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		to = append(to, text[start:i]...)
		if c < ' ' {
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			to = append(to, '\\', c)
		}
		start = i + 1
	}
	return append(to, text[start:]...)
}
