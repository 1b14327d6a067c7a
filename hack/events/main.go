// Command events writes what is generated from package events and the table of event types: the JSON Schemas in schemas/v1, the
// AsyncAPI document beside them, the catalogue in docs/events.md and docs/events, and parts of the npm package. It runs in the root of the module.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "events:", err)
		os.Exit(1)
	}
}

func run() error {
	comments, err := readComments("events")
	if err != nil {
		return err
	}
	m := &model{comments: comments, structures: map[reflect.Type]*structure{}}
	for _, row := range eventtypes.Table {
		t, ok := goType(row)
		if !ok {
			continue // of a family that package events does not have
		}
		if err := writeSchemas(m, t, row); err != nil {
			return fmt.Errorf("%s: %w", row.Type, err)
		}
	}
	if err := writeAlertSchemas(m); err != nil {
		return err
	}
	if err := writeCatalogue(m); err != nil {
		return err
	}
	if err := writeAsyncAPI(); err != nil {
		return err
	}
	return writePackage(m)
}

// goType returns the type of package events for a row of the table.
func goType(row eventtypes.EventType) (events.Type, bool) {
	for _, t := range slices.Concat(events.Types, events.Alerts) {
		if t.Name == row.Type {
			return t, true
		}
	}
	return events.Type{}, false
}

// writeSchemas writes both schemas of a type.
func writeSchemas(m *model, t events.Type, row eventtypes.EventType) error {
	raw := sampleOf(row)
	for _, normal := range []bool{false, true} {
		example, folder := raw, "schemas/v1"
		if normal {
			folder = "schemas/v1/normalized"
		}
		if normal && raw != nil {
			parsed, err := events.ParseData(row.Type, raw)
			if err != nil {
				return err
			}
			if example, err = json.Marshal(parsed); err != nil {
				return err
			}
		}
		document, err := schema(m, t, row, normal, example)
		if err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(folder, row.SchemaFile()), document); err != nil {
			return err
		}
	}
	return nil
}

// sampleOf returns the sample of a row, or nil if it stands for several types. Of several samples it takes the one that has no suffix.
func sampleOf(row eventtypes.EventType) []byte {
	if row.Name == "" {
		return nil
	}
	for _, name := range []string{row.Name, "sync-" + mandrill.WireName(row.Name) + "-" + row.Action} {
		if sample, ok := mandrilltest.Samples()[name]; ok {
			return sample
		}
	}
	return nil
}

func writeJSON(path string, value any) error {
	data, err := compactJSON(value)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	return os.WriteFile(path, out.Bytes(), 0o644) //nolint:gosec // a file of this repository
}
