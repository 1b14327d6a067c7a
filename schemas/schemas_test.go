package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
	"github.com/mandrill-operator/mandrill-operator/schemas"
)

// compiled are the schemas by their URLs.
type compiled map[string]*jsonschema.Schema

func compile(t testing.TB) compiled {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	var urls []string
	err := fs.WalkDir(schemas.Files, "v1", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := schemas.Files.ReadFile(path)
		if err != nil {
			return err
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return err
		}
		urls = append(urls, "https://mandrill-operator.io/schemas/"+path)
		return compiler.AddResource(urls[len(urls)-1], document)
	})
	if err != nil {
		t.Fatal(err)
	}
	list := compiled{}
	for _, url := range urls {
		if list[url], err = compiler.Compile(url); err != nil {
			t.Fatal(err)
		}
		if list[url].ID != url && url != list[url].Location {
			t.Errorf("%s has the id %s", url, list[url].ID)
		}
	}
	return list
}

// check validates data of a type, as Mandrill sends them or in the normal form.
func (c compiled) check(ceType string, data []byte, normal bool) error {
	t, ok := events.TypeNamed(ceType)
	if !ok {
		return fmt.Errorf("no type %s", ceType)
	}
	base := eventtypes.SchemaBase
	if normal {
		base += "normalized/"
	}
	schema := c[base+eventtypes.EventType{Type: t.Name}.SchemaFile()]
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(bytes.ToValidUTF8(data, []byte("\uFFFD"))))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func typeOf(raw []byte) string {
	ceType, _ := mapping.TypeOf(mandrill.ParseEvent(raw))
	return ceType
}

// agree fails when Parse and the schema do not agree about an event, or when the normal form is not what its schema says.
func (c compiled) agree(t *testing.T, ceType string, raw []byte) (accepted bool) {
	t.Helper()
	parsed, err := events.ParseData(ceType, raw)
	if refused := c.check(ceType, raw, false); (err == nil) != (refused == nil) {
		t.Fatalf("%s: %q: Parse says %v, the schema says %v", ceType, raw, err, refused)
	}
	if err != nil {
		c.sent(t, ceType, raw, raw)
		return false
	}
	normal, err := json.Marshal(parsed)
	if err != nil {
		t.Fatalf("%s: %q: %v", ceType, raw, err)
	}
	c.sent(t, ceType, raw, normal)
	for _, form := range []bool{true, false} { // Knative's EventTypes name the schema of Mandrill's form whatever the payload is
		if err := c.check(ceType, normal, form); err != nil {
			t.Fatalf("%s: %q: the normal form %s: %v", ceType, raw, normal, err)
		}
	}
	again, err := events.ParseData(ceType, normal)
	if err != nil {
		t.Fatalf("%s: %q: the normal form %s: %v", ceType, raw, normal, err)
	}
	if twice, err := json.Marshal(again); err != nil || !bytes.Equal(twice, normal) {
		t.Fatalf("%s: %q: the normal form %s became %s, error %v", ceType, raw, normal, twice, err)
	}
	return true
}

// sent fails unless a receiver with the payload Normalized sends these data for an event, and names a schema for which they are valid. An
// event without a normal form need not be valid for the schema of its type.
func (c compiled) sent(t *testing.T, ceType string, raw, want []byte) {
	t.Helper()
	ce := mapping.CloudEvent(mapping.Target{Source: "/s", Normalize: true}, mandrill.ParseEvent(raw), "id")
	if ce.Type() != ceType || ce.DataBase64 {
		return
	}
	if !bytes.Equal(ce.Data(), want) {
		t.Fatalf("%s: %q is sent as %s, want %s", ceType, raw, ce.Data(), want)
	}
	schema, normal := c[ce.DataSchema()], strings.Contains(ce.DataSchema(), "/normalized/")
	if schema == nil || normal && ceType == events.TypeUnknown {
		t.Fatalf("%s: %q has the schema %s", ceType, raw, ce.DataSchema())
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(ce.Data()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil && normal {
		t.Fatalf("%s: %q is sent as %s: %v", ceType, raw, ce.Data(), err)
	}
}

// Every type has both schemas, and there is no other.
func TestEveryTypeHasItsSchemas(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for _, row := range eventtypes.Table {
		want[row.Schema()] = true
		want[row.NormalizedSchema()] = true
	}
	for _, row := range eventtypes.Alerts { // which have no quirks
		want[row.Schema()] = true
	}
	got := map[string]bool{}
	for url := range compile(t) {
		got[url] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("schemas (-table +files):\n%s", diff)
	}
}

func TestSamplesAreValid(t *testing.T) {
	t.Parallel()
	all := compile(t)
	for name, sample := range mandrilltest.Samples() {
		if ceType := typeOf(sample); !all.agree(t, ceType, sample) {
			t.Errorf("%s: %v", name, all.check(ceType, sample, false))
		}
	}
}

// The schemas of alerts accept what Parse makes of their examples, and nothing without the fields that are always present.
func TestAlertsAreValid(t *testing.T) {
	t.Parallel()
	all := compile(t)
	for _, each := range events.Alerts {
		example := fmt.Appendf(nil, `{"namespace":"shop","name":"x","reason":"r","message":"m","new":[1]%s}`,
			map[string]string{events.TypeSinkFailing: `,"lastFailure":{"reason":"Status","at":"2026-01-01T12:00:00Z"}`}[each.Name])
		parsed, err := events.ParseData(each.Name, example)
		if err != nil {
			t.Fatalf("%s: %v", each.Name, err)
		}
		data, err := json.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		if err := all.check(each.Name, data, false); err != nil {
			t.Errorf("%s: %s: %v", each.Name, data, err)
		}
		if again, err := events.ParseData(each.Name, data); err != nil || !cmp.Equal(parsed, again) {
			t.Errorf("%s: %s became %+v: %v", each.Name, data, again, err)
		}
		if err := all.check(each.Name, []byte(`{"namespace":"shop"}`), false); err == nil {
			t.Errorf("%s: an object without a name is valid", each.Name)
		}
	}
}

// Schemas that accept everything would be useless.
func TestSchemasRefuseWhatWasNeverSeen(t *testing.T) {
	t.Parallel()
	all := compile(t)
	for _, test := range []struct{ ceType, data string }{
		{events.TypeOpen, `{"event":"click"}`},
		{events.TypeOpen, `[]`},
		{events.TypeOpen, `{"event":"open","ts":{}}`},
		{events.TypeOpen, `{"event":"open","msg":"x"}`},
		{events.TypeOpen, `{"event":"open","msg":{"tags":[["a"]]}}`},
		{events.TypeOpen, `{"event":"open","location":["a"]}`},
		{events.TypeDenylistAdd, `{"type":"whitelist","action":"add"}`},
		{events.TypeDenylistAdd, `{"type":"blacklist","action":"add","reject":{"expired":[]}}`},
		{events.TypeInbound, `{"event":"inbound","msg":{"headers":{"To":{"a":{}}}}}`},
		{events.TypeInbound, `{"event":"inbound","msg":{"attachments":"none"}}`},
	} {
		if all.agree(t, test.ceType, []byte(test.data)) {
			t.Errorf("%s is valid for %s", test.data, test.ceType)
		}
	}
}

// What PHP and Mandrill's history make possible is valid: nothing in any place, [] for {}, numbers as strings and the other way round,
// fields that are new, other names of lists and of their entries.
func TestMutationsOfSamplesAreValid(t *testing.T) {
	t.Parallel()
	all := compile(t)
	for name, sample := range mandrilltest.Samples() {
		mutations := 0
		mutate(t, sample, func(what string, mutated []byte) {
			mutations++
			if !all.agree(t, typeOf(sample), mutated) {
				t.Errorf("%s, %s: %v", name, what, all.check(typeOf(sample), mutated, false))
			}
		})
		if mutations < 8 {
			t.Errorf("%s: only %d mutations", name, mutations)
		}
	}
}

// constants are the names that say which event it is: the receiver gives an event another type without them.
var constants = []string{"event", "type", "action"}

// mutate calls yield with every mutation of a sample, and then with many at random.
func mutate(t *testing.T, sample []byte, yield func(what string, mutated []byte)) {
	t.Helper()
	places := 0
	for place := 0; place == 0 || place < places; place++ {
		for _, m := range mutations {
			root := decoded(t, sample)
			found := -1
			changed := false
			walk(root, nil, func(parent map[string]any, name string) {
				if found++; found == place {
					changed = m.change(parent, name)
				}
			})
			places = found + 1
			if changed {
				yield(fmt.Sprintf("%s at place %d", m.name, place), encoded(t, root))
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		root := decoded(t, sample)
		walk(root, nil, func(parent map[string]any, name string) {
			if random.IntN(4) == 0 {
				mutations[random.IntN(len(mutations))].change(parent, name)
			}
		})
		yield(fmt.Sprintf("at random %d", i), encoded(t, root))
	}
}

// walk visits every member of every object, except the constants.
func walk(value any, path []string, visit func(parent map[string]any, name string)) {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if len(path) == 0 && slices.Contains(constants, name) {
				continue
			}
			walk(value[name], append(path, name), visit)
			visit(value, name)
		}
	case []any:
		for _, each := range value {
			walk(each, append(path, "[]"), visit)
		}
	}
}

type mutation struct {
	name   string
	change func(parent map[string]any, name string) bool
}

var digits = regexp.MustCompile(`^[0-9]+$`)

var mutations = []mutation{
	{"null", func(parent map[string]any, name string) bool { parent[name] = nil; return true }},
	{"missing", func(parent map[string]any, name string) bool { delete(parent, name); return true }},
	{"an empty list for an object", func(parent map[string]any, name string) bool {
		_, ok := parent[name].(map[string]any)
		if ok {
			parent[name] = []any{}
		}
		return ok
	}},
	{"an object for a list", func(parent map[string]any, name string) bool {
		items, ok := parent[name].([]any)
		if !ok {
			return false
		}
		gaps := map[string]any{}
		for i, each := range items {
			gaps[strconv.Itoa(2*i+1)] = each
		}
		parent[name] = gaps
		return true
	}},
	{"a string for a number", func(parent map[string]any, name string) bool {
		number, ok := parent[name].(json.Number)
		if ok {
			parent[name] = number.String()
		}
		return ok
	}},
	{"a number for a string", func(parent map[string]any, name string) bool {
		word, ok := parent[name].(string)
		if ok {
			if !digits.MatchString(word) {
				word = "12"
			}
			parent[name] = json.Number(word)
		}
		return ok
	}},
	{"a text for a list of one", func(parent map[string]any, name string) bool {
		items, ok := parent[name].([]any)
		if !ok || len(items) != 1 {
			return false
		}
		if _, ok = items[0].(string); ok {
			parent[name] = items[0]
		}
		return ok
	}},
	{"a list for a header", func(parent map[string]any, name string) bool {
		if _, header := parent["Message-Id"]; !header {
			return false
		}
		if word, ok := parent[name].(string); ok {
			parent[name] = []any{word, word}
		}
		return true
	}},
	{"a new field", func(parent map[string]any, name string) bool {
		parent["new_"+name] = map[string]any{"a": []any{nil, true}}
		_, plain := parent["ts"]
		_, entry := parent["created_at"]
		if !plain && !entry { // attachments and headers have no fields
			delete(parent, "new_"+name)
		}
		return plain || entry
	}},
	{"the other name of an entry", func(parent map[string]any, name string) bool {
		other, ok := map[string]string{"entry": "reject", "reject": "entry"}[name]
		if _, list := parent["action"]; !ok || !list {
			return false
		}
		parent[other] = parent[name]
		delete(parent, name)
		return true
	}},
	{"the documented name of the country", func(parent map[string]any, name string) bool {
		if name != "country" {
			return false
		}
		parent["country_long"] = parent[name]
		delete(parent, name)
		return true
	}},
}

func decoded(t *testing.T, data []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func encoded(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// oddValues are one of each kind, which Parse and the schemas must accept or refuse alike in any place.
var oddValues = []string{
	`true`, `false`, `0`, `-1.5e3`, `1e999`, `""`, `"x"`, `"12"`, `[]`, `{}`, `[null]`, `["a"]`, `["a","b"]`, `["a","b","c"]`, `[1,{"a":1}]`, `[[]]`, `[["a",null]]`, `[[null,"b"]]`, `[[{}]]`,
	`[true]`, `{"a":null}`, `{"a":"b"}`, `{"a":["b"]}`, `{"a":{"b":1}}`, `{"a":{"b":[{}]}}`, `{"a":true}`, `{"ts":{}}`, `{"name":[],"base64":{}}`, `[{"name":"a"},{"name":"a"}]`, `{"reason":{}}`,
}

// replaced returns an event with a value in the place of another, or nil if it has fewer members.
func replaced(t *testing.T, raw []byte, place int, value string) []byte {
	t.Helper()
	root, found := decoded(t, raw), -1
	walk(root, nil, func(parent map[string]any, name string) {
		if found++; found == place {
			parent[name] = json.RawMessage(value)
		}
	})
	if found < place {
		return nil
	}
	return encoded(t, root)
}

func TestParseAndSchemasAgreeAboutOddValues(t *testing.T) {
	t.Parallel()
	all := compile(t)
	accepted, refused := 0, 0
	for _, name := range []string{"open", "hard_bounce", "inbound", "sync-blacklist-add", "sync-whitelist-add"} { // together they have every field
		sample := mandrilltest.Samples()[name]
		for _, value := range oddValues {
			for place := 0; ; place++ {
				odd := replaced(t, sample, place, value)
				if odd == nil {
					break
				}
				if all.agree(t, typeOf(sample), odd) {
					accepted++
				} else {
					refused++
				}
			}
		}
	}
	if accepted < 1000 || refused < 1000 {
		t.Errorf("%d were accepted and %d refused, which is too one-sided", accepted, refused)
	}
}

// What Parse accepts and what the schemas accept is the same, whatever arrives.
func FuzzSchemas(f *testing.F) {
	for i, sample := range slices.Collect(maps.Values(mandrilltest.Samples())) {
		f.Add(sample, i, oddValues[i])
	}
	for _, odd := range []string{
		`{"event":"open","location":[ ],"msg":{"tags":{"1":"a"},"resends":{"a":1}}}`, `{"event":"x","msg":{"_id":5}}`, `{"event":5}`, `{"type":"whitelist","action":5,"entry":[],"reject":{"email":"a"}}`,
		`{"event":"inbound","msg":{"to":["a",["b"],[null,"c"],{"1":"d"}],"headers":[["a"],null],"attachments":[{"name":"a"},{"name":"a"},[]]}}`,
		`{"type":"blacklist","action":"add","reject":{"sender":"a","expired":"0"}}`, `{"event":"reject","msg":{"reject":5}}`, `{"event":"open","event":"click","msg":{"\ud800":1,"\ud801":2}}`,
	} {
		f.Add([]byte(odd), 1, `null`)
	}
	all := compile(f)
	f.Fuzz(func(t *testing.T, raw []byte, place int, value string) {
		if !json.Valid(raw) { // it has no schema
			return
		}
		all.agree(t, typeOf(raw), raw)
		if place < 0 || !json.Valid([]byte(value)) {
			return
		}
		if odd := replaced(t, raw, place, value); odd != nil {
			all.agree(t, typeOf(odd), odd)
		}
	})
}
