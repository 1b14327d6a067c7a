package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

// sample is a measurement with a number of receivers.
type sample struct {
	rate float64 // events per second
	cpu  float64 // processors that the receivers used
	nats float64 // processors that the NATS server used
}

// samples are the measurements of a section, by number of receivers, in order of the rounds.
type samples map[int][]sample

// measureMembers measures one, two and more receivers in turns.
func measureMembers(ctx context.Context, died context.CancelCauseFunc, o options, dir string) (err error) {
	m := &members{options: o, died: died, config: filepath.Join(dir, "routes.yaml")}
	if m.ledger, err = startLedger(ctx, o.webhooks); err != nil {
		return err
	}
	m.nats, err = startNATS(ctx, died, natsStore(dir, "members"), false)
	defer func() { err = errors.Join(err, m.stop(), m.nats.stop()) }()
	if err != nil {
		return err
	}
	drained, steady := samples{}, samples{}
	for round := range o.rounds {
		for count := 1; count <= o.members; count++ {
			begin := time.Now()
			if err := m.measureOnce(ctx, count, drained, steady); err != nil {
				return fmt.Errorf("%d receivers: %w", count, err)
			}
			harness.Logf("round %d with %d receivers took %s: drain %.0f, steady %.0f events/s", round+1, count, time.Since(begin).Round(time.Second),
				last(drained[count]).rate, last(steady[count]).rate)
		}
	}
	fmt.Printf("%d webhooks, %.2f processors per receiver, %d rounds\n\n%s", o.webhooks, o.cpu, o.rounds, table(drained, steady))
	return nil
}

func last(measured []sample) sample {
	if len(measured) == 0 {
		return sample{}
	}
	return measured[len(measured)-1]
}

func (m *members) measureOnce(ctx context.Context, count int, drained, steady samples) error {
	drains := m.options.selected("drain")
	if err := m.writeRoutes(drains); err != nil {
		return err
	}
	if drains {
		if err := m.fill(ctx); err != nil {
			return err
		}
	}
	if err := m.start(ctx, count); err != nil {
		return err
	}
	if drains {
		measured, err := m.drain(ctx)
		if err != nil {
			return err
		}
		drained[count] = append(drained[count], measured)
	}
	if m.options.selected("steady") {
		measured, err := m.steady(ctx)
		if err != nil {
			return err
		}
		steady[count] = append(steady[count], measured)
	}
	return m.stop()
}

// meter counts processor time and events.
type meter struct {
	begin     time.Time
	events    int64
	cpu, nats time.Duration
}

func (m *members) meter() (now meter, err error) {
	now.begin, now.events = time.Now(), m.ledger.arrived.Load()
	now.cpu, err = m.cpu()
	var natsErr error
	now.nats, natsErr = m.nats.program.CPU()
	return now, errors.Join(err, natsErr)
}

// since returns what happened since a meter was read, in some time.
func (m *members) since(before meter, took time.Duration) (sample, error) {
	after, err := m.meter()
	elapsed := after.begin.Sub(before.begin).Seconds()
	return sample{
		rate: float64(after.events-before.events) / took.Seconds(), cpu: (after.cpu - before.cpu).Seconds() / elapsed, nats: (after.nats - before.nats).Seconds() / elapsed,
	}, err
}

// drain measures the delivery of the backlog, from the first event to the last.
func (m *members) drain(ctx context.Context) (sample, error) {
	before, err := m.meter()
	if err != nil {
		return sample{}, err
	}
	m.ledger.startClock()
	if err := m.writeRoutes(false); err != nil {
		return sample{}, err
	}
	if err := m.ledger.awaitAll(ctx); err != nil {
		return sample{}, err
	}
	return m.since(before, m.ledger.took())
}

// steady measures delivery while batches arrive, after a second in which connections are made.
func (m *members) steady(ctx context.Context) (sample, error) {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	l := &load{ledger: m.ledger, addresses: m.addresses()}
	go func() { ended <- l.run(sending) }()
	if err := pause(ctx, time.Second); err != nil {
		return sample{}, err
	}
	before, err := m.meter()
	if err != nil {
		return sample{}, err
	}
	if err := pause(ctx, m.options.steady); err != nil {
		return sample{}, err
	}
	measured, err := m.since(before, time.Since(before.begin))
	stop()
	return measured, errors.Join(err, <-ended, m.ledger.awaitAll(ctx))
}

// pause lets a time pass that is measured.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// table has medians of the rounds.
func table(drained, steady samples) string {
	var text strings.Builder
	text.WriteString("| receivers | backlog, events/s | ÷ one | steady, events/s | ÷ one | processors of the receivers, of NATS |\n|---|---|---|---|---|---|\n")
	for count := 1; len(drained[count])+len(steady[count]) > 0; count++ {
		rates := func(s samples) (string, string) {
			if len(s[count]) == 0 {
				return "", ""
			}
			rate := s.median(count, func(one sample) float64 { return one.rate })
			return fmt.Sprintf("%.0f", rate), fmt.Sprintf("%.2f", rate/s.median(1, func(one sample) float64 { return one.rate }))
		}
		drain, drainRatio := rates(drained)
		flow, flowRatio := rates(steady)
		used := steady
		if len(used[count]) == 0 {
			used = drained
		}
		fmt.Fprintf(&text, "| %d | %s | %s | %s | %s | %.2f, %.2f |\n", count, drain, drainRatio, flow, flowRatio,
			used.median(count, func(one sample) float64 { return one.cpu }), used.median(count, func(one sample) float64 { return one.nats }))
	}
	return text.String()
}

func (s samples) median(count int, value func(sample) float64) float64 {
	values := []float64{}
	for _, each := range s[count] {
		values = append(values, value(each))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
