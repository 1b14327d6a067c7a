package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/events"
)

// alertSamples are the data of an alert of each type, without the object that it is about.
var alertSamples = map[string]string{
	events.TypeSinkFailing: `"reason":"SinkFailing","message":"The sink has accepted nothing since 2026-01-01T12:00:00Z: it answers with status 503; look at its log. ` +
		`Events wait in the buffer, or at Mandrill in Direct mode, and are sent again","condition":"SinkFailing","since":"2026-01-01T12:01:05Z",` +
		`"lastFailure":{"reason":"Status","status":503,"at":"2026-01-01T12:01:00Z"},"waitingEvents":12,"oldestWaitingAt":"2026-01-01T12:00:00Z"`,
	events.TypeSinkRecovered: `"reason":"SinkRecovered","message":"The sink accepts events again; it had failed for 20m0s or more, and 12 events wait","waitingEvents":12`,
	events.TypeDeadLettered: `"reason":"DeadLettered","message":"3 events were given up and became dead letters, of which there are 7 now: look at them with ` +
		`receiver dead-letters list --webhook shop/transactional, repair the sink, and redrive them","deadLetters":7`,
	events.TypeDisabled: `"reason":"WebhookDisabled","message":"Mandrill has disabled the webhook because too many batches failed; it is enabled again",` +
		`"webhookID":42`,
	events.TypeSilent: `"reason":"Silent","message":"Nothing was received since 2026-01-01T06:00:00Z, which is longer than PT6H, and Mandrill says that it sent ` +
		`nothing: check that mail is sent with this account, and that spec.events has what happens to it","lastReceivedAt":"2026-01-01T06:00:00Z"`,
}

func alertSample(t events.Type) []byte {
	return []byte(`{"namespace":"shop","name":"transactional",` + alertSamples[t.Name] + `}`)
}

// writeAlertSchemas writes the schema of each alert. The operator sends the normal form, so there is no other.
func writeAlertSchemas(m *model) error {
	for _, row := range eventtypes.Alerts {
		t, ok := goType(row)
		if !ok {
			return fmt.Errorf("package events has no type %s", row.Type)
		}
		document, err := schema(m, t, row, true, alertSample(t))
		if err != nil {
			return fmt.Errorf("%s: %w", row.Type, err)
		}
		if err := writeJSON(filepath.Join("schemas/v1", row.SchemaFile()), document); err != nil {
			return err
		}
	}
	return nil
}

// writeAlerts writes the part about alerts of the page about all types, and a page for each alert.
func writeAlerts(m *model, page *bytes.Buffer) error {
	page.WriteString(alertsHead)
	for _, row := range eventtypes.Alerts {
		t, _ := goType(row)
		file := strings.TrimSuffix(row.SchemaFile(), ".json") + ".md"
		fmt.Fprintf(page, "| [`%s`](events/%s) | %s |\n", row.Type, file, row.Description)
		if err := writeAlertPage(m, t, row, filepath.Join("docs/events", file)); err != nil {
			return fmt.Errorf("%s: %w", row.Type, err)
		}
	}
	return nil
}

const alertsHead = `
## Alerts

The sink of a webhook does not get these. The operator sends them to ` + "`spec.alertSink`" + `, if the object has one: see
[alerts as CloudEvents](delivery.md#alerts-as-cloudevents).

| type | meaning |
|---|---|
`

const alertAttributes = `## Attributes, order, duplicates

| attribute | value |
|---|---|
| ` + "`source`" + ` | as that of the webhook's events: ` + "`/apis/mandrill-operator.io/namespaces/<namespace>/mandrillwebhooks/<name>`" + ` |
| ` + "`subject`, `partitionkey`" + ` | ` + "`<namespace>/<name>`" + ` |
| ` + "`time`" + ` | when the Kubernetes Event was recorded |

Alerts about one object arrive in order. One may arrive more than once, with the same ` + "`id`" + `.

## Fields of the data

| field | type | meaning |
|---|---|---|
`

func writeAlertPage(m *model, t events.Type, row eventtypes.EventType, path string) error {
	s, err := m.structure(reflect.TypeOf(t.New()).Elem())
	if err != nil {
		return err
	}
	_, doc, _ := strings.Cut(s.doc, ": ")
	page := bytes.NewBufferString(generatedBy)
	fmt.Fprintf(page, "# %s\n\n%s%s The operator sends it to `spec.alertSink`.\n\n", row.Type, strings.ToUpper(doc[:1]), doc[1:])
	fmt.Fprintf(page, "Go type: `events.%s`. [JSON Schema](../../schemas/v1/%s).\n\n", s.name, row.SchemaFile())
	encoded, err := compactJSON(pairs{
		{"specversion", "1.0"}, {"id", "5da35efd459ca4f3fe33db7a826d80a9"}, {"source", "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional"},
		{"type", row.Type}, {"subject", "shop/transactional"}, {"datacontenttype", "application/json"}, {"dataschema", row.Schema()},
		{"time", "2026-01-01T12:01:05Z"}, {"partitionkey", "shop/transactional"}, {"data", json.RawMessage(alertSample(t))},
	})
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, encoded, "", "  "); err != nil {
		return err
	}
	fmt.Fprintf(page, "## Example\n\nThe whole event as JSON. It is sent in Binary mode.\n\n```json\n%s\n```\n\n%s", indented.String(), alertAttributes)
	writeAlertFields(page, s, "")
	return os.WriteFile(path, page.Bytes(), 0o644) //nolint:gosec // a file of this repository
}

func writeAlertFields(page *bytes.Buffer, s *structure, path string) {
	for _, f := range s.fields {
		kindName := kindNames[f.kind]
		if !f.omitted {
			kindName += ", always present"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s |\n", path+f.name, kindName, f.doc)
		if f.of != nil {
			writeAlertFields(page, f.of, path+f.name+".")
		}
	}
}
