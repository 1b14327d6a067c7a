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
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	hookPath   = "/hook"
	hookURL    = "https://hooks.example.com" + hookPath
	signingKey = "signing-key"
)

// stack is what runs during a measurement: the receiver, its sink and the sender of valid batches.
type stack struct {
	dir              string
	ledger           *ledger
	consumer         *http.Server
	receiver         *harness.Program
	address, metrics string // of the receiver
	sender           *batchSender
}

// start starts a receiver with one route to a sink. The stack must be stopped, even after an error.
func start(ctx context.Context, died context.CancelCauseFunc, o options) (*stack, error) {
	s := &stack{ledger: &ledger{accepted: map[string]bool{}, arrived: map[string]bool{}}}
	var err error
	if s.dir, err = os.MkdirTemp("", "mandrill-operator-bench-"); err != nil {
		return s, fmt.Errorf("creating a temporary directory: %w", err)
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
	config := filepath.Join(s.dir, "routes.yaml")
	if err := os.WriteFile(config, document, 0o600); err != nil {
		return s, fmt.Errorf("writing the routes: %w", err)
	}
	for _, address := range []*string{&s.address, &s.metrics} {
		if *address, err = loopback.Address(ctx); err != nil {
			return s, err
		}
	}
	s.receiver, err = harness.Start(died, "receiver", "--shutdown-delay=0s",
		"--listen", s.address, "--metrics-listen", s.metrics, "--config", config, "--log-level", o.logLevel)
	if err != nil {
		return s, err
	}
	s.sender = newBatchSender(s.address, s.ledger, o)
	return s, harness.AwaitMetrics(ctx, s.metrics, "the receiver's start", o.deadline, func(m harness.Metrics) bool {
		return m.Sum("mandrill_receiver_routes") == 1
	})
}

// stop stops everything in reverse order.
func (s *stack) stop() error {
	errs := []error{s.receiver.Stop()}
	if s.sender != nil {
		s.sender.client.CloseIdleConnections()
	}
	if s.consumer != nil {
		errs = append(errs, s.consumer.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// check compares the accepted batches with the arrived events and with the receiver's metrics.
func (s *stack) check(ctx context.Context) error {
	errs := []error{s.ledger.check()}
	counted, err := harness.Scrape(ctx, s.metrics)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	accepted, faults := counted.Sum("mandrill_receiver_requests_total", `outcome="accepted"`), counted.Sum("mandrill_receiver_requests_total", `outcome="internal_error"`)
	if int64(accepted) != s.sender.accepted.Load() {
		errs = append(errs, fmt.Errorf("the receiver counted %.0f accepted batches, %d got 200", accepted, s.sender.accepted.Load()))
	}
	if faults > 0 {
		errs = append(errs, fmt.Errorf("the receiver counted %.0f internal errors", faults))
	}
	return errors.Join(errs...)
}

// ledger is the sink. It records the events that were accepted and those that arrived.
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

// recordAccepted records the events of a batch that got 200.
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
		return fmt.Errorf("%d events were accepted, %d of them are lost, and %d others arrived", len(l.accepted), lost, foreign)
	}
	harness.Logf("%d events were accepted and arrived", len(l.accepted))
	return nil
}

// pause waits, and reports whether it was not interrupted.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
