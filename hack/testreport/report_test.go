package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// events is the output of go test -json for one package, whose name replaces PKG.
func events(name string, lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(strings.ReplaceAll(line, "PKG", module+name) + "\n")
	}
	return b.String()
}

func reported(t *testing.T, in string) (out string, failed bool, logs string) {
	t.Helper()
	return reportedWithout(t, in, leftOut{})
}

func reportedWithout(t *testing.T, in string, leftOut leftOut) (out string, failed bool, logs string) {
	t.Helper()
	logs = t.TempDir()
	var b strings.Builder
	failed, err := run(strings.NewReader(in), &b, logs, leftOut)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), failed, logs
}

// Tests that the machine cannot run are not counted with those that were skipped for another reason, and the report says why.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	in := events("test/e2e",
		`{"Action":"skip","Package":"PKG","Test":"TestA","Elapsed":0}`,
		`{"Action":"skip","Package":"PKG","Test":"TestB","Elapsed":0}`,
		`{"Action":"pass","Package":"PKG","Elapsed":0}`,
	) + events("receiver", `{"Action":"skip","Package":"PKG","Test":"TestC","Elapsed":0}`, `{"Action":"pass","Package":"PKG","Elapsed":0}`)
	got, failed, _ := reportedWithout(t, in, leftOut{"test/e2e", "containers need root\nno bridges"})
	if want := "\ne2e left out: containers need root; no bridges\n\n0 passed, 0 failed, 1 skipped, 2 left out\n"; failed || !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want %s at the end", got, want)
	}
}

func TestPassed(t *testing.T) {
	t.Parallel()
	got, failed, logs := reported(t, events("receiver/sink",
		`{"Action":"start","Package":"PKG"}`,
		`{"Action":"run","Package":"PKG","Test":"TestA"}`,
		`{"Action":"output","Package":"PKG","Test":"TestA","Output":"=== RUN   TestA\n"}`,
		`{"Action":"output","Package":"PKG","Test":"TestA","Output":"    said\n"}`,
		`{"Action":"pass","Package":"PKG","Test":"TestA/one","Elapsed":2.5}`,
		`{"Action":"pass","Package":"PKG","Test":"TestA","Elapsed":2.5}`,
		`{"Action":"skip","Package":"PKG","Test":"TestB","Elapsed":0}`,
		`{"Action":"output","Package":"PKG","Output":"PASS\n"}`,
		`{"Action":"output","Package":"PKG","Output":"ok  \tPKG\t2.6s\n"}`,
		`{"Action":"pass","Package":"PKG","Elapsed":2.6}`,
	))
	want := "ok  \t" + module + `receiver/sink	2.6s

Slowest packages:
     2.6 s  receiver/sink

Slowest tests:
     2.5 s  receiver/sink TestA
     0.0 s  receiver/sink TestB

2 passed, 0 failed, 1 skipped
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if failed {
		t.Error("it failed")
	}
	log, err := os.ReadFile(filepath.Join(logs, "receiver-sink.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "    said\n") {
		t.Errorf("the log of the package lacks what a test said: %s", log)
	}
}

// The output of a failed test is shown, but not all of it when there is much.
func TestFailedTest(t *testing.T) {
	t.Parallel()
	lines := []string{}
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf(`{"Action":"output","Package":"PKG","Test":"TestA","Output":"line %d.\n"}`, i))
	}
	lines = append(lines, `{"Action":"fail","Package":"PKG","Test":"TestA","Elapsed":1}`, `{"Action":"fail","Package":"PKG","Elapsed":1}`)
	got, failed, logs := reported(t, events("receiver", lines...))
	for _, want := range []string{
		"== receiver TestA failed:\nline 0.\n", "line 119.\n    ... 800 lines are left out: all are in " + filepath.Join(logs, "receiver.log") + "\nline 920.\n", "line 999.\n",
		"\nFailed:\n  receiver TestA\n\n0 passed, 1 failed, 0 skipped\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	if !failed {
		t.Error("it did not fail")
	}
}

// outputs are the events of a test that prints the pieces and then fails. Go's test2json splits lines of more than 4096 bytes.
func outputs(test string, pieces ...string) []string {
	lines := make([]string, 0, len(pieces)+1)
	for _, piece := range pieces {
		text, _ := json.Marshal(piece)
		lines = append(lines, fmt.Sprintf(`{"Action":"output","Package":"PKG","Test":%q,"Output":%s}`, test, text))
	}
	return append(lines, fmt.Sprintf(`{"Action":"fail","Package":"PKG","Test":%q,"Elapsed":1}`, test))
}

// However much a failed test prints, the report stays short, and the log of the package has all of it.
func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	const size = 345_056
	long := strings.Repeat("x", size)
	for name, pieces := range map[string][]string{
		"one line":                  {long + "\n"},
		"one line in pieces":        slices.Collect(chunks(long, 4096)),
		"lines of 1000":             slices.Collect(chunks(strings.Repeat(strings.Repeat("x", 999)+"\n", size/1000), 1000)),
		"lines of 10":               slices.Collect(chunks(strings.Repeat("123456789\n", size/10), 10)),
		"a line of wide characters": {strings.Repeat("\u20ac", size/3) + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, logs := reported(t, events("receiver", outputs("TestA", append(pieces, "the end\n")...)...))
			if limit := headSize + tailSize + 1000; len(got) > limit {
				t.Errorf("the report has %d characters, want at most %d", len(got), limit)
			}
			if !strings.Contains(got, "left out") || !strings.Contains(got, "the end\n") || !utf8.ValidString(got) {
				t.Errorf("the report does not show how it ended, or that something is left out:\n%s", got)
			}
			log, err := os.ReadFile(filepath.Join(logs, "receiver.log"))
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Join(pieces, "") + "the end\n"; string(log) != want {
				t.Errorf("the log has %d characters, want %d", len(log), len(want))
			}
		})
	}
}

// When very many tests fail, the first are shown, and the others are named.
func TestReportOfManyFailuresIsBounded(t *testing.T) {
	t.Parallel()
	const failed = 500
	lines := []string{}
	for i := range failed {
		lines = append(lines, outputs(fmt.Sprint("Test", i), slices.Collect(chunks(strings.Repeat("123456789\n", 300), 10))...)...)
	}
	got, _, logs := reported(t, events("receiver", lines...))
	if limit := shownSize + headSize + tailSize + failed*200; len(got) > limit {
		t.Errorf("the report has %d characters, want at most %d", len(got), limit)
	}
	for _, want := range []string{
		"== receiver Test499 failed:\n    ... its lines are left out: all are in " + filepath.Join(logs, "receiver.log") + "\n",
		"\n  receiver Test99\n  and 400 more\n\n0 passed, 500 failed, 0 skipped\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

// A test that logs without end does not fill the disk.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	logs := t.TempDir()
	r := newReport(io.Discard, logs, leftOut{})
	piece := strings.Repeat("x", 1<<20)
	for range 2 * logSize >> 20 {
		if err := r.save("receiver", piece); err != nil {
			t.Fatal(err)
		}
	}
	r.closeLog("receiver")
	info, err := os.Stat(filepath.Join(logs, "receiver.log"))
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(logSize + len(piece)); info.Size() > limit {
		t.Errorf("the log has %d bytes, want at most %d", info.Size(), limit)
	}
}

// chunks yields the parts of a text, each of the given size except for the last one.
func chunks(text string, size int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			n := min(size, len(text))
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// What fails without a failed test counts as one: a panic, a timeout, a TestMain, a build.
func TestFailedPackage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in    string
		wants []string
	}{
		"cut short": {
			events("receiver",
				`{"Action":"run","Package":"PKG","Test":"TestA"}`,
				`{"Action":"output","Package":"PKG","Test":"TestA","Output":"panic: test timed out after 30m\n"}`,
				`{"Action":"output","Package":"PKG","Output":"FAIL\tPKG\t1800s\n"}`,
				`{"Action":"fail","Package":"PKG","Elapsed":1800}`),
			[]string{"== receiver TestA did not end:\npanic: test timed out after 30m\n", "FAIL\t" + module + "receiver\t1800s\n", "Failed:\n  receiver TestA\n"},
		},
		"no test": {
			events("receiver",
				`{"Action":"output","Package":"PKG","Output":"no cluster\n"}`,
				`{"Action":"fail","Package":"PKG","Elapsed":0.1}`),
			[]string{"no cluster\n", "Failed:\n  receiver\n"},
		},
		"build": {
			events("receiver",
				`{"ImportPath":"PKG [PKG.test]","Action":"build-output","Output":"# PKG\n"}`,
				`{"ImportPath":"PKG [PKG.test]","Action":"build-output","Output":"a.go:1:1: undefined: x\n"}`,
				`{"ImportPath":"PKG [PKG.test]","Action":"build-fail"}`,
				`{"Action":"output","Package":"PKG","Output":"FAIL\tPKG [build failed]\n"}`,
				`{"Action":"fail","Package":"PKG","Elapsed":0,"FailedBuild":"PKG [PKG.test]"}`),
			[]string{"a.go:1:1: undefined: x\n", "[build failed]\n", "Failed:\n  receiver\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, failed, _ := reported(t, c.in)
			for _, want := range append(c.wants, "\n0 passed, 1 failed, 0 skipped\n") {
				if !strings.Contains(got, want) {
					t.Errorf("the report lacks %q:\n%s", want, got)
				}
			}
			if !failed {
				t.Error("it did not fail")
			}
		})
	}
}

// A new run leaves nothing of the last one.
func TestLogsAreOfOneRun(t *testing.T) {
	t.Parallel()
	logs := t.TempDir()
	for _, name := range []string{"a", "b"} {
		in := events(name, `{"Action":"output","Package":"PKG","Output":"ok\n"}`, `{"Action":"pass","Package":"PKG"}`)
		if _, err := run(strings.NewReader(in), &strings.Builder{}, logs, leftOut{}); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(logs, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(logs, "b.log")}, left); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}
