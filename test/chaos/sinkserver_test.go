package chaos_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// behaviour answers a request, or returns false for the sink to accept the event.
type behaviour func(w http.ResponseWriter, r *http.Request) bool

// sinkServer serves the sinks of all webhooks. It records accepted events in the ledger.
type sinkServer struct {
	t          *testing.T
	ledger     *ledger
	address    string
	listen     func(network, address string) (net.Listener, error)
	onRequest  func(webhook int) (end func()) // if not nil, called for each request
	server     *httptest.Server
	behaviours [80]atomic.Pointer[behaviour] // by webhook
}

func newSinkServer(t *testing.T, ledger *ledger) *sinkServer {
	s := &sinkServer{t: t, ledger: ledger, address: freeAddress(t), listen: net.Listen}
	t.Cleanup(s.down)
	return s
}

func (s *sinkServer) uri(webhook int) string { return fmt.Sprintf("http://%s/w%d", s.address, webhook) }

// uris returns the sinks of a number of webhooks.
func (s *sinkServer) uris(webhooks int) (uris []string) {
	for webhook := range webhooks {
		uris = append(uris, s.uri(webhook))
	}
	return uris
}

// up starts to listen.
func (s *sinkServer) up() {
	listener, err := s.listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(s)
	_ = s.server.Listener.Close()
	s.server.Listener = listener
	s.server.Start()
}

// down stops listening, so that connections are refused.
func (s *sinkServer) down() {
	if s.server != nil {
		s.server.CloseClientConnections()
		s.server.Close()
		s.server = nil
	}
}

// setBehaviour changes how a webhook's sink answers; nil: it accepts.
func (s *sinkServer) setBehaviour(webhook int, bad behaviour) {
	if bad == nil {
		s.behaviours[webhook].Store(nil)
		return
	}
	s.behaviours[webhook].Store(&bad)
}

func (s *sinkServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	webhook, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/w"))
	if err != nil || webhook >= len(s.behaviours) {
		http.NotFound(w, r)
		return
	}
	if s.onRequest != nil {
		defer s.onRequest(webhook)()
	}
	if bad := s.behaviours[webhook].Load(); bad != nil && (*bad)(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := s.ledger.recordArrival(body); err != nil {
		s.t.Errorf("an event arrived with changed bytes: %v", err)
	}
}
