package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// A day has busyHours with busyFactor times the mean, and others with so much less: 8 × 2 + 16 × 0.5 = 24.
const (
	busyHours  = 8
	busyFactor = 2.0
	restFactor = 0.5
)

// eventsWithin returns the events of the busiest stretch of some hours: an outage begins when the busy hours do.
func eventsWithin(perDay float64, hours int) (events float64) {
	for hour := range hours {
		factor := restFactor
		if hour%24 < busyHours {
			factor = busyFactor
		}
		events += perDay / 24 * factor
	}
	return events
}

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
	// volumePart is the part of a volume that the buffer takes by default.
	volumePart = 0.8
)

// bufferFor returns the smallest --buffer-max-bytes, in steps that people write, whose part for batches holds some bytes.
func bufferFor(bytes float64) (size int64, err error) {
	for size = 64 * mebibyte; ; size += step(size) {
		limits, err := journal.SplitLimits(size, 0)
		if err != nil {
			return 0, err
		}
		if float64(limits.Batches) >= bytes {
			return size, nil
		}
	}
}

// step is 64Mi up to 1Gi, 1Gi up to 64Gi, and 64Gi above.
func step(size int64) int64 {
	switch {
	case size < gibibyte:
		return 64 * mebibyte
	case size < 64*gibibyte:
		return gibibyte
	default:
		return 64 * gibibyte
	}
}

// quantity writes a size as flags take it.
func quantity(bytes int64) string {
	if bytes%gibibyte == 0 {
		return strconv.FormatInt(bytes/gibibyte, 10) + "Gi"
	}
	return strconv.FormatInt(bytes/mebibyte, 10) + "Mi"
}

// volumeFor returns the volume of a buffer, in Gi.
func volumeFor(buffer int64) int64 {
	return int64(math.Ceil(float64(buffer)/volumePart/gibibyte)) * gibibyte
}

// loads are the rows of the table. With more events Mandrill's batches are larger.
var loads = []struct {
	perDay float64
	shape  string
	batch  int
}{
	{100_000, activity, 1}, {100_000, activity, 100}, {1_000_000, activity, 100}, {10_000_000, activity, 1000}, {100_000_000, activity, 1000},
	{10_000, mail, 1}, {100_000, mail, 10},
}

// outages are the columns, in hours. Events are kept for 72 hours by default.
var outages = []int{1, 12, 72}

// volumeTable computes the table of docs/capacity.md.
func volumeTable() (string, error) {
	var text strings.Builder
	text.WriteString("| events a day, events of a batch | rate in the busy hours |")
	for _, hours := range outages {
		fmt.Fprintf(&text, " %d h |", hours)
	}
	text.WriteString("\n|---|---|---|---|---|\n")
	for _, load := range loads {
		fmt.Fprintf(&text, "| %s × %s, %d | %s/s |", thousands(load.perDay), load.shape, load.batch, significant(load.perDay/86400*busyFactor))
		for _, hours := range outages {
			buffer, err := bufferFor(eventsWithin(load.perDay, hours) * storedBytes(load.shape, load.batch))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&text, " %s, %s |", quantity(buffer), quantity(volumeFor(buffer)))
		}
		text.WriteString("\n")
	}
	return text.String(), nil
}

func thousands(number float64) string {
	digits := strconv.FormatFloat(number, 'f', 0, 64)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// significant rounds to two digits.
func significant(number float64) string {
	if number >= 10 {
		return thousands(math.Round(number))
	}
	return strconv.FormatFloat(number, 'g', 2, 64)
}
