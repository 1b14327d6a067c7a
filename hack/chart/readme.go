package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const readmeHead = `<!-- Generated from values.yaml by make generate. -->
# mandrill-operator

Registers webhooks of Mandrill (Mailchimp Transactional) from MandrillWebhook objects, and turns their signed batches into CloudEvents.
[docs/install.md](../../docs/install.md) says how to install, size, upgrade and uninstall it.

## Values

`

// writeReadme writes the chart's README: every value with a comment above it.
func writeReadme() error {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	var out strings.Builder
	out.WriteString(readmeHead + "| value | default | meaning |\n|---|---|---|\n")
	for _, row := range documented(string(text)) {
		standard, err := json.Marshal(at(values, row.path))
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "| `%s` | `%s` | %s |\n", strings.Join(row.path, "."), standard, strings.ReplaceAll(row.comment, "|", `\|`))
	}
	return os.WriteFile(filepath.Join(chart, "README.md"), []byte(out.String()), 0o644) //nolint:gosec // a document
}

// value is a value of the chart and the comment above it.
type value struct {
	path    []string
	comment string
}

// documented returns the values that have a comment, in their order.
func documented(text string) (list []value) {
	var path []string
	var comment []string
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		if words, ok := strings.CutPrefix(trimmed, "# "); ok {
			comment = append(comment, words)
			continue
		}
		key, _, isKey := strings.Cut(trimmed, ":")
		if !isKey {
			comment = nil
			continue
		}
		path = append(path[:(len(line)-len(trimmed))/2:(len(line)-len(trimmed))/2], key)
		if len(comment) > 0 {
			list = append(list, value{path, strings.Join(comment, " ")})
		}
		comment = nil
	}
	return list
}

// at returns the value at a path.
func at(values map[string]any, path []string) any {
	var current any = values
	for _, key := range path {
		current = current.(map[string]any)[key] //nolint:errcheck // the path was read from the same file
	}
	return current
}
