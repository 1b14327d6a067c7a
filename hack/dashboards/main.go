// Command dashboards writes the Grafana dashboards into the chart.
//
//	go -C hack/dashboards run . ../../charts/mandrill-operator/files/dashboards
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("give the folder to write to")
	}
	for name, builder := range all() {
		text, err := encode(builder)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(args[0], name+".json"), text, 0o644); err != nil { //nolint:gosec // a file of the chart
			return err
		}
	}
	return nil
}

// all returns the dashboards by the name of their file.
func all() map[string]*dashboard.DashboardBuilder {
	return map[string]*dashboard.DashboardBuilder{
		"overview": overview(),
		"webhook":  webhook(),
		"buffer":   buffer(),
		"operator": operator(),
	}
}

func encode(builder *dashboard.DashboardBuilder) ([]byte, error) {
	built, err := builder.Build()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(built, "", " ")
	for escaped, plain := range map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"} { // readable expressions
		text = bytes.ReplaceAll(text, []byte(escaped), []byte(plain))
	}
	return append(text, '\n'), err
}
