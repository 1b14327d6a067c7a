package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/events"
)

// kind is what a field is in the normal form. Its text is in the table of the npm package.
type kind string

const (
	text           kind = "text"
	date           kind = "date"
	timestamp      kind = "timestamp"
	integer        kind = "integer"
	number         kind = "number"
	optionalNumber kind = "optionalNumber"
	flag           kind = "flag"
	optionalFlag   kind = "optionalFlag"
	texts          kind = "texts"
	list           kind = "list"
	addresses      kind = "addresses"
	headers        kind = "headers"
	metadata       kind = "metadata"
	object         kind = "object"
	optionalObject kind = "optionalObject"
	objects        kind = "objects"
	objectMap      kind = "objectMap"
)

// structure is a struct of package events.
type structure struct {
	name   string
	doc    string
	fields []field
}

// field is a field of a structure.
type field struct {
	name, alias string
	doc         string
	certainty   string // documented, seen, assumed or defined
	since       string // the year of the oldest event with it, if that is known
	kind        kind
	of          *structure // of objects
	omitted     bool       // from the normal form when there is nothing
	orText      bool
}

// comments are the doc comments of types, and of fields by type and field.
type comments map[string]string

// readComments reads the comments of a package.
func readComments(folder string) (comments, error) {
	found := comments{}
	packages, err := parser.ParseDir(token.NewFileSet(), folder, nil, parser.ParseComments) //nolint:staticcheck // build tags do not matter here
	if err != nil {
		return nil, err
	}
	ast.Inspect(packages["events"], func(node ast.Node) bool {
		declaration, ok := node.(*ast.GenDecl)
		if !ok || declaration.Tok != token.TYPE {
			return true
		}
		for _, spec := range declaration.Specs {
			declared := spec.(*ast.TypeSpec)
			found[declared.Name.Name] = oneLine(declaration.Doc)
			if fields, ok := declared.Type.(*ast.StructType); ok {
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						found[declared.Name.Name+"."+name.Name] = oneLine(f.Doc)
					}
				}
			}
		}
		return false
	})
	return found, nil
}

func oneLine(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(strings.ReplaceAll(doc.Text(), "[]", "⟦⟧"))), " ")
}

// certainty is how the comment of a field ends.
var certainty = regexp.MustCompile(`^(.*?) (Documented|Seen|Assumed|Defined)(?:, seen)?(?: since (\d{4}))?\.$`)

var leading = regexp.MustCompile(`^\w+ (?:is|are|says) `)

// describe makes a description of a comment: of a Go field, or of a type.
func describe(comment string) string {
	comment = strings.ReplaceAll(leading.ReplaceAllString(comment, ""), "⟦⟧", "[]")
	return strings.ToUpper(comment[:1]) + comment[1:]
}

// model reads the structures of package events.
type model struct {
	comments   comments
	structures map[reflect.Type]*structure
	order      []*structure
}

func (m *model) structure(t reflect.Type) (*structure, error) {
	if known := m.structures[t]; known != nil {
		return known, nil
	}
	s := &structure{name: t.Name(), doc: strings.ReplaceAll(m.comments[t.Name()], "⟦⟧", "[]")}
	m.structures[t] = s
	var err error
	if s.fields, err = m.fields(t); err != nil {
		return nil, err
	}
	m.order = append(m.order, s)
	return s, nil
}

func (m *model) fields(t reflect.Type) ([]field, error) {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			inner, err := m.fields(f.Type)
			if err != nil {
				return nil, err
			}
			fields = append(fields, inner...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" {
			continue
		}
		match := certainty.FindStringSubmatch(m.comments[t.Name()+"."+f.Name])
		if match == nil {
			return nil, fmt.Errorf("the comment of %s.%s must end with its certainty, such as Documented, seen since 2015", t.Name(), f.Name)
		}
		one := field{
			name: name, alias: f.Tag.Get("alias"), doc: describe(match[1]), certainty: strings.ToLower(match[2]), since: match[3], omitted: options != "", orText: f.Tag.Get("or") == "text",
		}
		var err error
		if one.kind, one.of, err = m.kind(f.Type); err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t.Name(), f.Name, err)
		}
		fields = append(fields, one)
	}
	return fields, nil
}

var kinds = map[reflect.Type]kind{
	reflect.TypeFor[string]():           text,
	reflect.TypeFor[events.Date]():      date,
	reflect.TypeFor[events.Timestamp](): timestamp,
	reflect.TypeFor[int64]():            integer,
	reflect.TypeFor[float64]():          number,
	reflect.TypeFor[*float64]():         optionalNumber,
	reflect.TypeFor[bool]():             flag,
	reflect.TypeFor[*bool]():            optionalFlag,
	reflect.TypeFor[[]string]():         texts,
	reflect.TypeFor[events.List]():      list,
	reflect.TypeFor[[]events.Address](): addresses,
	reflect.TypeFor[events.Headers]():   headers,
	reflect.TypeFor[events.Metadata]():  metadata,
}

// kind returns the kind of a Go type, and the structure of objects.
func (m *model) kind(t reflect.Type) (kind, *structure, error) {
	if known, ok := kinds[t]; ok {
		return known, nil, nil
	}
	composite := map[reflect.Kind]kind{reflect.Struct: object, reflect.Pointer: optionalObject, reflect.Slice: objects, reflect.Map: objectMap}
	found, ok := composite[t.Kind()]
	if !ok {
		return "", nil, fmt.Errorf("no kind for the type %s", t)
	}
	if t.Kind() != reflect.Struct {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return "", nil, fmt.Errorf("no kind for the type %s", t)
	}
	s, err := m.structure(t)
	return found, s, err
}
