package chart_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

type ruleGroups struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// The PrometheusRule has the alerts of the plain file, word for word, except for those that are disabled and for labels that are added.
func TestPrometheusRuleHasTheAlertsOfTheFile(t *testing.T) {
	t.Parallel()
	var want ruleGroups
	if err := yaml.UnmarshalStrict([]byte(readFile(t, filepath.Join(chart, "files/alerts.yaml"))), &want); err != nil {
		t.Fatal(err)
	}
	const disabled = "MandrillDeliveryDelayed"
	for i, group := range want.Groups {
		rules := group.Rules[:0]
		for _, rule := range group.Rules {
			rule.Labels["team"] = "mail"
			if rule.Alert != disabled {
				rules = append(rules, rule)
			}
		}
		want.Groups[i].Rules = rules
	}
	objects := template(t, "--set", "monitoring.rules=true,monitoring.alertLabels.team=mail,monitoring.labels.release=prometheus,monitoring.disabledAlerts={"+disabled+"}")
	object := find(t, objects, "PrometheusRule", "mandrill-operator")
	if object.GetLabels()["release"] != "prometheus" {
		t.Errorf("Prometheus does not find it: the labels are %v", object.GetLabels())
	}
	spec, err := json.Marshal(object.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	var got ruleGroups
	if err := json.Unmarshal(spec, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-file +PrometheusRule):\n%s", diff)
	}
}

// Each dashboard is in a ConfigMap as it is in the chart.
func TestDashboardsAreInConfigMaps(t *testing.T) {
	t.Parallel()
	objects := template(t, "--set", "monitoring.dashboards=true,monitoring.dashboardAnnotations.grafana_folder=Mandrill")
	paths, err := filepath.Glob(filepath.Join(chart, "files/dashboards/*.json"))
	if err != nil || len(paths) < 4 {
		t.Fatalf("%d dashboards: %v", len(paths), err)
	}
	for _, path := range paths {
		file := filepath.Base(path)
		object := find(t, objects, "ConfigMap", "mandrill-operator-dashboard-"+strings.TrimSuffix(file, ".json"))
		if object.GetLabels()["grafana_dashboard"] != "1" || object.GetAnnotations()["grafana_folder"] != "Mandrill" {
			t.Errorf("Grafana's sidecar does not find %s, or its folder", object.GetName())
		}
		data, _, _ := unstructured.NestedStringMap(object.Object, "data")
		var got, want any
		if err := json.Unmarshal([]byte(data["mandrill-"+file]), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(readFile(t, path)), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-file +ConfigMap):\n%s", file, diff)
		}
	}
}

// By default the chart makes no object of a kind that the cluster may not have, and no dashboard that nobody asked for.
func TestMonitoringIsOffByDefault(t *testing.T) {
	t.Parallel()
	for _, object := range template(t) {
		if strings.HasPrefix(object.GetAPIVersion(), "monitoring.coreos.com/") || object.GetLabels()["grafana_dashboard"] != "" {
			t.Errorf("there is a %s %s", object.GetKind(), object.GetName())
		}
	}
}
