package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/test/bench/harness"
)

const (
	hookPath   = "/hook"
	hookURL    = "https://hooks.example.com" + hookPath
	signingKey = "signing-key"
)

// stack is what an attack is measured with.
type stack struct {
	folder           string
	ledger             *ledger
	consumer         *http.Server
	receiver         *harness.Program
	address, metrics string // of the receiver
	sender         *batchSender
}

// start brings up a receiver with one route to a consumer. The stack must be stopped, also after an error.
func start(ctx context.Context, died context.CancelCauseFunc, o options) (*stack, error) {
	s := &stack{ledger: &ledger{accepted: map[string]bool{}, arrived: map[string]bool{}}}
	var err error
	if s.folder, err = os.MkdirTemp("", "mandrill-operator-bench-"); err != nil {
		return s, fmt.Errorf("making a temporary folder: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return s, fmt.Errorf("listening for CloudEvents: %w", err)
	}
	s.consumer = &http.Server{Handler: s.ledger, ReadHeaderTimeout: o.deadline}
	go func() { _ = s.consumer.Serve(listener) }() // ends with Close
	document, err := (&routes.Document{Routes: []routes.Route{{
		Name: "bench/hook", URL: hookURL, Keys: []string{signingKey}, Source: "/bench", Sink: routes.Sink{URI: "http://" + listener.Addr().String()},
	}}}).Encode()
	if err != nil {
		return s, fmt.Errorf("writing the routes: %w", err)
	}
	config := filepath.Join(s.folder, "routes.yaml")
	if err := os.WriteFile(config, document, 0o600); err != nil {
		return s, fmt.Errorf("writing the routes: %w", err)
	}
	for _, address := range []*string{&s.address, &s.metrics} {
		if *address, err = harness.FreeAddress(ctx); err != nil {
			return s, err
		}
	}
	s.receiver, err = harness.Start(died, "receiver", "--listen", s.address, "--metrics-listen", s.metrics, "--config", config, "--log-level", o.logLevel)
	if err != nil {
		return s, err
	}
	s.sender = newBatchSender(s.address, s.ledger, o)
	return s, harness.AwaitMetrics(ctx, s.metrics, "the receiver's start", o.deadline, func(m harness.Metrics) bool {
		return m.Sum("mandrill_receiver_routes") == 1
	})
}

// stop ends what was started, last first.
func (s *stack) stop() error {
	errs := []error{s.receiver.Stop()}
	if s.sender != nil {
		s.sender.client.CloseIdleConnections()
	}
	if s.consumer != nil {
		errs = append(errs, s.consumer.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.folder))...) //nolint:gosec // a folder of ours
}

// check compares what was accepted with what arrived and with what the receiver says.
func (s *stack) check(ctx context.Context) error {
	errs := []error{s.ledger.check()}
	counted, err := harness.Scrape(ctx, s.metrics)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	accepted, faults := counted.Sum("mandrill_receiver_requests_total", `outcome="accepted"`), counted.Sum("mandrill_receiver_requests_total", `outcome="internal_error"`)
	if int64(accepted) != s.sender.accepted.Load() {
		errs = append(errs, fmt.Errorf("the receiver accepted %.0f batches, Mandrill sent %d that were", accepted, s.sender.accepted.Load()))
	}
	if faults > 0 {
		errs = append(errs, fmt.Errorf("the receiver counts %.0f internal errors", faults))
	}
	return errors.Join(errs...)
}

// ledger is the consumer. It knows the events that were accepted, and those that arrived.
type ledger struct {
	mu                sync.Mutex
	accepted, arrived map[string]bool
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var event struct {
		ID string `json:"_id"`
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrived[event.ID] = true
}

// accept takes note of the events of a batch that was answered with 200.
func (l *ledger) recordAccepted(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.accepted[id] = true
	}
}

func (l *ledger) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, foreign := 0, 0
	for id := range l.accepted {
		if !l.arrived[id] {
			lost++
		}
	}
	for id := range l.arrived {
		if !l.accepted[id] {
			foreign++
		}
	}
	if lost > 0 || foreign > 0 {
		return fmt.Errorf("of %d accepted events %d are lost, and %d arrived that were not accepted", len(l.accepted), lost, foreign)
	}
	harness.Logf("%d events were accepted, and all arrived", len(l.accepted))
	return nil
}

// pause waits, and tells whether it did to the end.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
