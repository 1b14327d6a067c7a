package imports_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The shape of the code: what a reader can take in at once.
const (
	maxFunctionLines = 60
	maxFunctionP90   = 30 // nine of ten functions have no more
	maxFileLines     = 400
	maxPackageLines  = 3000
)

// source is a parsed file of ours that is neither a test nor generated.
type source struct {
	path string // from the root of the module
	file *ast.File
	set  *token.FileSet
}

func (s source) lines(node ast.Node) int {
	return s.set.Position(node.End()).Line - s.set.Position(node.Pos()).Line + 1
}

func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."), entry.IsDir() && (entry.Name() == "bin" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		relative, err := filepath.Rel(root, path)
		list = append(list, source{filepath.ToSlash(relative), file, set})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestSizes(t *testing.T) {
	t.Parallel()
	var functions []int
	lines := map[string]int{}
	for _, s := range sources(t) {
		folder := filepath.Dir(s.path)
		size := s.set.File(s.file.FileStart).LineCount()
		lines[folder] += size
		if size > maxFileLines {
			t.Errorf("%s has %d lines, want at most %d", s.path, size, maxFileLines)
		}
		for _, declaration := range s.file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			size := s.lines(function)
			functions = append(functions, size)
			if size > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, want at most %d", s.path, function.Name.Name, size, maxFunctionLines)
			}
		}
	}
	if len(lines) < 20 {
		t.Fatalf("only %d packages were found", len(lines))
	}
	for folder, size := range lines {
		if size > maxPackageLines {
			t.Errorf("%s has %d lines, want at most %d", folder, size, maxPackageLines)
		}
	}
	slices.Sort(functions)
	if p90 := functions[len(functions)*9/10]; p90 > maxFunctionP90 {
		t.Errorf("nine of ten functions have up to %d lines, want at most %d", p90, maxFunctionP90)
	}
}

// A struct that embeds a pointer to another of ours shows the reader fields and methods of two types, and hides whose lock
// guards what.
func TestNoEmbeddedPointers(t *testing.T) {
	t.Parallel()
	ours := map[string]bool{} // types by folder and name
	list := sources(t)
	for _, s := range list {
		ast.Inspect(s.file, func(node ast.Node) bool {
			if spec, ok := node.(*ast.TypeSpec); ok {
				ours[filepath.Dir(s.path)+"."+spec.Name.Name] = true
			}
			return true
		})
	}
	structs := 0
	for _, s := range list {
		ast.Inspect(s.file, func(node ast.Node) bool {
			fields, ok := node.(*ast.StructType)
			if !ok {
				return true
			}
			structs++
			for _, field := range fields.Fields.List {
				pointer, ok := field.Type.(*ast.StarExpr)
				if !ok || len(field.Names) > 0 {
					continue
				}
				if name, local := pointer.X.(*ast.Ident); local && ours[filepath.Dir(s.path)+"."+name.Name] {
					t.Errorf("%s: a struct embeds *%s: give it a field", s.set.Position(field.Pos()), name.Name)
				}
				if selector, imported := pointer.X.(*ast.SelectorExpr); imported && isOurs(s.file, selector) {
					t.Errorf("%s: a struct embeds *%s: give it a field", s.set.Position(field.Pos()), selector.Sel.Name)
				}
			}
			return true
		})
	}
	if structs == 0 {
		t.Error("nothing was checked")
	}
}

// isOurs reports whether a selector names a type of a package of this module.
func isOurs(file *ast.File, selector *ast.SelectorExpr) bool {
	name, ok := selector.X.(*ast.Ident)
	return ok && slices.ContainsFunc(file.Imports, func(spec *ast.ImportSpec) bool {
		path := strings.Trim(spec.Path.Value, `"`)
		return strings.HasPrefix(path, module+"/") && (spec.Name == nil && filepath.Base(path) == name.Name || spec.Name != nil && spec.Name.Name == name.Name)
	})
}
