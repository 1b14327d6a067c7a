package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// maxFall is by how much a ratio may be worse than in the baseline.
const maxFall = 0.2

// ratio compares two subjects. Above 1 the first one is better.
type ratio struct {
	Rate float64 `json:"rate"` // of events per second
	CPU  float64 `json:"cpu"`  // of the processor time per event, inverted
}

// ratios are by the names of cases and comparisons.
type ratios map[string]ratio

// ratios returns the medians of the ratios of the rounds: what disturbs a round disturbs all subjects.
func (m *measurements) ratios() ratios { return m.ratiosOf(comparisons) }

func (m *measurements) ratiosOf(compare []comparison) ratios {
	found := ratios{}
	for _, c := range m.cases {
		for _, compared := range compare {
			of, to := m.samples[c.name()][compared.of], m.samples[c.name()][compared.to]
			if len(of) == 0 || len(of) != len(to) {
				continue
			}
			var rates, cpus []float64
			for i := range of {
				rates, cpus = append(rates, of[i].rate/to[i].rate), append(cpus, to[i].cpu/of[i].cpu)
			}
			found[c.name()+" "+compared.name] = ratio{median(rates), median(cpus)}
		}
	}
	return found
}

// of returns the ratios of the cases in a comma-separated list; an empty list has all.
func (r ratios) of(list string) ratios {
	found := ratios{}
	for name, ratio := range r {
		if of, _, _ := strings.Cut(name, " "); selected(list, of) {
			found[name] = ratio
		}
	}
	return found
}

// compare returns an error for each ratio of the baseline that is much worse now, or was not measured.
func compare(baseline, now ratios) error {
	if len(baseline) == 0 {
		return errors.New("the baseline has no ratios")
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(baseline)) {
		want := baseline[name]
		got, measured := now[name]
		if !measured {
			faults = append(faults, fmt.Errorf("%s was not measured", name))
			continue
		}
		for _, value := range []struct {
			of        string
			want, got float64
		}{{"events per second", want.Rate, got.Rate}, {"processor time per event", want.CPU, got.CPU}} {
			if !(value.got >= (1-maxFall)*value.want) { // also not a number
				faults = append(faults, fmt.Errorf("%s: the ratio of %s fell from %.2f to %.2f", name, value.of, value.want, value.got))
			}
		}
	}
	return errors.Join(faults...)
}

func readRatios(path string) (ratios, error) {
	data, err := os.ReadFile(path) //nolint:gosec // named by a flag
	if err != nil {
		return nil, err
	}
	var found ratios
	return found, json.Unmarshal(data, &found)
}

func writeRatios(path string, found ratios) error {
	data, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644) //nolint:gosec // part of the repository
}
