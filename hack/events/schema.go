package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/events"
)

// pairs is an object whose members have an order.
type pairs []pair

type pair struct {
	name  string
	value any
}

// MarshalJSON encodes the members in order.
func (p pairs) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, each := range p {
		if i > 0 {
			out = append(out, ',')
		}
		value, err := compactJSON(each.value)
		if err != nil {
			return nil, err
		}
		out = append(append(out, `"`+each.name+`":`...), value...)
	}
	return append(out, '}'), nil
}

func compactJSON(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(out.Bytes()), err
}

// schema is the JSON Schema of a CloudEvents type: of what Mandrill sends, or of the normal form.
func schema(m *model, t events.Type, row eventtypes.EventType, normal bool, example []byte) (pairs, error) {
	address := row.Schema()
	title, note := row.Type, "As Mandrill sends it."
	if t.IsPrefix() {
		title += "*"
	}
	switch {
	case row.Family == eventtypes.Alert:
		note = "As the operator sends it."
	case normal:
		address, note = row.NormalizedSchema(), "In the normal form, without the quirks of what Mandrill sends."
	}
	head := pairs{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"$id", address}, {"title", title}}
	goType := reflect.TypeOf(t.New()).Elem()
	if t.Name == events.TypeUnknown {
		return append(head, pair{"description", "What has no name: any JSON."}), nil
	}
	s, err := m.structure(goType)
	if err != nil {
		return nil, err
	}
	_, doc, _ := strings.Cut(s.doc, ": ")
	if doc == "" {
		doc = describe(s.doc)
	}
	head = append(head, pair{"description", strings.ToUpper(doc[:1]) + doc[1:] + " " + note})
	if example != nil {
		head = append(head, pair{"examples", []json.RawMessage{example}})
	}
	w := &writer{normal: normal, needed: map[*structure]bool{}}
	body := w.object(s, t.Constants())
	return append(append(head, body...), pair{"$defs", w.definitions(m)}), nil
}

// writer writes schemas of structures and collects which definitions these need.
type writer struct {
	normal bool
	needed map[*structure]bool
}

// object is the schema of a structure, some of whose fields have constant values.
func (w *writer) object(s *structure, constants map[string][]string) pairs {
	properties, required := pairs{}, []string{}
	for _, f := range s.fields {
		allowed, constant := constants[f.name]
		value := pairs{{"description", f.doc}}
		if constant {
			value = append(value, w.constant(allowed)...)
		} else {
			value = append(value, w.value(f)...)
		}
		value = append(value, pair{"x-certainty", f.certainty})
		if f.since != "" {
			value = append(value, pair{"x-seen-since", f.since})
		}
		properties = append(properties, pair{f.name, value})
		if f.alias != "" && !w.normal {
			properties = append(properties, pair{f.alias, append(pairs{{"description", "Another name of " + f.name + "."}}, w.value(f)...)})
		}
		if constant || w.normal && !f.omitted {
			required = append(required, f.name)
		}
	}
	schema := pairs{{"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		schema = append(schema, pair{"required", required})
	}
	return schema
}

// constant is the schema of a name that says which event it is. The normal form has the first of several names of a list.
func (w *writer) constant(allowed []string) pairs {
	switch {
	case len(allowed) == 0 && w.normal:
		return pairs{{"type", "string"}, {"minLength", 1}}
	case len(allowed) == 0:
		return pairs{{"type", []string{"string", "number"}}, {"minLength", 1}}
	case w.normal && len(allowed) > 3: // of both lists
		return pairs{{"enum", []string{"allowlist", "denylist"}}}
	case w.normal || len(allowed) == 1:
		return pairs{{"const", allowed[0]}}
	}
	return pairs{{"enum", allowed}}
}

// ref is a reference to a definition.
func ref(name string) pairs { return pairs{{"$ref", "#/$defs/" + name}} }

// value is the schema of the value of a field.
func (w *writer) value(f field) pairs {
	if f.of != nil {
		w.needed[f.of] = true
	}
	if w.normal {
		return w.normalValue(f)
	}
	switch f.kind {
	case text, date:
		return ref("text")
	case timestamp, integer, number, optionalNumber:
		return ref("number")
	case flag, optionalFlag:
		return ref("flag")
	case object, optionalObject:
		return w.orNothing(f.of, f.orText)
	case objects:
		return elements(w.orNothing(f.of, false), "array", "object", "null")
	case objectMap:
		return elements(w.orNothing(f.of, false), "object", "array", "null")
	default:
		return ref(string(f.kind))
	}
}

// orNothing is an object or what PHP may have in its place.
func (w *writer) orNothing(of *structure, orText bool) pairs {
	either := []pairs{ref(of.name), {{"type", []string{"array", "null"}}, {"maxItems", 0}}}
	if orText {
		either = append(either, ref("text"))
	}
	return pairs{{"anyOf", either}}
}

// elements is a list or a map, which PHP may exchange.
func elements(of pairs, types ...string) pairs {
	return pairs{{"type", types}, {"items", of}, {"additionalProperties", of}}
}

func (w *writer) normalValue(f field) pairs {
	switch f.kind {
	case text, date:
		return pairs{{"type", "string"}}
	case timestamp:
		return pairs{{"type", "number"}, {"exclusiveMinimum", 0}}
	case integer:
		return pairs{{"type", "integer"}}
	case number, optionalNumber:
		return pairs{{"type", "number"}}
	case flag, optionalFlag:
		return pairs{{"type", "boolean"}}
	case texts:
		return pairs{{"type", "array"}, {"items", pairs{{"type", "string"}}}}
	case list:
		return pairs{{"type", "array"}}
	case addresses:
		word := pairs{{"type", "string"}}
		return pairs{{"type", "array"}, {"items", pairs{{"type", "array"}, {"prefixItems", []pairs{word, word}}, {"items", false}, {"minItems", 2}}}}
	case headers:
		return pairs{{"type", "object"}, {"additionalProperties", pairs{{"type", "array"}, {"items", pairs{{"type", "string"}}}}}}
	case metadata:
		return pairs{{"type", "object"}}
	case objects:
		return pairs{{"type", "array"}, {"items", ref(f.of.name)}}
	case objectMap:
		return pairs{{"type", "object"}, {"additionalProperties", ref(f.of.name)}}
	default:
		return ref(f.of.name)
	}
}

// definitions are those that were needed, and of the values that PHP writes in several ways.
func (w *writer) definitions(m *model) pairs {
	definitions := pairs{}
	if !w.normal {
		definitions = slices.Clone(quirks)
	}
	for done := map[*structure]bool{}; len(done) < len(w.needed); {
		for _, s := range m.order {
			if w.needed[s] && !done[s] {
				done[s] = true
				definition := append(pairs{{"description", describe(s.doc)}}, w.object(s, nil)...)
				definitions = append(definitions, pair{s.name, definition})
			}
		}
	}
	return definitions
}

// quirks are the values that PHP writes in several ways.
var quirks = pairs{
	{"text", pairs{{"description", "A text. A number may be one too."}, {"type", []string{"string", "number", "null"}}}},
	{"number", pairs{{"description", "A number, or the same as a string. Another string means that there is none."}, {"type", []string{"number", "string", "null"}}}},
	{"flag", pairs{{"description", "A boolean. 0, \"0\" and \"\" are false as well, other numbers and strings true."}, {"type", []string{"boolean", "number", "string", "null"}}}},
	{"list", pairs{{"description", "A list. An object has its elements as values."}, {"type", []string{"array", "object", "null"}}}},
	{"texts", pairs{{"description", "A list of texts, or the only one."}, {"anyOf", []pairs{ref("text"), elements(ref("text"), "array", "object")}}}},
	{"address", pairs{{"description", "A pair of address and name, or an address."}, {"anyOf", []pairs{ref("text"), append(elements(ref("text"), "array", "object"), pair{"maxItems", 2}, pair{"maxProperties", 2})}}}},
	{"addresses", pairs{{"description", "A list of addresses, or the only one."}, {"anyOf", []pairs{ref("text"), elements(ref("address"), "array", "object")}}}},
	{"headers", append(pairs{{"description", "Headers by name, each a text or a list of texts."}}, elements(ref("texts"), "object", "array", "null")...)},
	{"metadata", pairs{{"description", "Names and values. [] has none."}, {"type", []string{"object", "array", "null"}}}},
}
