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

// behaviour answers instead of the consumer, or returns false for the consumer to accept the event.
type behaviour func(w http.ResponseWriter, r *http.Request) bool

// consumer is the sinks of all webhooks. What it accepts goes into the ledger.
type sinkServer struct {
	t       *testing.T
	ledger    *ledger
	address string
	listen  func(network, address string) (net.Listener, error)
	onRequest   func() (end func()) // of each request; may be nil
	server  *httptest.Server
	behaviours     [16]atomic.Pointer[behaviour] // by webhook
}

func newSinkServer(t *testing.T, book *ledger) *sinkServer {
	c := &sinkServer{t: t, ledger: book, address: freeAddress(t), listen: net.Listen}
	t.Cleanup(c.down)
	return c
}

func (c *sinkServer) uri(webhook int) string { return fmt.Sprintf("http://%s/w%d", c.address, webhook) }

// uris are the sinks of a number of webhooks.
func (c *sinkServer) uris(webhooks int) (uris []string) {
	for webhook := range webhooks {
		uris = append(uris, c.uri(webhook))
	}
	return uris
}

// up begins to listen.
func (c *sinkServer) up() {
	listener, err := c.listen("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.server = httptest.NewUnstartedServer(c)
	_ = c.server.Listener.Close()
	c.server.Listener = listener
	c.server.Start()
}

// down has connections refused.
func (c *sinkServer) down() {
	if c.server != nil {
		c.server.CloseClientConnections()
		c.server.Close()
		c.server = nil
	}
}

// behave has a webhook's sink behave badly; nil: well.
func (c *sinkServer) setBehaviour(webhook int, bad behaviour) {
	if bad == nil {
		c.behaviours[webhook].Store(nil)
		return
	}
	c.behaviours[webhook].Store(&bad)
}

func (c *sinkServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	webhook, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/w"))
	if err != nil || webhook >= len(c.behaviours) {
		http.NotFound(w, r)
		return
	}
	if c.onRequest != nil {
		defer c.onRequest()()
	}
	if bad := c.behaviours[webhook].Load(); bad != nil && (*bad)(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := c.ledger.recordArrival(body); err != nil {
		c.t.Errorf("an event came with other bytes than were sent: %v", err)
	}
}
