package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// ErrType means that a CloudEvents type is none of the receiver's.
var ErrType = errors.New("not a type of Mandrill's events")

var errInvalid = errors.New("not valid JSON")

// Parse decodes the data of a CloudEvent. It returns a pointer to the type that [Types] has for the CloudEvents type, such as *HardBounce.
// An error wraps [ErrType], or names the field that has a value of the wrong kind; it has no value of the event, which may be personal.
func Parse(ce cloudevents.Event) (any, error) { return ParseData(ce.Type(), ce.Data()) }

// ParseData is [Parse] for those who have the CloudEvents type and the data apart. Data that are not UTF-8 are decoded as if the wrong
// bytes were U+FFFD.
func ParseData(ceType string, data []byte) (any, error) {
	t, ok := TypeNamed(ceType)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrType, ceType)
	}
	value := t.New()
	if unknown, ok := value.(*Unknown); ok {
		unknown.Data = data
		return value, nil
	}
	if err := unmarshal(data, value); err != nil {
		return nil, err
	}
	if err := checkType(t, ceType, value); err != nil {
		return nil, err
	}
	return value, nil
}

// checkType compares the names that the data have with the type of the CloudEvent.
func checkType(t Type, ceType string, value any) error {
	if t.Constants() == nil {
		return nil
	}
	names := map[string]string{}
	got := reflect.ValueOf(value).Elem()
	for _, field := range fieldsOf(got.Type()) {
		if _, constant := t.Constants()[field.name]; constant {
			names[field.name] = got.FieldByIndex(field.index).String()
		}
	}
	want := ceType
	if t.IsPrefix() {
		for name, allowed := range t.Constants() {
			if allowed != nil && !slices.Contains(allowed, names[name]) || names[name] == "" {
				return fmt.Errorf("%s: not that of an event of the type %s", name, t.Name)
			}
		}
	}
	if event, ok := names["event"]; ok {
		if want != PrefixMessage+event && (want != TypeInbound || event != "inbound") {
			return fmt.Errorf("event: not that of an event of the type %q", ceType)
		}
		return nil
	}
	if want != PrefixList+names["type"]+"."+names["action"] {
		return fmt.Errorf("type and action: not those of an event of the type %q", ceType)
	}
	return nil
}

// unmarshal decodes data, which must be an object, into what target points to.
func unmarshal(data []byte, target any) error {
	if data = bytes.TrimSpace(data); !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	value := reflect.ValueOf(target).Elem()
	value.SetZero()
	if !json.Valid(data) {
		return errInvalid
	}
	if data[0] != '{' {
		return errors.New("want an object")
	}
	if err := decode(data, value, field{}); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "."))
	}
	if event, ok := target.(interface{ normalize() }); ok {
		event.normalize()
	}
	return nil
}

// normalize takes the id from the message.
func (e *MessageEvent) normalize() {
	if e.ID == "" {
		e.ID = e.Message.ID
	}
}

// normalize gives the list its current name.
func (e *AllowlistEvent) normalize() { e.List = currentName(e.List) }

// normalize gives the list its current name.
func (e *DenylistEvent) normalize() { e.List = currentName(e.List) }

func currentName(list string) string {
	for name, names := range listNames {
		if slices.Contains(names, list) {
			return name
		}
	}
	return list
}

// normalize gives attachments and images without a name the one under which they are.
func (e *Inbound) normalize() {
	for name, each := range e.Message.Attachments {
		if each.Name == "" {
			each.Name = name
			e.Message.Attachments[name] = each
		}
	}
	for name, each := range e.Message.Images {
		if each.Name == "" {
			each.Name = name
			e.Message.Images[name] = each
		}
	}
}
