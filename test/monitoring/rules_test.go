// Package monitoring_test tests the alerts and dashboards of the chart: with promtool, and with a real Prometheus that watches the operator
// and the receiver.
package monitoring_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	root       = "../.."
	alertsFile = root + "/charts/mandrill-operator/files/alerts.yaml"
	casesFile  = "testdata/alerts_test.yaml"
)

type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// alerts returns the alerts of the chart.
func alerts(t *testing.T) (list []rule) {
	t.Helper()
	data, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		list = append(list, group.Rules...)
	}
	return list
}

// script runs one of the scripts in hack and returns what it prints.
func script(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(root, "hack", name), args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(output))
}

// Prometheus accepts the rules, and each alert fires when it should and not when it should not.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool := script(t, "tool.sh", "--path", "promtool")
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", alertsFile}, {"test", "rules", casesFile}} {
		if output, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
}

// The cases of promtool have each alert firing at one time, and not firing at another.
func TestEveryAlertIsTested(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(casesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			AlertRuleTest []struct {
				AlertName string `json:"alertname"`
				ExpAlerts []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, each := range test.AlertRuleTest {
			if len(each.ExpAlerts) > 0 {
				fires[each.AlertName] = true
			} else {
				quiet[each.AlertName] = true
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !quiet[a.Alert] {
			t.Errorf("%s: there is a case in which it fires: %t, and one in which it does not: %t", a.Alert, fires[a.Alert], quiet[a.Alert])
		}
		delete(fires, a.Alert)
	}
	for name := range fires {
		t.Errorf("there are cases of %s, which is no alert", name)
	}
}
