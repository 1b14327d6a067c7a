// Package docs_test keeps documents and code in agreement.
package docs_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/receiver"
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

// Operations has every metric, and none that is not there.
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
	for line := range strings.SplitSeq(read(t, "docs/operations.md"), "\n") {
		if name, ok := strings.CutPrefix(line, "| `mandrill_"); ok {
			name, _, _ = strings.Cut(name, "`")
			got = append(got, "mandrill_"+name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-code +docs/operations.md):\n%s", diff)
	}
}

// Operations explains every condition.
func TestConditions(t *testing.T) {
	t.Parallel()
	operations := read(t, "docs/operations.md")
	for _, name := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionSinkProvided, v1alpha1.ConditionReceiverReady, v1alpha1.ConditionRegistered, v1alpha1.ConditionSigningKeyStored,
		v1alpha1.ConditionInboundReady, v1alpha1.ConditionEventsAccepted, v1alpha1.ConditionDelivering, v1alpha1.ConditionStalled, v1alpha1.ConditionReconciling,
	} {
		if !strings.Contains(operations, "`"+name+"`") {
			t.Errorf("docs/operations.md does not mention %s", name)
		}
	}
}

// What the CRD announces to Knative is what the receiver's table has.
func TestAnnouncedEventTypes(t *testing.T) {
	t.Parallel()
	var crd struct {
		Metadata struct{ Annotations map[string]string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "config/crd/mandrill-operator.io_mandrillwebhooks.yaml")), &crd); err != nil {
		t.Fatal(err)
	}
	type eventType struct{ Type, Description string }
	var got, want []eventType
	if err := json.Unmarshal([]byte(crd.Metadata.Annotations["registry.knative.dev/eventTypes"]), &got); err != nil {
		t.Fatal(err)
	}
	for _, row := range receiver.EventTypes {
		if !strings.HasSuffix(row.Type, ".") { // rows for what Mandrill may add have no type of their own
			want = append(want, eventType{row.Type, row.Description})
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event types (-receiver +CRD):\n%s", diff)
	}
}
