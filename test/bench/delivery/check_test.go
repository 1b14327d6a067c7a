package main

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// measured returns measurements in which the receiver needs some processor time per event, and the others 10 µs.
func measured(rate, cpu float64) *measurements {
	m := &measurements{cases: cases[:1], samples: map[string]map[string][]sample{cases[0].name(): {}}}
	for _, of := range subjects {
		s := sample{rate: 1000, cpu: 10, p50: time.Millisecond, p99: time.Millisecond}
		if of.role == "" {
			s.rate, s.cpu = rate, cpu
		}
		m.samples[cases[0].name()][of.name] = []sample{s, s, s}
	}
	return m
}

func TestTheCheckFailsWhenARatioFalls(t *testing.T) {
	t.Parallel()
	baseline := measured(1000, 10).ratios()
	for name, test := range map[string]struct {
		rate, cpu float64
		want      string
	}{
		"the same":            {1000, 10, ""},
		"better":              {2000, 5, ""},
		"a little worse":      {850, 11.5, ""},
		"slower":              {750, 10, "the ratio of events per second fell from 1.00 to 0.75"},
		"more processor time": {1000, 13, "the ratio of processor time per event fell from 1.00 to 0.77"},
		"not a number":        {math.NaN(), 10, "events per second"},
	} {
		err := compare(baseline, measured(test.rate, test.cpu).ratios())
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestTheCheckFailsWithoutMeasurements(t *testing.T) {
	t.Parallel()
	baseline := measured(1000, 10).ratios()
	if len(baseline) != len(comparisons) {
		t.Errorf("%d ratios, want %d", len(baseline), len(comparisons))
	}
	if err := compare(baseline, ratios{}); err == nil || !strings.Contains(err.Error(), "was not measured") {
		t.Errorf("nothing was measured: %v", err)
	}
	if got := baseline.of(cases[0].name() + ",memory"); len(got) != len(baseline) {
		t.Errorf("%d ratios of the case, want %d", len(got), len(baseline))
	}
	if err := compare(baseline.of("memory"), baseline); err == nil {
		t.Error("without a case nothing is checked")
	}
	if err := compare(ratios{}, baseline); err == nil {
		t.Error("an empty baseline is accepted")
	}
}

// One disturbed round of five must not decide.
func TestRatiosAreMediansOfRounds(t *testing.T) {
	t.Parallel()
	m := measured(1000, 10)
	for name, samples := range m.samples[cases[0].name()] {
		if name == "direct" {
			samples[1].rate, samples[1].cpu = 1, 1000
		}
	}
	for name, got := range m.ratios() {
		if got != (ratio{1, 1}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheBaselineIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	path, want := filepath.Join(t.TempDir(), "baseline.json"), measured(900, 11).ratios()
	if err := writeRatios(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := readRatios(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The baseline of the repository has the ratios that the benchmark measures, so that the check judges all of them.
func TestTheBaselineIsComplete(t *testing.T) {
	t.Parallel()
	baseline, err := readRatios("baseline.json")
	if err != nil {
		t.Fatal(err)
	}
	if want := len(cases) * len(comparisons); len(baseline) != want {
		t.Errorf("%d ratios, want %d", len(baseline), want)
	}
}

func TestEventsDifferInIDsAndSizes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	least, most := math.MaxInt, 0
	for _, seed := range []uint64{1, 2} {
		for _, event := range newEventGenerator(seed).events(1000) {
			if seen[string(event)] {
				t.Fatalf("twice: %s", event)
			}
			seen[string(event)] = true
			least, most = min(least, len(event)), max(most, len(event))
		}
	}
	if least < minEventBytes || most > maxEventBytes+1000 {
		t.Errorf("events of %d to %d bytes", least, most)
	}
}
