package output_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/cli/output"
)

type thing struct {
	Name string            `json:"name"`
	Tags map[string]string `json:"tags,omitempty"`
}

// What is printed value by value is what is printed at once.
func TestASequencePrintsWhatPrintDoes(t *testing.T) {
	t.Parallel()
	for _, format := range []output.Format{output.JSON, output.YAML, output.Table} {
		for count := range 4 {
			things, rows := []thing{}, [][]string{{"NAME", "TAGS"}}
			var got, want bytes.Buffer
			sequence := output.NewSequence(format, &got, "NAME", "TAGS")
			for i := range count {
				one := thing{Name: strings.Repeat("<a>", i+1), Tags: map[string]string{"k": "v"}}
				row := []string{one.Name, "k=v"}
				things, rows = append(things, one), append(rows, row)
				if err := sequence.Add(one, func() []string { return row }); err != nil {
					t.Fatal(err)
				}
			}
			if err := sequence.End("There is none."); err != nil || sequence.Count() != count {
				t.Fatal(sequence.Count(), err)
			}
			err := format.Print(&want, things, func(w io.Writer) error {
				if count == 0 {
					_, err := fmt.Fprintln(w, "There is none.")
					return err
				}
				return output.Columns(w, rows)
			})
			if err != nil || got.String() != want.String() {
				t.Errorf("%s of %d: got\n%s\nwant\n%s, %v", format, count, got.String(), want.String(), err)
			}
		}
	}
}
