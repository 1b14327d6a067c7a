// Command chart keeps the chart and config in agreement: it copies what controller-gen wrote into the chart, writes the chart's README
// from its values, and renders config from the chart.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	chart   = "charts/mandrill-operator"
	crdFile = "config/crd/mandrill-operator.io_mandrillwebhooks.yaml"
	roles   = "config/rbac/role.yaml"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run() error {
	err := errors.Join(
		copyFile(crdFile, filepath.Join(chart, "files/crd.yaml")),
		copyFile(roles, filepath.Join(chart, "files/role.yaml")),
		copyFile("config/namespace.yaml", "config/default/namespace.yaml"), // kustomize reads no file outside of its folder
		writeReadme(),
	)
	if err != nil {
		return err
	}
	return renderConfig()
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from) //nolint:gosec // a file of this repository
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644) //nolint:gosec // as controller-gen writes it
}
