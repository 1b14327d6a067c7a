package docs_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	alertsFile = "charts/mandrill-operator/files/alerts.yaml"
	runbookURL = "https://github.com/mandrill-operator/mandrill-operator/blob/main/docs/runbooks/"
)

type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) (list []alert) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, alertsFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		list = append(list, group.Rules...)
	}
	if len(list) < 15 {
		t.Fatalf("only %d alerts were found", len(list))
	}
	return list
}

// Each alert has a runbook, which its annotation names, and each runbook is that of an alert.
func TestEveryAlertHasARunbook(t *testing.T) {
	t.Parallel()
	index := read(t, "docs/runbooks/README.md")
	pages := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(root, "docs/runbooks"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := strings.TrimSuffix(entry.Name(), ".md"); name != "README" {
			pages[name] = true
		}
	}
	for _, a := range alerts(t) {
		if !pages[a.Alert] {
			t.Errorf("%s has no page in docs/runbooks", a.Alert)
			continue
		}
		delete(pages, a.Alert)
		if got := a.Annotations["runbook_url"]; got != runbookURL+a.Alert+".md" {
			t.Errorf("%s: the runbook is %s", a.Alert, got)
		}
		text := read(t, "docs/runbooks/"+a.Alert+".md")
		parts := regexp.MustCompile(`(?m)^##? .*$`).FindAllString(text, -1)
		if want := []string{"# " + a.Alert, "## What it means", "## What to look at", "## What to do", "## What is lost meanwhile"}; !slices.Equal(parts, want) {
			t.Errorf("the runbook of %s has the parts %q, want %q", a.Alert, parts, want)
		}
		if !strings.Contains(text, "```sh\n") {
			t.Errorf("the runbook of %s has no command", a.Alert)
		}
		before, _, listed := strings.Cut(index, "| ["+a.Alert+"]("+a.Alert+".md) | ")
		if isWarning := strings.Contains(before, "| warning"); !listed || isWarning != (a.Labels["severity"] == "warning") {
			t.Errorf("docs/runbooks/README.md does not have %s, or not among those with severity %s", a.Alert, a.Labels["severity"])
		}
	}
	for page := range pages {
		t.Errorf("docs/runbooks/%s.md is no alert's", page)
	}
}

// Each alert says what it is about, and how bad it is.
func TestAlertsAreDescribed(t *testing.T) {
	t.Parallel()
	for _, a := range alerts(t) {
		if !strings.HasPrefix(a.Alert, "Mandrill") || !slices.Contains([]string{"critical", "warning"}, a.Labels["severity"]) {
			t.Errorf("%s has the severity %q", a.Alert, a.Labels["severity"])
		}
		if strings.Contains(a.Annotations["summary"], "{{") || a.Annotations["summary"] == "" || !strings.Contains(a.Annotations["description"], "{{") {
			t.Errorf("%s: the summary must be the same each time, and the description must not: %q, %q", a.Alert, a.Annotations["summary"], a.Annotations["description"])
		}
	}
}

// metric is a row of docs/metrics.md.
type metric struct {
	kind   string
	labels []string
}

var metricRow = regexp.MustCompile("(?m)^\\| `(mandrill_\\w+)` \\| (\\w+) \\|([^|]*)\\|")

func documentedMetrics(t *testing.T) map[string]metric {
	t.Helper()
	found := map[string]metric{}
	for _, row := range metricRow.FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		m := metric{kind: row[2]}
		for _, label := range codeSpan.FindAllString(row[3], -1) {
			m.labels = append(m.labels, strings.Trim(label, "`"))
		}
		if m.kind == "histogram" {
			m.labels = append(m.labels, "le")
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				found[row[1]+suffix] = m
			}
		}
		found[row[1]] = m
	}
	if len(found) < 30 {
		t.Fatalf("only %d metrics were found in docs/metrics.md", len(found))
	}
	return found
}

// expressions returns all of PromQL that alerts and dashboards have, by where it is.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, a := range alerts(t) {
		found[a.Alert] = []string{a.Expr}
	}
	paths, err := filepath.Glob(filepath.Join(root, "charts/mandrill-operator/files/dashboards/*.json"))
	if err != nil || len(paths) < 4 {
		t.Fatalf("%d dashboards: %v", len(paths), err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var decoded any
		if err := json.Unmarshal(data, &decoded); err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(path)] = texts(decoded)
	}
	return found
}

// texts returns the strings in a decoded JSON that name a metric.
func texts(value any) (list []string) {
	switch value := value.(type) {
	case string:
		if strings.Contains(value, "mandrill_") {
			return []string{value}
		}
	case []any:
		for _, element := range value {
			list = append(list, texts(element)...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			list = append(list, texts(value[key])...)
		}
	}
	return list
}

var (
	selector = regexp.MustCompile(`\b(mandrill_(?:receiver|operator|emulator)_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	// ofTargets are the labels that Prometheus or the Prometheus operator adds.
	ofTargets = []string{"cluster", "namespace", "job", "instance", "pod"}
)

// Every metric, label and value that an alert or a dashboard uses is documented, and so (TestMetrics) exists.
func TestAlertsAndDashboardsUseMetricsThatExist(t *testing.T) {
	t.Parallel()
	known := documentedMetrics(t)
	pages := read(t, "docs/metrics.md") + read(t, "docs/troubleshooting.md") + read(t, "docs/delivery.md")
	unknown, checked := map[string][]string{}, 0
	for where, list := range expressions(t) {
		for _, expr := range list {
			labels, missing := slices.Clone(ofTargets), false
			for _, selected := range selector.FindAllStringSubmatch(expr, -1) {
				checked++
				m, ok := known[selected[1]]
				if !ok {
					unknown[selected[1]], missing = append(unknown[selected[1]], where), true
					continue
				}
				labels = append(labels, m.labels...)
				checkMatchers(t, where, selected[1], selected[2], append(m.labels, ofTargets...), pages)
			}
			if !missing {
				checkGroupings(t, where, expr, labels)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		slices.Sort(unknown[name])
		t.Errorf("docs/metrics.md does not have %s, which is used by %s", name, strings.Join(slices.Compact(unknown[name]), ", "))
	}
	if checked < 100 {
		t.Errorf("only %d uses of metrics were checked", checked)
	}
}

// checkMatchers checks what is between the braces after a metric.
func checkMatchers(t *testing.T, where, name, matchers string, labels []string, pages string) {
	t.Helper()
	for _, match := range matcher.FindAllStringSubmatch(matchers, -1) {
		if !slices.Contains(labels, match[1]) {
			t.Errorf("%s: %s does not have the label %s", where, name, match[1])
		}
		for value := range strings.SplitSeq(match[3], "|") {
			if !strings.HasPrefix(value, "$") && !strings.Contains(pages, "`"+value+"`") {
				t.Errorf("%s: no document says that %s of %s may be %s", where, match[1], name, value)
			}
		}
	}
}

// checkGroupings checks the labels that an expression groups and joins by.
func checkGroupings(t *testing.T, where, expr string, labels []string) {
	t.Helper()
	for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !slices.Contains(labels, label) {
				t.Errorf("%s: no metric of this expression has the label %s: %s", where, label, expr)
			}
		}
	}
}

// A table that was filled as if it were text is no table any more.
func TestTablesAreTables(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		lines := linesOf(read(t, document))
		for i, each := range lines {
			if each.fence != "" || !strings.Contains(each.text, "|---") {
				continue
			}
			if !strings.HasPrefix(strings.TrimSpace(each.text), "|---") || i == 0 ||
				strings.Count(lines[i-1].text, "|")-strings.Count(lines[i-1].text, `\|`) != strings.Count(each.text, "|") {
				t.Errorf("%s:%d is not the second row of a table with as many columns", document, each.number)
			}
		}
	}
}
