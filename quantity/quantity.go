// Package quantity has flags whose values are sizes, with the units that Kubernetes uses: 800Mi, 1Gi, or a number of bytes.
package quantity

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Parse returns a size in bytes. Errors say what may be meant.
func Parse(text string) (int64, error) {
	if bytes, ok := parse(text); ok {
		return bytes, nil
	}
	return 0, wrong(text)
}

// number is how a size begins: the library takes a unit alone for 0.
var number = regexp.MustCompile(`^[+-]?[0-9]`)

// parse returns a size if a text is one. Fractions of a byte are none, and neither is what the library caps because it does not fit.
func parse(text string) (int64, bool) {
	parsed, err := resource.ParseQuantity(text)
	if err != nil || !number.MatchString(text) {
		return 0, false
	}
	bytes := parsed.Value()
	return bytes, parsed.CmpInt64(bytes) == 0 && bytes != math.MaxInt64
}

// alike are ways to write sizes that other programs take.
var alike = regexp.MustCompile(`(?i)^\s*([0-9]+(?:[.,_ ][0-9]+)*)\s*(?:([kmgtpe])i?)?(?:b|bytes?)?\s*$`)

// wrong returns an error for a text that is not a size.
func wrong(text string) error {
	const units = "a size is a number of bytes, or has a unit such as 800Mi or 1Gi"
	match := alike.FindStringSubmatch(text)
	if match == nil {
		return errors.New(units)
	}
	suggestion := strings.NewReplacer(",", "", "_", "", " ", "").Replace(match[1])
	if letter := strings.ToUpper(match[2]); letter != "" {
		suggestion += letter + "i"
	}
	if _, ok := parse(suggestion); !ok {
		return errors.New(units)
	}
	return fmt.Errorf("%s; did you mean %s?", units, suggestion)
}

// Format returns a size with the largest unit that leaves it whole.
func Format(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }

type value struct{ bytes *int64 }

// Value returns the value of a flag that sets bytes, which has its default until then.
func Value(bytes *int64, preset int64) flag.Value {
	*bytes = preset
	return value{bytes}
}

func (v value) Set(text string) (err error) {
	bytes, err := Parse(text)
	if err == nil {
		*v.bytes = bytes
	}
	return err
}

// String returns the value as the help shows it.
func (v value) String() string {
	if v.bytes == nil { // the flag package asks for the zero value
		return "0"
	}
	return Format(*v.bytes)
}
