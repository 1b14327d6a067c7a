package events

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// field is a field of a struct in JSON.
type field struct {
	name   string
	alias  string // another name that is read
	index  []int
	omit   bool // when it has the zero value
	orText bool // the object may be its first field alone
}

var fieldCache sync.Map // of reflect.Type

// fieldsOf returns the fields of a struct in order, those of embedded structs in their place.
func fieldsOf(t reflect.Type) []field {
	if cached, ok := fieldCache.Load(t); ok {
		return cached.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "-" {
			fields = append(fields, field{name, f.Tag.Get("alias"), []int{i}, options != "", f.Tag.Get("or") == "text"})
		}
	}
	fieldCache.Store(t, fields)
	return fields
}

// marshal encodes a struct of this package.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	err := encode(&out, reflect.ValueOf(value))
	return out.Bytes(), err
}

func encode(out *bytes.Buffer, value reflect.Value) error {
	switch value.Interface().(type) {
	case Timestamp, Address, json.RawMessage, Metadata:
		return encodeJSON(out, value)
	}
	switch value.Kind() {
	case reflect.Pointer:
		return encode(out, value.Elem())
	case reflect.Struct:
		return encodeStruct(out, value)
	case reflect.Slice:
		return encodeAll(out, "[", "]", value.Len(), func(i int) error { return encode(out, value.Index(i)) })
	case reflect.Map:
		names := value.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		return encodeAll(out, "{", "}", len(names), func(i int) error {
			if err := encodeName(out, names[i].String()); err != nil {
				return err
			}
			return encode(out, value.MapIndex(names[i]))
		})
	default:
		return encodeJSON(out, value)
	}
}

// encodeJSON encodes what encoding/json does as it should. A map that is nil is empty.
func encodeJSON(out *bytes.Buffer, value reflect.Value) error {
	if value.Kind() == reflect.Map && value.IsNil() {
		out.WriteString("{}")
		return nil
	}
	if value.Kind() == reflect.String && plain(value.String()) {
		out.WriteByte('"')
		out.WriteString(value.String())
		out.WriteByte('"')
		return nil
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value.Interface())
	out.Truncate(len(bytes.TrimRight(out.Bytes(), "\n")))
	return err
}

// plain reports whether a string has nothing that JSON escapes.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func encodeName(out *bytes.Buffer, name string) error {
	err := encodeJSON(out, reflect.ValueOf(name))
	out.WriteByte(':')
	return err
}

func encodeAll(out *bytes.Buffer, opening, closing string, n int, element func(i int) error) error {
	out.WriteString(opening)
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := element(i); err != nil {
			return err
		}
	}
	out.WriteString(closing)
	return nil
}

func encodeStruct(out *bytes.Buffer, value reflect.Value) error {
	fields := fieldsOf(value.Type())
	out.WriteByte('{')
	begun := false
	add := func(name string, of reflect.Value) error {
		if begun {
			out.WriteByte(',')
		}
		begun = true
		if err := encodeName(out, name); err != nil {
			return err
		}
		return encode(out, of)
	}
	for _, f := range fields {
		if of := value.FieldByIndex(f.index); !f.omit || !of.IsZero() {
			if err := add(f.name, of); err != nil {
				return err
			}
		}
	}
	extra, _ := value.FieldByName("Extra").Interface().(Extra)
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			continue
		}
		if err := add(name, reflect.ValueOf(extra[name])); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}
