package cli_test

import (
	"io"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
)

const page = "../../docs/cli.md"

// forwardedPage stands for the address of the page, of which the port and the key differ from run to run.
const forwardedPage = "FORWARDED-PAGE"

// variable is what differs from run to run: ages, sizes of time, ids, and the widths of columns that follow from them.
var variable = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m|h|d)\b`), "AGE"},
	{regexp.MustCompile(`\d{4}-\d{2}-\d{2}(T[\d:]+Z)?`), "DATE"},
	{regexp.MustCompile(`(webhook|batches?|events?) \d+`), "$1 N"},
	{regexp.MustCompile(`\d+ (events?|batch(es)?|of them)`), "N $1"},
	{regexp.MustCompile(`\bbatches\b`), "batch"},
	{regexp.MustCompile(` {2,}`), "  "},
}

func masked(text string) string {
	for _, v := range variable {
		text = v.pattern.ReplaceAllString(text, v.text)
	}
	return strings.TrimSpace(text)
}

// documented compares what a command prints with the sample in docs/cli.md. UPDATE_DOCS=1 writes the sample.
func (s *stack) documented(name, namespace, command string, r result) {
	s.t.Helper()
	text := "$ " + command + "\n" + r.out
	for _, pair := range [][2]string{
		{s.ingress.URL, "http://hooks.example.com"}, {strings.TrimPrefix(s.ingress.URL, "http://"), "hooks.example.com"}, {namespace, "shop"}, {s.podName, "mandrill-receiver-0"},
		{s.sink.URL, "http://consumer.shop.svc.cluster.local"}, {strings.TrimPrefix(s.sink.URL, "http://"), "consumer.shop.svc.cluster.local:80"},
		{"127.0.0.1", "192.0.2.10"}, {forwardedPage, "http://127.0.0.1:40123/?key=KEY"},
	} {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	text = realigned(text)
	data, err := os.ReadFile(page)
	if err != nil {
		s.t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), "<!-- output of test/cli: "+name+" -->\n```console\n")
	sample, after, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		s.t.Fatalf("%s has no place for the output of %s", page, name)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		written := before + "<!-- output of test/cli: " + name + " -->\n```console\n" + text + "```\n" + after
		if err := os.WriteFile(page, []byte(written), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(masked(sample), masked(text)); diff != "" {
		s.t.Errorf("docs/cli.md shows something else (UPDATE_DOCS=1 writes it) (-docs +got):\n%s", diff)
	}
}

var gap = regexp.MustCompile(` {3,}`)

// realigned gives the columns of a table the widths that they have with shorter names.
func realigned(text string) string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	for line := range strings.Lines(text) {
		if cells := gap.Split(line, -1); len(cells) >= 4 {
			_, _ = io.WriteString(table, strings.Join(cells, "\t"))
			continue
		}
		_ = table.Flush()
		out.WriteString(line)
	}
	_ = table.Flush()
	return out.String()
}
