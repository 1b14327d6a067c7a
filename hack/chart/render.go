package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const header = "# Rendered from charts/mandrill-operator by make generate.\n"

type object map[string]any

func (o object) metadata() map[string]any {
	metadata, _ := o["metadata"].(map[string]any)
	return metadata
}

func (o object) label(name string) string {
	labels, _ := o.metadata()["labels"].(map[string]any)
	value, _ := labels[name].(string)
	return value
}

// id is kind and name.
func (o object) id() string { return fmt.Sprint(o["kind"], "/", o.metadata()["name"]) }

// renderConfig renders the manifests in config from the chart with its default values.
func renderConfig() error {
	generated, err := os.ReadFile(roles)
	if err != nil {
		return err
	}
	written, err := decode(generated)
	if err != nil {
		return fmt.Errorf("%s: %w", roles, err)
	}
	all, err := template("--set", "receiver.drain.ordinals={1},sidecarInjection.enabled=true")
	if err != nil {
		return err
	}
	files := map[string][]object{}
	for _, each := range all {
		if !slices.ContainsFunc(written, func(role object) bool { return role.id() == each.id() }) {
			path := fileOf(each)
			files[path] = append(files[path], each)
		}
	}
	for path, objects := range files {
		if err := write(path, objects); err != nil {
			return err
		}
	}
	return nil
}

// fileOf returns the file of an object.
func fileOf(o object) string {
	if kind, _ := o["kind"].(string); kind == "ServiceAccount" || strings.Contains(kind, "Role") {
		return "config/rbac/bindings.yaml"
	}
	switch o.label("app.kubernetes.io/component") {
	case "operator":
		return "config/operator/operator.yaml"
	case "receiver-drain":
		return "config/drain/drain.yaml"
	case "sidecar-injection":
		return "config/sidecar-injection/policies.yaml"
	}
	return "config/receiver/receiver.yaml"
}

// template renders the chart as config has it.
func template(args ...string) ([]object, error) {
	args = append([]string{
		"helm", "template", "mandrill-operator", chart, "--namespace=mandrill-operator-system",
		"--set", "clusterScopedName=mandrill-operator", "--set", "crds.install=false",
	}, args...)
	command := exec.Command("hack/tool.sh", args...) //nolint:gosec,noctx // arguments of this program
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("helm template: %w", err)
	}
	return decode(output)
}

func decode(data []byte) (list []object, err error) {
	for document := range bytes.SplitSeq(append([]byte("\n"), data...), []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(document, &o); err != nil {
			return nil, err
		}
		if len(o) > 0 {
			list = append(list, o)
		}
	}
	return list, nil
}

// write writes objects into a file, without the labels that say that Helm installed them.
func write(path string, objects []object) error {
	documents := make([]string, 0, len(objects))
	for _, o := range objects {
		if labels, ok := o.metadata()["labels"].(map[string]any); ok {
			delete(labels, "helm.sh/chart")
			delete(labels, "app.kubernetes.io/managed-by")
		}
		data, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		documents = append(documents, string(data))
	}
	return os.WriteFile(path, []byte(header+strings.Join(documents, "---\n")), 0o644) //nolint:gosec // a manifest
}
