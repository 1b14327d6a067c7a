package apiserver_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/jsonpath"
)

var updateDocs = flag.Bool("update-docs", false, "replace the output of commands in the documents by that of this run")

// printed is a document with what commands print. The block after a line <!-- output: NAME --> is the output of one run: times,
// durations and counts of attempts differ, and are not compared.
type printed string

// commands are commands and what they print.
type commands []struct{ command, output string }

func (p printed) shows(t *testing.T, name string, list commands) {
	t.Helper()
	var block strings.Builder
	for _, each := range list {
		fmt.Fprintf(&block, "$ %s\n%s\n", each.command, strings.TrimRight(each.output, "\n"))
	}
	got, path := block.String(), string(p)
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), "<!-- output: "+name+" -->\n```console\n")
	want, after, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatalf("%s has no block %s", path, name)
	}
	if masked(want) == masked(got) {
		return
	}
	if *updateDocs {
		text := before + "<!-- output: " + name + " -->\n```console\n" + got + "```\n" + after
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s says that the commands of %s print\n%s\nand they print\n%s\nIf that is right, run this test with -update-docs", path, name, want, got)
}

// masks are what differs between runs.
var masks = []struct {
	of *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`"(failedAttempts|failingSeconds|durationSeconds)":[0-9.e+]+`), `"$1":N`},
	{regexp.MustCompile(`\} [0-9.]+e\+09\b`), "} UNIX"},
	{regexp.MustCompile(`(_seconds\{[^}]*\}) [0-9.]+`), "$1 SECONDS"},
	{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+s\b|\b\d+[mh]\b`), "AGE"},
	{regexp.MustCompile(`\d+ events wait`), "N events wait"},
	{regexp.MustCompile(` {2,}`), "  "},
}

func masked(text string) string {
	for _, mask := range masks {
		text = mask.of.ReplaceAllString(text, mask.to)
	}
	return text
}

// fetch gets a path of the API server, or of another server.
func fetch(t *testing.T, client *http.Client, url, accept string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v\n%s", url, response.StatusCode, err, body)
	}
	return body
}

// kubectlGet prints the objects at a path of the API server as kubectl get does: the API server makes the table, kubectl aligns it.
func kubectlGet(t *testing.T, path string) string {
	t.Helper()
	config := rest.CopyConfig(environment.Config)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	body := fetch(t, client, strings.TrimSuffix(config.Host, "/")+path, "application/json;as=Table;v=v1;g=meta.k8s.io")
	if err := json.Unmarshal(body, &table); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 6, 4, 3, ' ', 0) // as kubectl's
	line := func(cell func(int) string) {
		var cells []string
		for n, column := range table.ColumnDefinitions {
			if column.Priority == 0 {
				cells = append(cells, cell(n))
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	line(func(n int) string { return strings.ToUpper(table.ColumnDefinitions[n].Name) })
	for _, row := range table.Rows {
		line(func(n int) string {
			if row.Cells[n] == nil {
				return ""
			}
			return strings.TrimSpace(fmt.Sprint(row.Cells[n]))
		})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// kubectlJSONPath prints a part of an object as kubectl get -o jsonpath does.
func kubectlJSONPath(t *testing.T, object any, template string) string {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var fields any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	path := jsonpath.New("printed")
	if err := path.Parse(template); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := path.Execute(&out, fields); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// lines returns the lines of a text that have all words.
func lines(text string, words ...string) string {
	var found []string
	for line := range strings.SplitSeq(text, "\n") {
		has := !strings.HasPrefix(line, "#")
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			found = append(found, line)
		}
	}
	return strings.Join(found, "\n")
}
