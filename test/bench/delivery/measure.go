package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// sample is one measurement of a subject.
type sample struct {
	rate       float64       // events per second
	cpu        float64       // microseconds of the subject's processor time per event
	p50, p99   time.Duration // of a batch, or of a request of a poster
	eventBytes float64
}

// measurements are the samples of each case and subject, in order of the rounds.
type measurements struct {
	cases   []benchCase
	samples map[string]map[string][]sample
	memory  []row
}

type row struct{ measure, value string }

func measureAll(ctx context.Context, o options) (found *measurements, err error) {
	ctx, died := context.WithCancelCause(ctx)
	defer died(nil)
	s, err := startStack(ctx, died, o)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return nil, err
	}
	found = &measurements{samples: map[string]map[string][]sample{}}
	for _, c := range cases {
		if !selected(o.only, c.name()) {
			continue
		}
		begin := time.Now()
		if err := s.measureCase(c, found); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name(), err)
		}
		harness.Logf("%s took %s", c.name(), time.Since(begin).Round(time.Second))
		if o.profile != "" {
			if err := s.profile(c); err != nil {
				return nil, err
			}
		}
	}
	if selected(o.only, "memory") && o.profile == "" && selected(o.subjects, "direct") {
		if found.memory, err = s.measureMemory(); err != nil {
			return nil, fmt.Errorf("memory: %w", err)
		}
	}
	if len(found.cases) == 0 && found.memory == nil {
		return nil, fmt.Errorf("no case is named %q", o.only)
	}
	return found, nil
}

// measureCase measures the subjects of a case in turns. A first round is not counted: connections and caches are cold.
func (s *stack) measureCase(c benchCase, found *measurements) error {
	bySubject := map[string][]sample{}
	for round := range s.options.rounds + 1 {
		for _, of := range subjects {
			if !selected(s.options.subjects, of.name) {
				continue
			}
			measured, err := s.measure(c, of)
			if err != nil {
				return fmt.Errorf("%s: %w", of.name, err)
			}
			if round > 0 {
				bySubject[of.name] = append(bySubject[of.name], measured)
			}
		}
	}
	found.cases = append(found.cases, c)
	found.samples[c.name()] = bySubject
	return nil
}

// measureMemory measures receivers at rest, and one while 64 batches arrive at once.
func (s *stack) measureMemory() ([]row, error) {
	var rows []row
	for _, with := range []struct {
		name  string
		flags []string
	}{{"without a buffer", nil}, {"with a buffer", []string{"--buffer=embedded", "--buffer-dir", s.dir + "/buffer"}}} {
		r, err := s.startReceiver(with.flags...)
		if err != nil {
			return nil, err
		}
		<-time.After(settleTime)
		idle, err := r.program.Memory()
		if err := errors.Join(err, r.program.Stop()); err != nil {
			return nil, err
		}
		rows = append(rows, row{"Memory at rest, " + with.name, mib(idle)})
	}
	r, err := s.startReceiver()
	if err != nil {
		return nil, err
	}
	used := s.receiver
	s.receiver = r
	defer func() { s.receiver = used }()
	most := benchCase{size: 1000, inflight: 64, webhooks: 1, batches: 64}
	measured, err := s.measure(most, subjects[0])
	peak, peakErr := r.program.PeakMemory()
	rows = append(rows, row{fmt.Sprintf("Peak, 64 batches of 1000 events of %.1f KB at once", measured.eventBytes/1000), mib(peak)})
	return rows, errors.Join(err, peakErr, r.program.Stop())
}

// settleTime is how long a receiver runs before its memory at rest is read.
const settleTime = 3 * time.Second

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

// medianOf returns the median of a value of samples.
func medianOf(samples []sample, value func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return median(values)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// tables returns what was measured as tables in Markdown.
func (m *measurements) tables() string {
	var text strings.Builder
	if len(m.cases) > 0 {
		text.WriteString("| events × batches at a time × webhooks | subject | events/s | processor time per event | p50 | p99 |\n|---|---|---|---|---|---|\n")
	}
	for _, c := range m.cases {
		for _, of := range subjects {
			samples := m.samples[c.name()][of.name]
			if len(samples) == 0 {
				continue
			}
			fmt.Fprintf(&text, "| %s | %s | %.0f | %.1f µs | %.2f ms | %.2f ms |\n", c.name(), of.name,
				medianOf(samples, func(s sample) float64 { return s.rate }), medianOf(samples, func(s sample) float64 { return s.cpu }),
				medianOf(samples, func(s sample) float64 { return s.p50.Seconds() * 1000 }), medianOf(samples, func(s sample) float64 { return s.p99.Seconds() * 1000 }))
		}
	}
	all := slices.Concat(comparisons, explanations)
	if found := m.ratiosOf(all); len(found) > 0 {
		text.WriteString("\n| events × batches at a time × webhooks | ratio | of events/s | of processor time |\n|---|---|---|---|\n")
		for _, c := range m.cases {
			for _, compared := range all {
				if r, ok := found[c.name()+" "+compared.name]; ok {
					fmt.Fprintf(&text, "| %s | %s | %.2f | %.2f |\n", c.name(), compared.name, r.Rate, r.CPU)
				}
			}
		}
	}
	if len(m.memory) > 0 {
		text.WriteString("\n| measure | value |\n|---|---|\n")
	}
	for _, r := range m.memory {
		fmt.Fprintf(&text, "| %s | %s |\n", r.measure, r.value)
	}
	return text.String()
}
