package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

const npmPackage = "packages/mandrill-events"

// writePackage writes the generated parts of the npm package: its types, the table that its parser reads, and the samples with their normal
// form that its tests compare.
func writePackage(m *model) error {
	types, err := typeScript(m)
	if err == nil {
		err = os.WriteFile(filepath.Join(npmPackage, "src/types.ts"), types, 0o644) //nolint:gosec // a file of this repository
	}
	if err != nil {
		return err
	}
	if types, err = fieldTable(m); err == nil {
		err = os.WriteFile(filepath.Join(npmPackage, "src/fields.ts"), types, 0o644) //nolint:gosec // a file of this repository
	}
	if err != nil {
		return err
	}
	return writeFixtures()
}

const generatedScript = "// Generated from package events by make generate.\n\n"

// kindTypes are the types of fields in TypeScript.
var kindTypes = map[kind]string{
	text: "string", date: "string", timestamp: "number", integer: "number", number: "number", optionalNumber: "number", flag: "boolean", optionalFlag: "boolean",
	texts: "string[]", list: "unknown[]", addresses: "[email: string, name: string][]", headers: "Record<string, string[]>", metadata: "Record<string, unknown>",
}

// typeScript returns the interfaces of the normal form.
func typeScript(m *model) ([]byte, error) {
	out := bytes.NewBufferString(generatedScript)
	byType := bytes.NewBufferString("/** The data of each type. Types that Mandrill may add are one type here, which ends with an asterisk. */\nexport interface DataByType {\n")
	for _, t := range slices.Concat(events.Types, events.Alerts) {
		if t.Name == events.TypeUnknown {
			fmt.Fprintf(byType, "  '%s': unknown;\n", t.Name)
			continue
		}
		s, err := m.structure(reflect.TypeOf(t.New()).Elem())
		if err != nil {
			return nil, err
		}
		constants := t.Constants()
		if t.IsPrefix() {
			constants = nil
		}
		writeInterface(out, s, constants)
		fmt.Fprintf(byType, "  '%s': %s;\n", label(t), s.name)
	}
	for _, s := range nested(m) {
		writeInterface(out, s, nil)
	}
	out.Write(byType.Bytes())
	out.WriteString("}\n")
	return out.Bytes(), nil
}

func label(t events.Type) string {
	if t.IsPrefix() {
		return t.Name + "*"
	}
	return t.Name
}

// nested returns the structures that are in others.
func nested(m *model) []*structure {
	var list []*structure
	for _, s := range m.order {
		for _, other := range m.order {
			if slices.ContainsFunc(other.fields, func(f field) bool { return f.of == s }) && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

func writeInterface(out *bytes.Buffer, s *structure, constants map[string][]string) {
	_, doc, ok := strings.Cut(s.doc, ": ")
	if !ok || !strings.Contains(s.doc, "is the data of") {
		doc = describe(s.doc)
	}
	fmt.Fprintf(out, "/** %s%s */\nexport interface %s {\n", strings.ToUpper(doc[:1]), doc[1:], s.name)
	for _, f := range s.fields {
		optional, typeName := "", kindTypes[f.kind]
		if f.omitted {
			optional = "?"
		}
		if allowed := constants[f.name]; len(allowed) > 0 {
			typeName = "'" + allowed[0] + "'"
		}
		switch f.kind {
		case object, optionalObject:
			typeName = f.of.name
		case objects:
			typeName = f.of.name + "[]"
		case objectMap:
			typeName = "Record<string, " + f.of.name + ">"
		default: // typeName is right
		}
		known := strings.ToUpper(f.certainty[:1]) + f.certainty[1:]
		if f.since != "" {
			known = strings.TrimPrefix(known+", seen", "Seen, ") + " since " + f.since
		}
		fmt.Fprintf(out, "  /** %s %s%s. */\n  %s%s: %s;\n", f.doc, strings.ToUpper(known[:1]), known[1:], f.name, optional, typeName)
	}
	out.WriteString("  /** Fields that this package does not know. */\n  [field: string]: unknown;\n}\n\n")
}

// fieldTable returns the table of structures and types that the parser reads, with a field in a line.
func fieldTable(m *model) ([]byte, error) {
	out := bytes.NewBufferString(generatedScript + "import type { Structure, TypeEntry } from './table.js';\n\n")
	out.WriteString("export const structures: Record<string, Structure> = {\n")
	for _, s := range slices.SortedFunc(maps.Values(m.structures), func(a, b *structure) int { return cmp.Compare(a.name, b.name) }) {
		fmt.Fprintf(out, "  %s: [\n", s.name)
		for _, f := range s.fields {
			entry, err := compactJSON(tableEntry(f))
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(out, "    %s,\n", entry)
		}
		out.WriteString("  ],\n")
	}
	out.WriteString("};\n\nexport const types: Record<string, TypeEntry> = {\n")
	for _, t := range slices.Concat(events.Types, events.Alerts) {
		if t.Name == events.TypeUnknown {
			continue
		}
		constants := t.Constants()
		if constants == nil {
			constants = map[string][]string{}
		}
		entry, err := compactJSON(pairs{{"structure", reflect.TypeOf(t.New()).Elem().Name()}, {"constants", constants}})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "  '%s': %s,\n", t.Name, entry)
	}
	out.WriteString("};\n")
	return out.Bytes(), nil
}

func tableEntry(f field) pairs {
	word := f.kind
	if word == date { // the parser leaves it as it is
		word = text
	}
	entry := pairs{{"name", f.name}, {"kind", word}}
	if f.of != nil {
		entry = append(entry, pair{"of", f.of.name})
	}
	if f.alias != "" {
		entry = append(entry, pair{"alias", f.alias})
	}
	if f.omitted {
		entry = append(entry, pair{"omit", true})
	}
	if f.orText {
		entry = append(entry, pair{"orText", true})
	}
	return entry
}

// oddities are events that no sample has, for the tests of the npm package. Those without a normal form are refused.
var oddities = []string{
	`{"event":"tomorrow","_id":"a","new":{"a":[null]}}`,
	`{"type":"safelist","action":"swap","entry":{"email":"a@b","sender":"s@b"}}`,
	`{"type":"blocklist","action":"add","entry":[],"reject":{"email":"a@b","expired":"1","sender":{"address":"s@b","id":5}}}`,
	`{"type":"allowlist","action":"add","entry":{"email":"a@b"},"reject":{"email":"c@d"}}`,
	`{"event":"send","ts":"1767225600.25","msg":{"_id":"m","tags":"one","metadata":["a"],"bgtools_code":"10","_version":3,"resends":{"a":1}}}`,
	`{"event":"open","location":{"latitude":"38.5","longitude":"INVALID IP ADDRESS","country_long":"Portugal"},"user_agent_parsed":{"mobile":"0"},"msg":{"opens":{"1":{"ts":5},"2":null}}}`,
	`{"event":"reject","msg":{"reject":"spam","smtp_events":[{"size":"18422","ts":0}]}}`,
	`{"event":"inbound","msg":{"to":["a@b",["c@d"],[null,"E"],[]],"cc":"f@g","headers":{"To":"a","X":["b",null]},"attachments":[{"name":"a.txt","base64":0},{"name":"a.txt"},[]],"images":{"x.png":{"content":"eA=="}}}}`,
	`{"event":"send","__proto__":{"a":1},"msg":{"metadata":{"__proto__":"x"}}}`,
	`{"event":"open","location":"x"}`, `{"event":"open","msg":{"tags":[{}]}}`, `{"event":"open","ts":true}`, `{"event":"inbound","msg":{"to":[["a","b","c"]]}}`,
	`{"type":"blacklist","action":"add","reject":{"expired":[]}}`, `{"event":"inbound","msg":{"headers":"x"}}`, `{"event":"send","msg":[1]}`,
}

// fixture is an event and its normal form, which is missing if it is refused.
type fixture struct {
	Name   string          `json:"name"`
	Type   string          `json:"type"`
	Raw    json.RawMessage `json:"raw"`
	Normal json.RawMessage `json:"normal,omitempty"`
}

func writeFixtures() error {
	var fixtures []fixture
	for _, name := range slices.Sorted(maps.Keys(mandrilltest.Samples())) {
		fixtures = append(fixtures, fixture{Name: name, Raw: mandrilltest.Samples()[name]})
	}
	for i, raw := range oddities {
		fixtures = append(fixtures, fixture{Name: fmt.Sprint("oddity ", i), Raw: []byte(raw)})
	}
	for _, t := range events.Alerts {
		fixtures = append(fixtures, fixture{Name: t.Name, Type: t.Name, Raw: alertSample(t)})
	}
	for i, f := range fixtures {
		if f.Type == "" {
			fixtures[i].Type, _ = mapping.TypeOf(mandrill.ParseEvent(f.Raw))
		}
		parsed, err := events.ParseData(fixtures[i].Type, f.Raw)
		if err != nil {
			continue
		}
		if fixtures[i].Normal, err = json.Marshal(parsed); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(npmPackage, "test/fixtures.json"), fixtures)
}
