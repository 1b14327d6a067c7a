package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// table is a table of results in Markdown.
type table struct{ rows [][2]string }

// add appends a row and logs it, because the table is printed only at the end.
func (t *table) add(measure, format string, args ...any) {
	value := fmt.Sprintf(format, args...)
	harness.Logf("%s: %s", measure, value)
	t.rows = append(t.rows, [2]string{measure, value})
}

func (t *table) String() string {
	var text strings.Builder
	text.WriteString("| measure | value |\n|---|---|\n")
	for _, row := range t.rows {
		fmt.Fprintf(&text, "| %s | %s |\n", row[0], row[1])
	}
	return text.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// rate formats a duration, and the number per second.
func rate(count int, took time.Duration) string {
	return fmt.Sprintf("%s, %.0f per second", seconds(took), float64(count)/took.Seconds())
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// medianAndMax formats the median and the maximum.
func medianAndMax(list []time.Duration) string {
	sorted := slices.Sorted(slices.Values(list))
	median := (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	return fmt.Sprintf("median %d ms, max %d ms", median.Milliseconds(), sorted[len(sorted)-1].Milliseconds())
}
