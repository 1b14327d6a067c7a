package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Troubleshooting explains every condition and every reason.
func TestConditions(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/troubleshooting.md")
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/conditions.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, declaration := range file.Decls {
		constants, ok := declaration.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			constant := spec.(*ast.ValueSpec)
			name, literal := constant.Names[0].Name, constant.Values[0].(*ast.BasicLit)
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			checked++
			if !strings.Contains(page, "`"+value+"`") {
				t.Errorf("docs/troubleshooting.md does not mention %s, which is %s", value, name)
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d conditions and reasons were checked", checked)
	}
}
