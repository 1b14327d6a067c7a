package chart_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// foreign are the CRDs of others that the chart and the samples have objects of, in the modules that publish them.
var foreign = []struct {
	module string
	files  []string
}{
	{"github.com/cert-manager/cert-manager@v1.21.2", []string{"deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"}},
	{"sigs.k8s.io/gateway-api@v1.4.0", []string{"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"}},
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", []string{
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	}},
	{"github.com/kedacore/keda/v2@v2.21.0", []string{"config/crd/bases/keda.sh_scaledobjects.yaml"}},
	{"github.com/external-secrets/external-secrets@v0.16.2", []string{"config/crds/bases/external-secrets.io_externalsecrets.yaml"}},
	{"knative.dev/eventing@v0.50.0", []string{"config/core/resources/broker.yaml", "config/core/resources/trigger.yaml"}},
}

// foreignCRDs downloads the modules and returns the paths of their CRDs, and of ours.
func foreignCRDs() ([]string, error) {
	args := []string{"mod", "download", "-json"}
	for _, each := range foreign {
		args = append(args, each.module)
	}
	command := exec.Command("go", args...)
	command.Dir = os.TempDir() // outside of this module, which does not need them
	output, err := command.Output()
	decoder := json.NewDecoder(bytes.NewReader(output))
	folders := map[string]string{}
	for decoder.More() {
		var module struct{ Path, Version, Dir, Error string }
		if err := decoder.Decode(&module); err != nil {
			return nil, err
		}
		if module.Error != "" {
			return nil, fmt.Errorf("downloading %s: %s", module.Path, module.Error)
		}
		folders[module.Path+"@"+module.Version] = module.Dir
	}
	if err != nil {
		return nil, fmt.Errorf("go mod download: %w", err)
	}
	paths := []string{filepath.Join(root, "config/crd/mandrill-operator.io_mandrillwebhooks.yaml")}
	for _, each := range foreign {
		for _, file := range each.files {
			paths = append(paths, filepath.Join(folders[each.module], file))
		}
	}
	return paths, nil
}
