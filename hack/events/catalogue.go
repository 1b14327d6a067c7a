package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/mapping"
)

const generatedBy = "<!-- Generated from api/eventtypes and events by make generate. -->\n"

// overview is the beginning of the page about all types.
//
//go:embed overview.txt
var overview string

// writeCatalogue writes the page about all types, and a page for each.
func writeCatalogue(m *model) error {
	page := bytes.NewBufferString(generatedBy + overview)
	for _, row := range eventtypes.Table {
		name, sent := shown(row)
		if t, ok := goType(row); ok {
			file := strings.TrimSuffix(row.SchemaFile(), ".json") + ".md"
			name = fmt.Sprintf("[%s](events/%s)", name, file)
			if err := writePage(m, t, row, filepath.Join("docs/events", file)); err != nil {
				return fmt.Errorf("%s: %w", row.Type, err)
			}
		}
		fmt.Fprintf(page, "| %s | %s | %s |\n", name, sent, row.Description)
	}
	if err := writeAlerts(m, page); err != nil {
		return err
	}
	return os.WriteFile("docs/events.md", page.Bytes(), 0o644) //nolint:gosec // a file of this repository
}

var families = map[eventtypes.Family]string{eventtypes.Unknown: "anything else", eventtypes.Inbound: "`event: inbound`"}

// shown returns the type of a row, and what Mandrill sends.
func shown(row eventtypes.EventType) (ceType, sent string) {
	ceType, sent = row.Type, families[row.Family]
	switch {
	case row.Family == eventtypes.Message && row.IsPrefix():
		ceType, sent = row.Type+"<event>", "any other `event`"
	case row.Family == eventtypes.Message:
		sent = "`event: " + row.Name + "`"
	case row.Family == eventtypes.Sync && row.IsPrefix():
		ceType, sent = row.Type+"<list>.<action>", "any other `action` of a list"
	case row.Family == eventtypes.Sync:
		sent = "`type: " + row.Name + "` or `" + mandrill.WireName(row.Name) + "`, `action: " + row.Action + "`"
	}
	return "`" + ceType + "`", sent
}

// writePage writes the page of a type.
func writePage(m *model, t events.Type, row eventtypes.EventType, path string) error {
	page := bytes.NewBufferString(generatedBy)
	name, sent := shown(row)
	fmt.Fprintf(page, "# %s\n\n", strings.Trim(name, "`"))
	s := &structure{doc: "What has no name: an element of a batch that is not an object, is not valid JSON, or has no usable name. The data are its bytes."}
	if t.Name != events.TypeUnknown {
		var err error
		if s, err = m.structure(reflect.TypeOf(t.New()).Elem()); err != nil {
			return err
		}
	}
	_, doc, ok := strings.Cut(s.doc, ": ")
	if !ok || s.name == "" {
		doc = describe(s.doc)
	}
	fmt.Fprintf(page, "%s%s Mandrill sends %s.\n\n", strings.ToUpper(doc[:1]), doc[1:], sent)
	if s.name != "" {
		fmt.Fprintf(page, "Go type: `events.%s`. ", s.name)
	}
	fmt.Fprintf(page, "JSON Schemas: [as Mandrill sends it](../../schemas/v1/%[1]s), [normal form](../../schemas/v1/normalized/%[1]s).\n\n", row.SchemaFile())
	if raw := sampleOf(row); raw != nil {
		if err := writeExample(page, raw); err != nil {
			return err
		}
	}
	page.WriteString(semantics(row.Family))
	if len(s.fields) > 0 {
		page.WriteString("\n## Fields of the data\n\n" + fieldsHead)
		writeFields(page, s, "", t.Constants())
	}
	return os.WriteFile(path, page.Bytes(), 0o644) //nolint:gosec // a file of this repository
}

const fieldsHead = `Types are those of the normal form, which package ` + "`events`" + ` makes. Mandrill may write them otherwise, see [quirks](../events.md#quirks-of-the-data).
A field is optional unless it is always present. *Seen* is the year of the oldest event with it that is known.

| field | type | meaning | certainty | seen |
|---|---|---|---|---|
`

// writeExample writes a complete event.
func writeExample(page *bytes.Buffer, raw []byte) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return err
	}
	target := mapping.Target{Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional"}
	ce := mapping.CloudEvent(target, mandrill.ParseEvent(compact.Bytes()), mapping.EventIDs([][]byte{compact.Bytes()})[0])
	encoded, err := ce.MarshalJSON()
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, encoded, "", "  "); err != nil {
		return err
	}
	fmt.Fprintf(page, "## Example\n\nThe whole event, as Structured mode sends it. The data are invented.\n\n```json\n%s\n```\n\n", indented.String())
	return nil
}

// semantics says what holds for the attributes, the order and duplicates of the events of a family.
func semantics(family eventtypes.Family) string {
	about, order := "Mandrill's id of the message (`_id`)", "Events of one message arrive in the order in which Mandrill sent them; others may overtake them. Mandrill itself does not promise that an\nopen comes after its delivery: compare `time`, which has whole seconds."
	extensions := "`recipientdomain`, `subaccount`, `template`, `tag` as far as the message has them"
	switch family {
	case eventtypes.Sync:
		about, extensions = "the address on the list", "`recipientdomain`; `subaccount` if the entry has one"
		order = "Changes of one address arrive in the order in which Mandrill sent them, whatever list and action: apply them as they come. Their `time`\nmay be the same. Changes of other addresses may overtake them."
	case eventtypes.Inbound:
		about, extensions = "the address that received the mail", "`recipientdomain`: the domain that received it"
		order = "Mail to one address arrives in the order in which Mandrill sent it. Mail to other addresses may overtake it."
	case eventtypes.Unknown:
		about, extensions, order = "none", "none", "In no order."
	default: // messages
	}
	subject := "| `subject` | " + about + " |\n| `partitionkey` | the same, addresses in lower case |\n"
	if about == "none" {
		subject = "| `subject`, `partitionkey` | none |\n"
	}
	return "## Attributes, order, duplicates\n\n| attribute | value |\n|---|---|\n" + subject + "| extensions | " + extensions + " |\n\n" + order +
		"\n\nAn event may arrive more than once, with the same `id`: see [consumers](../consumers.md#duplicates).\n"
}

// kindNames are the types of fields in words.
var kindNames = map[kind]string{
	text: "string", date: "string: `2006-01-02 15:04:05`, UTC", timestamp: "number: seconds since 1970", integer: "integer", number: "number", optionalNumber: "number", flag: "boolean", optionalFlag: "boolean",
	texts: "list of strings", list: "list", addresses: "list of pairs", headers: "object of lists of strings", metadata: "object",
	object: "object", optionalObject: "object", objects: "list of objects", objectMap: "object of objects",
}

// writeFields writes rows for the fields of a structure, and of those in it.
func writeFields(page *bytes.Buffer, s *structure, path string, constants map[string][]string) {
	for _, f := range s.fields {
		name, kindName, meaning := path+f.name, kindNames[f.kind], f.doc
		if allowed, constant := constants[f.name]; constant && len(allowed) > 0 {
			kindName = "always present: `" + strings.Join(allowed, "`, `") + "`"
		}
		if f.alias != "" {
			meaning += " Also read as `" + f.alias + "`."
		}
		fmt.Fprintf(page, "| `%s` | %s | %s | %s | %s |\n", name, kindName, strings.ReplaceAll(meaning, "|", "\\|"), f.certainty, f.since)
		if f.of != nil {
			suffix := map[kind]string{objects: "[].", objectMap: ".*."}[f.kind]
			if suffix == "" {
				suffix = "."
			}
			writeFields(page, f.of, name+suffix, nil)
		}
	}
}
