package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	module = "github.com/mandrill-operator/mandrill-operator/"
	// headLines and tailLines of the output of a failed test are shown: the first faults, and how it ended.
	headLines = 120
	tailLines = 80
	// slowest is how many packages and tests are listed.
	slowest = 10
)

// event is one of those that "go doc test2json" and "go help buildjson" describe.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// result is a package or a test that has ended.
type result struct {
	name    string
	elapsed float64
}

type report struct {
	out     io.Writer
	logs    string
	err     error                          // the first error of writing
	running map[string]map[string][]string // output by package and test; "" for that of the package itself
	builds  map[string][]string            // output of builds, by import path

	packages, tests, failures []result
	passed, skipped           int
}

func newReport(out io.Writer, logs string) *report {
	return &report{out: out, logs: logs, running: map[string]map[string][]string{}, builds: map[string][]string{}}
}

func (r *report) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(r.out, format, args...); err != nil && r.err == nil {
		r.err = err
	}
}

// add takes a line of go test -json. What is not JSON is shown as it is.
func (r *report) add(line []byte) error {
	var e event
	if !json.Valid(line) {
		r.printf("%s", line)
		return nil
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	e.Package = strings.TrimPrefix(e.Package, module)
	switch e.Action {
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "build-fail":
		r.show(r.builds[e.ImportPath], "")
		delete(r.builds, e.ImportPath)
	case "output":
		return r.output(e)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e)
		}
	}
	return nil
}

func (r *report) output(e event) error {
	tests := r.running[e.Package]
	if tests == nil {
		tests = map[string][]string{}
		r.running[e.Package] = tests
	}
	tests[e.Test] = append(tests[e.Test], e.Output)
	log, err := os.OpenFile(r.log(e.Package), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := log.WriteString(e.Output); err != nil {
		return err
	}
	return log.Close()
}

// log is the file with the whole output of a package.
func (r *report) log(name string) string {
	return filepath.Join(r.logs, strings.ReplaceAll(name, "/", "-")+".log")
}

func (r *report) endTest(e event) {
	ended := result{e.Package + " " + e.Test, e.Elapsed}
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
	default:
		r.failures = append(r.failures, ended)
		r.printf("== %s failed:\n", ended.name)
		r.show(r.running[e.Package][e.Test], e.Package)
	}
	if !strings.Contains(e.Test, "/") { // the time of a subtest is part of its parent's
		r.tests = append(r.tests, ended)
	}
	delete(r.running[e.Package], e.Test)
}

func (r *report) endPackage(e event) {
	output := r.running[e.Package][""]
	delete(r.running[e.Package], "")
	switch e.Action {
	case "fail":
		r.failPackage(e, output)
	case "pass":
		r.show(output[max(0, len(output)-1):], e.Package) // "ok", the package, the time or "(cached)"
	}
	delete(r.running, e.Package)
	if e.Action != "skip" { // no test files
		r.packages = append(r.packages, result{e.Package, e.Elapsed})
	}
}

// failPackage shows what no test has shown yet: tests that a panic or a timeout cut short, and the output of the package itself.
func (r *report) failPackage(e event, output []string) {
	known := slices.ContainsFunc(r.failures, func(f result) bool { return strings.HasPrefix(f.name, e.Package+" ") })
	for test, unfinished := range r.running[e.Package] {
		known = true
		r.failures = append(r.failures, result{name: e.Package + " " + test})
		r.printf("== %s %s did not end:\n", e.Package, test)
		r.show(unfinished, e.Package)
	}
	if !known {
		r.failures = append(r.failures, result{e.Package, e.Elapsed})
	}
	r.show(output, e.Package)
}

// show prints output without the lines that only follow which test runs, and not too much of it.
func (r *report) show(output []string, name string) {
	output = slices.DeleteFunc(slices.Clone(output), func(line string) bool { return strings.HasPrefix(line, "=== ") })
	left := len(output) - headLines - tailLines
	for i, line := range output {
		if left > 0 && i == headLines {
			r.printf("    ... %d lines are left out", left)
			if name != "" {
				r.printf(": all are in %s", r.log(name))
			}
			r.printf("\n")
		}
		if left <= 0 || i < headLines || i >= headLines+left {
			r.printf("%s", line)
		}
	}
	if len(output) > 0 && !strings.HasSuffix(output[len(output)-1], "\n") {
		r.printf("\n")
	}
}

func (r *report) finish() (failed bool) {
	r.list("Slowest packages:", r.packages)
	r.list("Slowest tests:", r.tests)
	if len(r.failures) > 0 {
		r.printf("\nFailed:\n")
	}
	for _, failure := range r.failures {
		r.printf("  %s\n", failure.name)
	}
	r.printf("\n%d passed, %d failed, %d skipped\n", r.passed, len(r.failures), r.skipped)
	return len(r.failures) > 0
}

func (r *report) list(title string, results []result) {
	slices.SortStableFunc(results, func(a, b result) int { return cmp.Compare(b.elapsed, a.elapsed) })
	r.printf("\n%s\n", title)
	for _, result := range results[:min(slowest, len(results))] {
		r.printf("%8.1f s  %s\n", result.elapsed, result.name)
	}
}
