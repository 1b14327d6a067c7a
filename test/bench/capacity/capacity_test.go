package main

import (
	"math"
	"os"
	"strings"
	"testing"
)

// The table of volumes in the document is what the program computes.
func TestTheDocumentHasTheVolumes(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	table, err := volumeTable()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(document), table) {
		t.Errorf("docs/capacity.md lacks this table, which go run ./test/bench/capacity prints:\n%s", table)
	}
}

// The bytes of a stored event, from which the volumes are computed, are those that the buffer takes.
func TestAStoredEventTakesTheBytesThatVolumesAreComputedFrom(t *testing.T) {
	t.Parallel()
	for _, measured := range storedEvents {
		found, err := store(t.Context(), t.TempDir(), measured.shape, measured.batch, max(3, 30/measured.batch))
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(found.stored/measured.bytes-1) > 0.1 {
			t.Errorf("an event (%s) in batches of %d takes %.0f bytes in the buffer, want %.0f within 10 %%", measured.shape, measured.batch, found.stored, measured.bytes)
		}
	}
}

func TestAnOutageBeginsInTheBusyHours(t *testing.T) {
	t.Parallel()
	for hours, want := range map[int]float64{1: 2, 8: 16, 12: 18, 24: 24, 72: 72} {
		if got := eventsWithin(24, hours); got != want {
			t.Errorf("%d hours have %v hours' events, want %v", hours, got, want)
		}
	}
}

func TestABufferHoldsWhatItIsComputedFor(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[float64]string{1: "64Mi", 50e6: "128Mi", 1e9: "2Gi"} {
		got, err := bufferFor(bytes)
		if err != nil || quantity(got) != want {
			t.Errorf("a buffer for %v bytes of batches has %s, %v, want %s", bytes, quantity(got), err, want)
		}
	}
}
