// Command crd completes the CRD that controller-gen wrote: it announces the table of event types to Knative's event
// registry, by the annotation that a marker could only repeat.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
)

const annotation = "registry.knative.dev/eventTypes"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crd FILE")
		os.Exit(2)
	}
	if err := annotate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crd:", err)
		os.Exit(1)
	}
}

// annotate sets the annotation in the CRD of a file.
func annotate(path string) error {
	data, err := os.ReadFile(path) //nolint:gosec // a file of this repository
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	metadata, _ := crd["metadata"].(map[string]any)
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s: the CRD has no metadata.annotations, as controller-gen writes them", path)
	}
	if annotations[annotation], err = announcement(); err != nil {
		return err
	}
	if data, err = yaml.Marshal(crd); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, append([]byte("---\n"), data...), 0o644) //nolint:gosec // as controller-gen writes it
}

// announcement is the table as Knative's event registry reads it.
func announcement() (string, error) {
	type eventType struct {
		Type        string `json:"type"`
		Schema      string `json:"schema"`
		Description string `json:"description"`
	}
	var list []eventType
	for _, row := range eventtypes.Table {
		if !row.IsPrefix() {
			list = append(list, eventType{row.Type, row.Schema(), row.Description})
		}
	}
	data, err := json.Marshal(list)
	return string(data), err
}
