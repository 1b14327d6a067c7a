// Package imports_test holds the arrows of the architecture: who may import whom.
package imports_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mandrill-operator/mandrill-operator"

// allowed says for each package, or folder of packages ending in /, which of our packages it may import.
// Programs join the parts and may import anything.
var allowed = map[string][]string{
	"api/eventtypes":               nil,
	"api/pasted":                   nil,
	"api/reports":                  nil,
	"api/routes":                   {"api/pasted", "nearest"},
	"api/v1alpha1":                 nil,
	"events":                       nil,
	"mandrill":                     nil,
	"nearest":                      nil,
	"quantity":                     nil,
	"schemas":                      nil,
	"version":                      nil,
	"version/buildinfo":            {"version"},
	"mandrill/mandrilltest":        {"mandrill"},
	"cli":                          {"cli/access", "cli/accounts", "cli/buffers", "cli/bundle", "cli/doctor", "cli/output", "cli/traffic", "cli/ui", "cli/view", "version"},
	"cli/access":                   {"api/v1alpha1", "mandrill", "version"},
	"cli/accounts":                 {"api/v1alpha1", "cli/access", "cli/output", "controllers/webhookurl", "mandrill"},
	"cli/buffers":                  {"cli/access", "cli/output", "nearest"},
	"cli/bundle":                   {"api/v1alpha1", "cli/access", "cli/output", "cli/view", "controllers/webhookurl", "version"},
	"cli/doctor":                   {"api/reports", "api/routes", "api/v1alpha1", "cli/access", "cli/output", "cli/post", "cli/reasons", "cli/view", "controllers/webhookurl", "mandrill"},
	"cli/output":                   nil,
	"cli/overview":                 {"api/reports", "receiver/page/site", "receiver/sse"},
	"cli/post":                     {"api/routes", "mandrill"},
	"cli/reasons":                  {"api/v1alpha1", "nearest"},
	"cli/traffic":                  {"api/pasted", "cli/access", "cli/output", "cli/post", "mandrill", "mandrill/mandrilltest", "nearest"},
	"cli/ui":                       {"cli/access", "cli/output", "cli/overview", "version"},
	"cli/view":                     {"api/v1alpha1", "cli/access", "cli/output", "cli/reasons"},
	"receiver/cloudevent":          nil,
	"receiver/sink":                {"api/pasted", "api/reports", "api/routes", "receiver/cloudevent", "receiver/sink/http1"},
	"receiver/sink/http1":          nil,
	"receiver/delivery":            {"api/reports", "version"},
	"receiver/page":                {"receiver/delivery", "receiver/page/site", "receiver/recent", "receiver/sse", "version"},
	"receiver/page/site":           {"api/reports"},
	"receiver/recent":              {"mandrill", "receiver/cloudevent", "receiver/sink", "receiver/sse"},
	"receiver/sse":                 nil,
	"receiver/report":              {"api/pasted", "api/reports", "receiver/sink"},
	"receiver/journal":             {"receiver/journal/age", "receiver/journal/checkpoint", "receiver/journal/codec", "receiver/journal/deleted", "receiver/journal/engine", "receiver/journal/erasure", "receiver/journal/finished", "receiver/journal/gc", "receiver/journal/lease", "receiver/journal/metrics", "receiver/journal/partition", "receiver/journal/quarantine", "receiver/journal/store", "receiver/journal/streams", "receiver/journal/usage", "receiver/journal/watch"},
	"receiver/journal/age":         nil,
	"receiver/journal/checkpoint":  {"receiver/durable", "receiver/journal/store"},
	"receiver/journal/codec":       nil,
	"receiver/journal/deleted":     {"receiver/journal/store"},
	"receiver/journal/erasure":     {"receiver/journal/store"},
	"receiver/journal/finished":    {"receiver/journal/store"},
	"receiver/journal/gc":          {"receiver/journal/store"},
	"receiver/journal/lease":       {"receiver/journal/store"},
	"receiver/journal/metrics":     {"receiver/journal/natsfiles", "receiver/journal/removals"},
	"receiver/journal/partition":   {"receiver/journal/lease", "receiver/journal/store", "receiver/journal/streams", "receiver/journal/watch"},
	"receiver/journal/quarantine":  nil,
	"receiver/journal/removals":    nil,
	"receiver/journal/usage":       {"receiver/journal/store", "receiver/journal/streams"},
	"receiver/journal/watch":       {"receiver/journal/store"},
	"receiver/journal/store":       nil,
	"receiver/journal/streams":     {"receiver/journal/engine", "receiver/journal/store"},
	"receiver/journal/journaltest": {"receiver/journal", "receiver/journal/engine", "receiver/journal/quarantine", "test/logbuffer", "test/loopback", "test/poll"},
	"receiver/journal/engine":      {"receiver/durable", "receiver/journal/natsfiles"},
	"receiver/journal/natsfiles":   {"receiver/durable"},
	"receiver/mapping":             {"api/eventtypes", "events", "mandrill", "receiver/cloudevent"},
	"receiver/telemetry":           {"api/eventtypes", "receiver/cloudevent", "receiver/sink"},
	"receiver/routing":             {"api/routes", "receiver/mapping", "receiver/sink"},
	"receiver/dispatch":            {"mandrill", "receiver/cloudevent", "receiver/delivery", "receiver/journal", "receiver/journal/quarantine", "receiver/mapping", "receiver/recent", "receiver/routing", "receiver/sink", "receiver/telemetry"},
	"receiver/erase":               {"mandrill", "receiver/journal", "receiver/journal/erasure", "receiver/journal/quarantine", "receiver/mapping"},
	"receiver/admin":               {"receiver/journal", "receiver/journal/erasure"},
	"receiver":                     {"api/reports", "api/routes", "mandrill", "receiver/cloudevent", "receiver/delivery", "receiver/journal", "receiver/mapping", "receiver/recent", "receiver/routing", "receiver/sink", "receiver/telemetry"},
	"receiver/durable":             nil,
	"receiver/keptroutes":          {"receiver/durable"},
	"receiver/kube":                {"api/routes"},
	"receiver/systemd":             nil,
	"controllers":                  {"api/v1alpha1"},
	"controllers/certificates":     {"api/v1alpha1"},
	"controllers/crd":              {"api/v1alpha1"},
	"controllers/credentials":      {"api/v1alpha1", "controllers", "controllers/ownedsecrets"},
	"controllers/account":          {"mandrill"},
	"controllers/alerts":           {"api/eventtypes", "api/routes", "api/v1alpha1", "controllers", "controllers/sinks", "events"},
	"controllers/deletion":         {"api/v1alpha1"},
	"controllers/delivery":         {"api/reports", "api/routes", "api/v1alpha1", "controllers", "controllers/reports"},
	"controllers/fairqueue":        nil,
	"controllers/heirs":            {"api/v1alpha1", "controllers/account", "controllers/registration", "mandrill"},
	"controllers/inbound":          {"api/v1alpha1", "controllers", "controllers/account", "mandrill"},
	"controllers/metrics":          {"api/v1alpha1", "controllers", "mandrill"},
	"controllers/ownedsecrets":     {"api/v1alpha1", "controllers"},
	"controllers/probe":            {"api/routes", "api/v1alpha1", "controllers", "controllers/fairqueue", "mandrill"},
	"controllers/progress":         {"api/v1alpha1", "controllers"},
	"controllers/publisher":        {"api/routes", "api/v1alpha1", "controllers", "controllers/ownedsecrets", "controllers/routestore", "controllers/sinks"},
	"controllers/registration":     {"api/v1alpha1", "controllers/account", "mandrill"},
	"controllers/reports":          {"api/reports"},
	"controllers/routestore":       {"api/routes"},
	"controllers/scope":            {"api/v1alpha1", "controllers"},
	"controllers/sinks":            {"api/routes", "api/v1alpha1", "controllers"},
	"controllers/uninstall":        {"api/v1alpha1", "controllers/deletion"},
	"controllers/upstream":         {"api/v1alpha1", "controllers", "mandrill"},
	"controllers/webhookurl":       {"api/v1alpha1", "controllers"},
	"controllers/":                 {"api/eventtypes", "api/routes", "api/v1alpha1", "controllers", "controllers/account", "controllers/credentials", "controllers/deletion", "controllers/fairqueue", "controllers/heirs", "controllers/inbound", "controllers/metrics", "controllers/ownedsecrets", "controllers/probe", "controllers/progress", "controllers/publisher", "controllers/registration", "controllers/routestore", "controllers/scope", "controllers/sinks", "controllers/upstream", "controllers/webhookurl", "mandrill"},
}

var programs = []string{"cmd/", "hack/", "test/"}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []goPackage
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func hasPrefix(path string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

func TestArrows(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		if hasPrefix(path, programs...) {
			continue
		}
		seen++
		permitted, ok := allowed[path]
		if folder, _, nested := strings.Cut(path, "/"); !ok && nested {
			permitted, ok = allowed[folder+"/"]
		}
		if !ok {
			t.Errorf("%s is not in the table of arrows: decide what it may import", path)
		}
		for _, imported := range p.Imports {
			if ours, isOurs := strings.CutPrefix(imported, module+"/"); isOurs && !slices.Contains(permitted, ours) {
				t.Errorf("%s imports %s, and may import %v", path, ours, permitted)
			}
		}
	}
	if seen < len(allowed) {
		t.Errorf("%d packages were checked, the table has %d", seen, len(allowed))
	}
}

// mandrill is for everybody: it has no dependency, and events has that on the events of CloudEvents only. The receiver knows nothing of Kubernetes.
func TestFreeOf(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, p := range packages(t) {
		for _, dependency := range p.Deps {
			switch strings.TrimPrefix(p.ImportPath, module+"/") {
			case "mandrill", "mandrill/mandrilltest":
				checked++
				host, _, _ := strings.Cut(dependency, "/") // the standard library's has no dot
				if strings.Contains(host, ".") && !hasPrefix(dependency, module+"/mandrill", "vendor/") {
					t.Errorf("%s depends on %s", p.ImportPath, dependency)
				}
			case "events":
				checked++
				host, _, _ := strings.Cut(dependency, "/")
				if strings.Contains(host, ".") && !hasPrefix(dependency, "github.com/cloudevents/sdk-go/v2/event", "github.com/cloudevents/sdk-go/v2/types", "github.com/json-iterator/", "github.com/modern-go/", "vendor/") {
					t.Errorf("%s depends on %s", p.ImportPath, dependency)
				}
			case "receiver", "receiver/admin", "receiver/dispatch", "receiver/journal", "receiver/journal/engine", "receiver/journal/natsfiles", "receiver/mapping", "receiver/routing", "receiver/sink", "receiver/telemetry", "api/eventtypes", "api/pasted", "api/routes":
				checked++
				if hasPrefix(dependency, "k8s.io/", "sigs.k8s.io/controller-runtime") {
					t.Errorf("%s depends on %s", p.ImportPath, dependency)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// A program that can call templates keeps every method of all it links, which doubles the receiver.
func TestReceiverHasNoTemplates(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), "go", "list", "-tags=grpcnotrace", "-deps", module+"/cmd/receiver").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(output), "\ntext/template\n") {
		t.Error("cmd/receiver depends on text/template; go mod why says by whom")
	}
}
