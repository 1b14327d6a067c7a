package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	module = "github.com/mandrill-operator/mandrill-operator/"
	// shownSize bounds the characters of all outputs that are shown, so that many failures stay readable. It is checked before each.
	shownSize = 100_000
	// logSize bounds the log of a package, which a test that logs without end would fill a disk with.
	logSize = 64 << 20
	// slowest is how many packages and tests are listed, and listedFailures how many that failed.
	slowest        = 10
	listedFailures = 100
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

// logFile is the log of a package, and how many bytes are in it.
type logFile struct {
	file *os.File
	size int
}

type report struct {
	out     io.Writer
	logs    string
	err     error                          // the first error of writing
	running map[string]map[string]*excerpt // output by package and test; "" for that of the package itself
	builds  map[string]*excerpt            // output of builds, by import path
	files   map[string]*logFile            // logs of the packages that run
	shown   int                            // characters of outputs that were shown

	packages, tests, failures []result
	passed, skipped           int

	leftOut      leftOut
	leftOutTests int
}

// leftOut is a package whose skipped tests are counted apart, because this machine cannot run them, and why.
type leftOut struct{ pkg, reason string }

func newReport(out io.Writer, logs string, leftOut leftOut) *report {
	return &report{out: out, logs: logs, leftOut: leftOut, running: map[string]map[string]*excerpt{}, builds: map[string]*excerpt{}, files: map[string]*logFile{}}
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
		return r.unknown(string(line))
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	e.Package = strings.TrimPrefix(e.Package, module)
	switch e.Action {
	case "build-output":
		if r.builds[e.ImportPath] == nil {
			r.builds[e.ImportPath] = &excerpt{}
		}
		r.builds[e.ImportPath].add(e.Output)
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

// unknown shows a line that is not JSON: what a program prints that go test runs.
func (r *report) unknown(line string) error {
	if r.shown < shownSize {
		r.shown += len(line)
		r.printf("%s", shorten(line))
	}
	return r.save("unknown", line)
}

func (r *report) output(e event) error {
	tests := r.running[e.Package]
	if tests == nil {
		tests = map[string]*excerpt{}
		r.running[e.Package] = tests
	}
	if tests[e.Test] == nil {
		tests[e.Test] = &excerpt{}
	}
	tests[e.Test].add(e.Output)
	return r.save(e.Package, e.Output)
}

// save appends to the log of a package until it is full.
func (r *report) save(name, text string) error {
	l := r.files[name]
	if l == nil {
		file, err := os.OpenFile(r.log(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		l = &logFile{file: file}
		r.files[name] = l
	}
	if l.size >= logSize {
		return nil
	}
	l.size += len(text)
	if l.size >= logSize {
		text += "\n... the rest is left out\n"
	}
	_, err := l.file.WriteString(text)
	return err
}

// closeLog ends the log of a package, if it has one.
func (r *report) closeLog(name string) {
	if l := r.files[name]; l != nil {
		if err := l.file.Close(); err != nil && r.err == nil {
			r.err = err
		}
		delete(r.files, name)
	}
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
		if e.Package == r.leftOut.pkg {
			r.leftOutTests++
		} else {
			r.skipped++
		}
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
		if output != nil {
			r.printf("%s", output.last()) // "ok", the package, the time or "(cached)"
		}
	}
	delete(r.running, e.Package)
	r.closeLog(e.Package)
	if e.Action != "skip" { // no test files
		r.packages = append(r.packages, result{e.Package, e.Elapsed})
	}
}

// failPackage shows what no test has shown yet: tests that a panic or a timeout cut short, and the output of the package itself.
func (r *report) failPackage(e event, output *excerpt) {
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

// show prints an excerpt of an output, or where to find it when enough has been shown.
func (r *report) show(output *excerpt, name string) {
	if output == nil {
		return
	}
	place := ""
	if name != "" {
		place = ": all are in " + r.log(name)
	}
	if r.shown >= shownSize {
		r.printf("    ... its lines are left out%s\n", place)
		return
	}
	text := output.String(place)
	r.shown += len(text)
	r.printf("%s", text)
}

func (r *report) finish() (failed bool) {
	for name := range r.files { // of packages that did not end
		r.closeLog(name)
	}
	r.list("Slowest packages:", r.packages)
	r.list("Slowest tests:", r.tests)
	if len(r.failures) > 0 {
		r.printf("\nFailed:\n")
	}
	for _, failure := range r.failures[:min(listedFailures, len(r.failures))] {
		r.printf("  %s\n", failure.name)
	}
	if more := len(r.failures) - listedFailures; more > 0 {
		r.printf("  and %d more\n", more)
	}
	counts := fmt.Sprintf("%d passed, %d failed, %d skipped", r.passed, len(r.failures), r.skipped)
	if r.leftOut.pkg != "" {
		r.printf("\n%s left out: %s\n", path.Base(r.leftOut.pkg), strings.ReplaceAll(r.leftOut.reason, "\n", "; "))
		counts += fmt.Sprintf(", %d left out", r.leftOutTests)
	}
	r.printf("\n%s\n", counts)
	return len(r.failures) > 0
}

func (r *report) list(title string, results []result) {
	slices.SortStableFunc(results, func(a, b result) int { return cmp.Compare(b.elapsed, a.elapsed) })
	r.printf("\n%s\n", title)
	for _, result := range results[:min(slowest, len(results))] {
		r.printf("%8.1f s  %s\n", result.elapsed, result.name)
	}
}
