// Package output prints what commands have found, as a table, JSON or YAML, and says with which status the program exits.
package output

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// The statuses with which the program exits.
const (
	StatusOK         = 0
	StatusFailed     = 1 // the command could not be carried out
	StatusProblems   = 2 // it was carried out, and something is not in order
	StatusIncomplete = 3 // some receivers did not answer, so that the result lacks what they know
)

// StatusError is an error with a status. Without a text nothing is printed for it: the output has said it.
type StatusError struct {
	Status int
	Err    error
}

func (e *StatusError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *StatusError) Unwrap() error { return e.Err }

// Problems is returned by a command whose output has named problems.
var Problems = &StatusError{Status: StatusProblems} //nolint:errname // it is a result

// StatusOf returns the status for an error.
func StatusOf(err error) int {
	status := new(StatusError)
	switch {
	case err == nil:
		return StatusOK
	case errors.As(err, &status):
		return status.Status
	}
	return StatusFailed
}

// Format is the value of --output.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// AddFlag adds --output.
func (f *Format) AddFlag(flags *pflag.FlagSet) {
	*f = Table
	flags.VarP(f, "output", "o", "table, json or yaml")
}

func (f *Format) String() string { return string(*f) }

// Type is shown in help.
func (f *Format) Type() string { return "FORMAT" }

// Set accepts a format.
func (f *Format) Set(text string) error {
	switch Format(text) {
	case Table, JSON, YAML:
		*f = Format(text)
		return nil
	}
	return errors.New("want table, json or yaml")
}

// Print prints a value as JSON or YAML, or calls table.
func (f *Format) Print(w io.Writer, value any, table func(io.Writer) error) error {
	switch *f {
	case JSON:
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case YAML:
		data, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		_, err = w.Write(data)
		return err
	default:
		return table(w)
	}
}

// Columns prints rows in columns, as kubectl does. The first row has the names.
func Columns(w io.Writer, rows [][]string) error {
	out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(out, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return out.Flush()
}

// Age formats a duration in its largest unit.
func Age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Counted returns a number with its noun.
func Counted(count int, one, many string) string {
	if count == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", count, many)
}

// ShortAddress keeps of a mail address what tells two apart without naming them: a…@shop.example. Another text stays as it is.
func ShortAddress(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 1 {
		return address
	}
	first := []rune(address)[0]
	return string(first) + "…" + address[at:]
}

// Color is an ANSI colour.
type Color string

// The colours of levels.
const (
	Green  Color = "\x1b[32m"
	Yellow Color = "\x1b[33m"
	Red    Color = "\x1b[31m"
	reset        = "\x1b[0m"
)

// Paint colours a text if w is a terminal and NO_COLOR is not set.
func Paint(w io.Writer, color Color, text string) string {
	if file, ok := w.(*os.File); !ok || os.Getenv("NO_COLOR") != "" || !isTerminal(file) {
		return text
	}
	return string(color) + text + reset
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Interactive reports whether a person looks at w.
func Interactive(w any) bool {
	file, ok := w.(*os.File)
	return ok && isTerminal(file)
}
