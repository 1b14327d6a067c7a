// Package reasons explains conditions and reasons by the comments of api/v1alpha1, which are the only place where the remedies are
// written.
package reasons

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/nearest"
)

// Reason is a condition or a reason.
type Reason struct {
	Name      string `json:"name"`
	Condition bool   `json:"condition,omitempty"` // it is a condition, not a reason
	Text      string `json:"text"`                // what it means, and what to do about it
	Remedy    string `json:"remedy,omitempty"`    // what to do about it, empty for a condition
}

var all = sync.OnceValues(func() ([]Reason, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "conditions.go", v1alpha1.ConditionsSource(), parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("reading the reasons: %w", err)
	}
	var list []Reason
	for _, declaration := range file.Decls {
		constants, ok := declaration.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			if reason, ok := read(spec.(*ast.ValueSpec)); ok {
				list = append(list, reason)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Reason) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
})

// read returns the reason of a constant, whose comment begins with the constant's name.
func read(constant *ast.ValueSpec) (Reason, bool) {
	literal, ok := constant.Values[0].(*ast.BasicLit)
	if !ok {
		return Reason{}, false
	}
	name, err := strconv.Unquote(literal.Value)
	if err != nil {
		return Reason{}, false
	}
	text := strings.Join(strings.Fields(constant.Doc.Text()), " ")
	text = strings.TrimPrefix(text, constant.Names[0].Name)
	text = strings.TrimLeft(text, ": ")
	if text != "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	list := slices.DeleteFunc(sentences(text), func(sentence string) bool { return strings.HasPrefix(sentence, forReaders) })
	reason := Reason{Name: name, Condition: strings.HasPrefix(constant.Names[0].Name, "Condition"), Text: strings.Join(list, " ")}
	if !reason.Condition && len(list) > 1 {
		reason.Remedy = strings.Join(list[1:], " ")
	}
	return reason, true
}

// forReaders begins sentences of the comments that are no use to somebody who has the reason before them.
const forReaders = "Also "

// sentences splits a text after full stops that a capital follows.
func sentences(text string) (list []string) {
	begin := 0
	for at := range text {
		if strings.HasPrefix(text[at:], ". ") && at+2 < len(text) && unicode.IsUpper(rune(text[at+2])) {
			list = append(list, text[begin:at+1])
			begin = at + 2
		}
	}
	if begin < len(text) {
		list = append(list, text[begin:])
	}
	return list
}

// All returns all conditions and reasons, by name.
func All() ([]Reason, error) { return all() }

// Find returns the conditions and reasons of a name, in any case: a condition and a reason may have the same one. For a name that
// does not exist the error names the closest one.
func Find(name string) ([]Reason, error) {
	list, err := All()
	if err != nil {
		return nil, err
	}
	var found []Reason
	var names []string
	for _, reason := range list {
		if strings.EqualFold(reason.Name, name) {
			found = append(found, reason)
		}
		names = append(names, reason.Name)
	}
	if len(found) > 0 {
		return found, nil
	}
	if near := nearest.DidYouMean(name, names); near != "" {
		return nil, fmt.Errorf("there is no reason %q%s", name, near)
	}
	return nil, fmt.Errorf("there is no reason %q: kubectl mandrill explain without a name lists all", name)
}

// Remedy returns what to do about a reason of a condition, or "".
func Remedy(name string) string {
	found, err := Find(name)
	if err != nil {
		return ""
	}
	for _, reason := range found {
		if !reason.Condition {
			return reason.Remedy
		}
	}
	return ""
}
