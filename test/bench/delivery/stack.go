package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	webhooks     = 100
	startTimeout = time.Minute
)

// stack is what runs during a measurement.
type stack struct {
	ctx       context.Context //nolint:containedctx // of all that runs
	died      context.CancelCauseFunc
	options   options
	dir       string
	processes map[string]*process // by role
	receiver  *receiverProcess
	seed      uint64
	sinkURL   string
}

func startStack(ctx context.Context, died context.CancelCauseFunc, o options) (s *stack, err error) {
	s = &stack{ctx: ctx, died: died, options: o, processes: map[string]*process{}, seed: uint64(time.Now().UnixNano())}
	if s.dir, err = os.MkdirTemp("", "mandrill-delivery-bench-"); err != nil {
		return s, err
	}
	for _, name := range []string{roleSink, roleLoad, rolePlain, roleFloor, roleNetHTTP, roleFastHTTP} {
		p, err := startProcess(died, name)
		if p != nil {
			s.processes[name] = p
		}
		if err != nil {
			return s, err
		}
	}
	s.sinkURL = s.processes[roleSink].address
	if err := s.writeRoutes(); err != nil {
		return s, err
	}
	s.receiver, err = s.startReceiver()
	return s, err
}

// stop stops everything.
func (s *stack) stop() error {
	var errs []error
	if s.receiver != nil {
		errs = append(errs, s.receiver.program.Stop())
	}
	for _, p := range s.processes {
		errs = append(errs, p.program.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

func (s *stack) config() string { return filepath.Join(s.dir, "routes.yaml") }

// writeRoutes writes routes with the webhooks of both modes.
func (s *stack) writeRoutes() error {
	document := routes.Document{}
	for _, batched := range []bool{false, true} {
		mode := "Binary"
		if batched {
			mode = "Batched"
		}
		for i := range webhooks {
			document.Routes = append(document.Routes, routes.Route{
				Name: "shop/" + mode + strconv.Itoa(i), URL: hookURL(batched, i), Keys: []string{signingKey},
				Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/bench",
				Sink:   routes.Sink{URI: s.sinkURL}, Delivery: routes.Delivery{Mode: routes.ModeDirect, ContentMode: mode},
			})
		}
	}
	data, err := document.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(s.config(), data, 0o600)
}

// receiverProcess is a receiver in mode Direct.
type receiverProcess struct {
	program         *harness.Program
	address, pprofs string
}

func (s *stack) startReceiver(flags ...string) (*receiverProcess, error) {
	r := &receiverProcess{}
	var admin string
	for _, address := range []*string{&r.address, &r.pprofs, &admin} {
		var err error
		if *address, err = loopback.Address(s.ctx); err != nil {
			return r, err
		}
	}
	arguments := append([]string{"--shutdown-delay=0s", "--config", s.config(), "--listen", r.address, "--metrics-listen", admin, "--log-level=warn"}, flags...)
	if s.options.profile != "" {
		arguments = append(arguments, "--pprof-listen", r.pprofs)
	}
	var err error
	if r.program, err = harness.StartCommand(s.died, "receiver", harness.Command(s.options.receiver, arguments...)); err != nil {
		return r, err
	}
	return r, harness.AwaitMetrics(s.ctx, admin, "the receiver's start", startTimeout, func(m harness.Metrics) bool {
		return int(m.Sum("mandrill_receiver_routes")) == 2*webhooks
	})
}

// measure measures a subject once.
func (s *stack) measure(c benchCase, of subject) (sample, error) {
	s.seed++
	j := job{Do: "prepare", Sink: s.sinkURL, Seed: s.seed, Size: c.size, Batches: c.batches * s.options.scale / 100, Webhooks: c.webhooks, Batched: of.batched}
	j.Batches = max(j.Batches, 1)
	client, program := s.processes[roleLoad], s.receiver.program
	switch of.role {
	case "":
		j.To, j.Inflight = s.receiver.address, c.inflight
	case rolePlain, roleFloor:
		server := s.processes[of.role]
		if _, err := server.do(j); err != nil {
			return sample{}, err
		}
		j.To, j.Inflight, program = server.address, c.inflight, server.program
	default:
		client, program, j.Inflight = s.processes[of.role], s.processes[of.role].program, c.requests()
		if of.batched {
			j.Inflight = min(j.Inflight, c.inflight*max(1, c.size/rawBatch))
		}
	}
	prepared, err := client.do(j)
	if err != nil {
		return sample{}, err
	}
	j.Do = "run"
	return s.run(client, program, j, prepared.Bytes)
}

// run does a prepared job, and measures a program meanwhile.
func (s *stack) run(client *process, program *harness.Program, j job, bytes int) (sample, error) {
	before, err := program.CPU()
	if err != nil {
		return sample{}, err
	}
	ran, err := client.do(j)
	if err != nil {
		return sample{}, err
	}
	after, err := program.CPU()
	if err != nil {
		return sample{}, err
	}
	arrived, err := s.processes[roleSink].do(job{Do: "count"})
	if err != nil {
		return sample{}, err
	}
	if arrived.Events != ran.Events {
		return sample{}, fmt.Errorf("%d of %d events arrived", arrived.Events, ran.Events)
	}
	events := float64(ran.Events)
	return sample{
		rate: events / ran.Took.Seconds(), cpu: float64((after - before).Nanoseconds()) / 1000 / events,
		p50: ran.P50, p99: ran.P99, eventBytes: float64(bytes) / events,
	}, nil
}
