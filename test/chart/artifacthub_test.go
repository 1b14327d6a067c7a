package chart_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// What Artifact Hub shows is what the chart has. Its own check is not in a module that can be downloaded.
func TestArtifactHubMetadata(t *testing.T) {
	t.Parallel()
	var metadata struct{ Annotations map[string]string }
	if err := yaml.Unmarshal([]byte(readFile(t, chart+"/Chart.yaml")), &metadata); err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{
		"category": {"ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking", "security", "storage", "streaming-messaging"},
		"license":  {"Apache-2.0"}, "operator": {"true"},
		"operatorCapabilities": {"Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"},
	}
	texts := []string{"links", "crds", "crdsExamples"}
	for name, value := range metadata.Annotations {
		key, ours := strings.CutPrefix(name, "artifacthub.io/")
		if allowed := values[key]; !ours || !slices.Contains(allowed, value) && !slices.Contains(texts, key) {
			t.Errorf("the annotation %s: %s is not one of Artifact Hub", name, value)
		}
	}
	artifactHubLinks(t, metadata.Annotations["artifacthub.io/links"])
	artifactHubCRDs(t, metadata.Annotations["artifacthub.io/crds"])
	for _, example := range unmarshal[[]map[string]any](t, metadata.Annotations["artifacthub.io/crdsExamples"]) {
		accepted(t, []*unstructured.Unstructured{{Object: example}})
	}
}

// Versions before a release are not shown.
func TestArtifactHubRepository(t *testing.T) {
	t.Parallel()
	repository := unmarshal[struct {
		Ignore []struct{ Name, Version string }
	}](t, readFile(t, root+"/charts/artifacthub-repo.yml"))
	if rule := repository.Ignore[0]; rule.Name != "mandrill-operator" || !regexp.MustCompile(rule.Version).MatchString("1.2.3-rc.1") {
		t.Errorf("got %+v", rule)
	}
}

// artifactHubLinks checks that links lead to documents of the project.
func artifactHubLinks(t *testing.T, text string) {
	t.Helper()
	for _, link := range unmarshal[[]struct{ Name, URL string }](t, text) {
		parsed, err := url.Parse(link.URL)
		if err != nil || link.Name == "" {
			t.Fatalf("%+v: %v", link, err)
		}
		_, path, found := strings.Cut(parsed.Path, "/blob/main/")
		if !found {
			t.Errorf("%s does not lead to a file of the project", link.URL)
			continue
		}
		readFile(t, root+"/"+path)
	}
}

func artifactHubCRDs(t *testing.T, text string) {
	t.Helper()
	type shown struct{ Name, Kind, Version, DisplayName, Description string }
	list := unmarshal[[]shown](t, text)
	definition := unmarshal[struct {
		Metadata struct{ Name string }
		Spec     struct {
			Names    struct{ Kind string }
			Versions []struct{ Name string }
		}
	}](t, readFile(t, chart+"/files/crd.yaml"))
	if len(list) != len(definition.Spec.Versions) {
		t.Fatalf("%d definitions, and the chart has %d versions of one", len(list), len(definition.Spec.Versions))
	}
	for i, each := range list {
		want := shown{definition.Metadata.Name, definition.Spec.Names.Kind, definition.Spec.Versions[i].Name, each.DisplayName, each.Description}
		if each != want || each.DisplayName == "" || each.Description == "" {
			t.Errorf("got %+v, want %+v", each, want)
		}
	}
}

func unmarshal[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}
