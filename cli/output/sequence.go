package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// pageRows is how many rows a table collects before it prints them: their columns get the same widths.
const pageRows = 1000

// Sequence prints values as they come, so that the first ones show at once and memory does not depend on their number: as the rows of a
// table, a JSON array or a YAML list.
type Sequence struct {
	format Format
	w      io.Writer
	rows   [][]string
	count  int
}

// NewSequence returns a sequence. The header is that of the table.
func NewSequence(format Format, w io.Writer, header ...string) *Sequence {
	return &Sequence{format: format, w: w, rows: [][]string{header}}
}

// Count is how many values were added.
func (s *Sequence) Count() int { return s.count }

// Add prints a value, or its row.
func (s *Sequence) Add(value any, row func() []string) error {
	s.count++
	switch s.format {
	case JSON:
		return s.addJSON(value)
	case YAML:
		data, err := yaml.Marshal([]any{value})
		if err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		_, err = s.w.Write(data)
		return err
	case Table:
	}
	if s.rows = append(s.rows, row()); len(s.rows) <= pageRows {
		return nil
	}
	return s.flush()
}

func (s *Sequence) addJSON(value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("  ", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encoding the output: %w", err)
	}
	before := ",\n  "
	if s.count == 1 {
		before = "[\n  "
	}
	_, err := io.WriteString(s.w, before+strings.TrimSpace(text.String()))
	return err
}

// flush prints the rows that were collected. The header is printed once.
func (s *Sequence) flush() error {
	rows := s.rows
	s.rows = nil
	if len(rows) == 0 {
		return nil
	}
	return Columns(s.w, rows)
}

// End ends the output. A table without rows prints a sentence instead.
func (s *Sequence) End(none string) (err error) {
	switch {
	case s.format == JSON && s.count > 0:
		_, err = io.WriteString(s.w, "\n]\n")
	case s.format != Table && s.count == 0:
		_, err = io.WriteString(s.w, "[]\n")
	case s.format == Table && s.count == 0:
		_, err = fmt.Fprintln(s.w, none)
	case s.format == Table:
		err = s.flush()
	}
	return err
}
