// Package argocd_test runs the health check of config/argocd as Argo CD does, on objects that were recorded from a running operator.
// The object registering is retrying with the words of that step, which lasts too short a time to be recorded.
package argocd_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/yaml"
)

// health is what a health check returns.
type health struct{ Status, Message string }

// script returns the health check.
func script(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../config/argocd/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct{ Data map[string]string }
	if err := yaml.Unmarshal(data, &configMap); err != nil {
		t.Fatal(err)
	}
	text := configMap.Data["resource.customizations.health.mandrill-operator.io_MandrillWebhook"]
	if text == "" {
		t.Fatal("the ConfigMap has no health check")
	}
	return text
}

// check runs the script with the libraries that Argo CD gives it.
func check(t *testing.T, text string, object map[string]any) health {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	state.SetGlobal("obj", luajson.DecodeValue(state, object))
	if err := state.DoString(text); err != nil {
		t.Fatal(err)
	}
	data, err := luajson.Encode(state.Get(-1))
	if err != nil {
		t.Fatal(err)
	}
	var got health
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return got
}

func recorded(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestHealthOfRecordedObjects(t *testing.T) {
	t.Parallel()
	want := map[string]health{
		"created":             {"Progressing", "The operator has not looked at this generation"},
		"waiting-for-api-key": {"Progressing", `there is no Secret "none" in this namespace`},
		"route-not-served":    {"Progressing", "the sidecar does not serve"},
		"registering":         {"Progressing", "Mandrill has been asked to register the webhook"},
		"retrying":            {"Progressing", "adding the webhook: webhooks/add: connection refused"},
		"stalled":             {"Degraded", "Mandrill does not accept the API key"},
		"ready":               {"Healthy", "Mandrill has the webhook"},
		"suspended":           {"Suspended", "The receiver refuses batches, as spec.suspend says"},
		"changed":             {"Progressing", "The operator has not looked at this generation"},
		"change-fails":        {"Progressing", "listing webhooks: webhooks/list: connection refused"},
		"deleting":            {"Progressing", "deleting the webhook at Mandrill"},
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d objects are recorded, and %d expected: %v", len(files), len(want), err)
	}
	text := script(t)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got := check(t, text, recorded(t, name))
		if got.Status != want[name].Status || !strings.Contains(got.Message, want[name].Message) {
			t.Errorf("%s: got %+v, want %+v", name, got, want[name])
		}
	}
}

// An object whose webhook is not at Mandrill, or is another than the spec's, is never Healthy, whatever else its status has.
func TestNeverHealthyWithoutTheWebhook(t *testing.T) {
	t.Parallel()
	text := script(t)
	for name, change := range map[string]func(object, status map[string]any){
		"without a webhook":           func(_, status map[string]any) { delete(status, "webhookID") },
		"without conditions":          func(_, status map[string]any) { delete(status, "conditions") },
		"without a status":            func(object, _ map[string]any) { delete(object, "status") },
		"of another generation":       func(_, status map[string]any) { status["observedGeneration"] = float64(7) },
		"not Ready":                   func(_, status map[string]any) { condition(status, "Ready")["status"] = "False" },
		"of which Ready is not known": func(_, status map[string]any) { condition(status, "Ready")["status"] = "Unknown" },
		"that is being reconciled":    func(_, status map[string]any) { condition(status, "URLExclusive")["type"] = "Reconciling" },
		"that is Stalled":             func(_, status map[string]any) { condition(status, "URLExclusive")["type"] = "Stalled" },
		"that is being deleted": func(object, _ map[string]any) {
			object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
		},
	} {
		object := recorded(t, "ready")
		status, _ := object["status"].(map[string]any)
		change(object, status)
		if got := check(t, text, object); got.Status == "Healthy" {
			t.Errorf("an object %s is %+v", name, got)
		}
	}
}

// Whether Mandrill could deliver is said, and is no reason to take an application back.
func TestFailedDeliveryIsSaid(t *testing.T) {
	t.Parallel()
	object := recorded(t, "ready")
	delivering := condition(object["status"].(map[string]any), "Delivering")
	delivering["status"], delivering["message"] = "False", "the last attempt failed"
	if got, want := check(t, script(t), object), (health{"Healthy", "the last attempt failed"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// condition returns a condition of a status.
func condition(status map[string]any, name string) map[string]any {
	for _, each := range status["conditions"].([]any) {
		if condition := each.(map[string]any); condition["type"] == name {
			return condition
		}
	}
	panic(fmt.Sprintf("there is no condition %s", name))
}
