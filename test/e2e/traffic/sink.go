package main

import (
	"cmp"
	"context"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// sink accepts CloudEvents and counts them by path and type. A path may have a ledger.
type sink struct {
	address string

	mu      sync.Mutex
	server  *http.Server // nil while closed
	status  int          // of answers; 0: 202
	types   map[string]map[string]int
	ledgers map[string]*ledger
}

func newSink(address string) *sink {
	return &sink{address: address, types: map[string]map[string]int{}, ledgers: map[string]*ledger{}}
}

func (s *sink) open(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { log.Print("sink: ", server.Serve(listener)) }()
	return nil
}

// set opens or closes the port, and chooses the answer.
func (s *sink) set(ctx context.Context, closed bool, status int) error {
	s.mu.Lock()
	s.status = status
	server := s.server
	if closed {
		s.server = nil
	}
	s.mu.Unlock()
	switch {
	case closed && server != nil:
		return server.Shutdown(ctx) // requests in progress get their answers, as their events are counted
	case !closed && server == nil:
		return s.open(ctx)
	}
	return nil
}

func (s *sink) record(path string, ledger *ledger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledgers[path] = ledger
	delete(s.types, path)
}

func (s *sink) counts(path string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := maps.Clone(s.types[path])
	if counts == nil {
		return map[string]int{}
	}
	return counts
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	status := cmp.Or(s.status, http.StatusAccepted)
	ledger := s.ledgers[r.URL.Path]
	if status < 300 {
		if s.types[r.URL.Path] == nil {
			s.types[r.URL.Path] = map[string]int{}
		}
		s.types[r.URL.Path][r.Header.Get("Ce-Type")]++
	}
	s.mu.Unlock()
	if status < 300 && ledger != nil {
		ledger.arrived(body)
	}
	w.WriteHeader(status)
}
