// Package docs_test keeps documents and code in agreement.
package docs_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/test/metrics"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The manifest in the README is the one that make demo applies.
func TestReadmeManifest(t *testing.T) {
	t.Parallel()
	documents := strings.Split(read(t, "config/samples/transactional.yaml"), "---\n")
	manifest := documents[len(documents)-1]
	if !strings.Contains(read(t, "README.md"), "```yaml\n"+manifest+"```") {
		t.Error("the README does not show the MandrillWebhook of config/samples/transactional.yaml as it is")
	}
}

// docs/metrics.md has every metric, and none that does not exist.
func TestMetrics(t *testing.T) {
	t.Parallel()
	gatherer, err := metrics.Gatherer()
	if err != nil {
		t.Fatal(err)
	}
	families, err := gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, family := range families {
		want = append(want, family.GetName())
	}
	var got []string
	for line := range strings.SplitSeq(read(t, "docs/metrics.md"), "\n") {
		if name, ok := strings.CutPrefix(line, "| `mandrill_"); ok {
			name, _, _ = strings.Cut(name, "`")
			got = append(got, "mandrill_"+name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-code +docs/metrics.md):\n%s", diff)
	}
}

// What the CRD announces to Knative is what the table has.
func TestAnnouncedEventTypes(t *testing.T) {
	t.Parallel()
	var crd struct {
		Metadata struct{ Annotations map[string]string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "config/crd/mandrill-operator.io_mandrillwebhooks.yaml")), &crd); err != nil {
		t.Fatal(err)
	}
	type eventType struct{ Type, Schema, Description string }
	var got, want []eventType
	if err := json.Unmarshal([]byte(crd.Metadata.Annotations["registry.knative.dev/eventTypes"]), &got); err != nil {
		t.Fatal(err)
	}
	for _, row := range eventtypes.Table {
		if !strings.HasSuffix(row.Type, ".") { // rows for what Mandrill may add have no type of their own
			want = append(want, eventType{row.Type, row.Schema(), row.Description})
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event types (-table +CRD):\n%s", diff)
	}
}

// The code in docs/consumers.md is in the examples, which run with a real receiver.
func TestCodeOfConsumersIsOfExamples(t *testing.T) {
	t.Parallel()
	indent := regexp.MustCompile(`(?m)^[ \t]+`)
	var examples strings.Builder
	for _, path := range []string{"go/receive/receive.go", "go/denylist/main.go", "node/express.mjs", "node/fastify.mjs"} {
		examples.WriteString(indent.ReplaceAllString(read(t, "examples/"+path), ""))
	}
	blocks := regexp.MustCompile("(?s)```(js|go|sql)\n(.*?)```").FindAllStringSubmatch(read(t, "docs/consumers.md"), -1)
	if len(blocks) < 4 {
		t.Errorf("only %d blocks of code were found", len(blocks))
	}
	for _, block := range blocks {
		if strings.HasPrefix(block[2], "BEGIN;") { // the example has its statements in a function
			continue
		}
		if !strings.Contains(examples.String(), strings.TrimSpace(indent.ReplaceAllString(block[2], ""))) {
			t.Errorf("this is in no example:\n%s", block[2])
		}
	}
}
