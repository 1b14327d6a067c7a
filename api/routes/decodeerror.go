package routes

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/nearest"
)

var (
	unknownField = regexp.MustCompile(`json: unknown field "([A-Za-z]{1,40})"`)
	wrongType    = regexp.MustCompile(`json: cannot unmarshal ([a-z]+)(?: .*)? into Go (?:struct field ([A-Za-z.]+)|value) of type (.+)$`)
	noise        = regexp.MustCompile(`^(?:error (?:converting YAML to JSON|unmarshaling JSON): )?(?:while decoding JSON: )?(?:yaml: )?(?:unmarshal errors:\s*)?`)
)

// decodeError says what is wrong with a document, in the words of the document instead of the decoder's. It quotes no value.
func decodeError(data []byte, err error) error {
	if found := unknownField.FindStringSubmatch(err.Error()); found != nil {
		return fmt.Errorf("decoding routes: %s", describeUnknown(data, found[1]))
	}
	text := withoutValues(err.Error())
	if found := wrongType.FindStringSubmatch(text); found != nil {
		path := strings.Split(found[2], ".")
		field := path[len(path)-1]
		return fmt.Errorf("decoding routes: %sthe field %s must be %s, and is a %s", lineOf(data, field), field, kindNames(found[3]), found[1])
	}
	return fmt.Errorf("decoding routes: %s", noise.ReplaceAllString(text, ""))
}

// describeUnknown names the line of a field that does not exist, and what exists.
func describeUnknown(data []byte, field string) string {
	text := fmt.Sprintf("%sunknown field %q", lineOf(data, field), field)
	var all []string
	for _, part := range parts {
		all = append(all, part.fields...)
	}
	if slices.Contains(all, field) {
		text += " at this place"
	} else if near := nearest.DidYouMean(field, all); near != "" {
		return text + near
	}
	var known []string
	for _, part := range parts {
		known = append(known, part.name+" has "+strings.Join(part.fields, ", "))
	}
	return text + "; " + strings.Join(known, "; ")
}

// lineOf returns "line N: " for the first field of a name, or "" if it is not found.
func lineOf(data []byte, field string) string {
	position := regexp.MustCompile(`(?m)(?:^|[\s{,"-])` + regexp.QuoteMeta(field) + `"?\s*:`).FindIndex(data)
	if field == "" || position == nil {
		return ""
	}
	return fmt.Sprintf("line %d: ", 1+strings.Count(strings.TrimRight(string(data[:position[0]+1]), " \t"), "\n"))
}

// kindNames says what a type of Go is in YAML.
func kindNames(goType string) string {
	switch {
	case goType == "bool":
		return "true or false"
	case goType == "string":
		return "a text"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"):
		return "a number"
	}
	return "an object"
}

type part struct {
	name   string
	fields []string
}

// parts are the fields of each part of a document.
var parts = []part{
	{"a document", fieldsOf(reflect.TypeFor[Document]())}, {"a route", fieldsOf(reflect.TypeFor[Route]())}, {"sink", fieldsOf(reflect.TypeFor[Sink]())},
	{"delivery", fieldsOf(reflect.TypeFor[Delivery]())}, {"ceOverrides", fieldsOf(reflect.TypeFor[Overrides]())},
}

func fieldsOf(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "writtenBy" && name != "object" { // these two are the operator's
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
