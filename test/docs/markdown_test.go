package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	root = "../.."
	// maxLine is the longest line of a document: two of them fit beside each other on a screen, and a diff shows them whole.
	maxLine = 140
)

// generated documents are exempt from the rules of style.
var generated = []string{"docs/api.md", "docs/events.md", "charts/mandrill-operator/README.md"}

// documents returns the paths of all documents of the project, from its root.
func documents(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == ".git" || name == "bin" || name == "testdata" || name == "node_modules") {
			return fs.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".md") {
			relative, err := filepath.Rel(root, path)
			paths = append(paths, relative)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 20 {
		t.Fatalf("only %d documents were found", len(paths))
	}
	return paths
}

// line is a line of a document.
type line struct {
	number int
	text   string
	fence  string // language of the fence that it is in, or text if that has none; empty outside of fences
}

// linesOf returns the lines of a document, and for each the fence that it is in.
func linesOf(text string) []line {
	var lines []line
	fence := ""
	for i, each := range strings.Split(text, "\n") {
		mark, isFence := strings.CutPrefix(strings.TrimSpace(each), "```")
		switch {
		case isFence && fence == "":
			fence = mark
			if fence == "" {
				fence = "text"
			}
			continue
		case isFence:
			fence = ""
			continue
		}
		lines = append(lines, line{i + 1, each, fence})
	}
	return lines
}

var (
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	heading     = regexp.MustCompile(`^#{1,6} +(.*)$`)
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	linkText    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	codeSpan    = regexp.MustCompile("`[^`]+`")
	testName    = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	testFunc    = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
	sourcePath  = regexp.MustCompile("`((?:api|cmd|config|controllers|docs|events|examples|hack|mandrill|packages|receiver|schemas|test)/[A-Za-z0-9_./-]+)`")
)

// anchors returns those of a document, as GitHub makes them of its headings.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, each := range linesOf(text) {
		match := heading.FindStringSubmatch(each.text)
		if each.fence != "" || match == nil {
			continue
		}
		title := strings.ToLower(linkText.ReplaceAllString(match[1], "$1"))
		found[strings.ReplaceAll(notInAnchor.ReplaceAllString(title, ""), " ", "-")] = true
	}
	return found
}

// Every relative link of a document leads to a file, and to a heading if it names one.
func TestLinks(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, document := range documents(t) {
		text := read(t, document)
		for _, each := range linesOf(text) {
			if each.fence != "" {
				continue
			}
			for _, match := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(each.text, ""), -1) {
				target, anchor, _ := strings.Cut(match[1], "#")
				if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
					continue
				}
				checked++
				path := document
				if target != "" {
					path = filepath.Join(filepath.Dir(document), target)
				}
				if _, err := os.Stat(filepath.Join(root, path)); err != nil {
					t.Errorf("%s:%d: the link %s leads nowhere", document, each.number, match[1])
					continue
				}
				if anchor != "" && strings.HasSuffix(path, ".md") && !anchors(read(t, path))[anchor] {
					t.Errorf("%s:%d: %s has no heading #%s", document, each.number, path, anchor)
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were checked", checked)
	}
}

// Every path of our code that a document names exists.
func TestSourcePaths(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		for _, each := range linesOf(read(t, document)) {
			if each.fence != "" {
				continue
			}
			for _, match := range sourcePath.FindAllStringSubmatch(each.text, -1) {
				if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
					t.Errorf("%s:%d: there is no %s", document, each.number, match[1])
				}
			}
		}
	}
}

// testFunctions returns the names of all tests of the project, and of the tests that packages export for others.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		source, err := os.ReadFile(path)
		for _, match := range testFunc.FindAllSubmatch(source, -1) {
			names[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Every test that a document names exists.
func TestNamesOfTests(t *testing.T) {
	t.Parallel()
	known := testFunctions(t)
	checked := 0
	for _, document := range documents(t) {
		for _, each := range linesOf(read(t, document)) {
			for _, name := range testName.FindAllString(each.text, -1) {
				checked++
				if !known[name] {
					t.Errorf("%s:%d: there is no test %s", document, each.number, name)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no names of tests were found")
	}
}

// Lines are short enough to be read. What a program printed is as wide as it is.
func TestLineLength(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		if slices.Contains(generated, document) || strings.HasPrefix(document, "docs/events/") {
			continue
		}
		for _, each := range linesOf(read(t, document)) {
			if length := utf8.RuneCountInString(each.text); length > maxLine && each.fence != "console" {
				t.Errorf("%s:%d has %d characters, the limit is %d", document, each.number, length, maxLine)
			}
		}
	}
}
