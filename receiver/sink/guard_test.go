package sink_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// localSink is a sink on this machine that counts connections.
type localSink struct {
	port        string
	connections atomic.Int32
	targets     chan string // of the request lines
}

func newLocalSink(t *testing.T) *localSink {
	t.Helper()
	l := &localSink{targets: make(chan string, 100)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { l.targets <- r.RequestURI }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			l.connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l.port = port
	return l
}

func (l *localSink) at(host string) sink.Target {
	return target("http://" + net.JoinHostPort(host, l.port) + "/events")
}

// onLoopback refuses the addresses that these tests can listen on.
func onLoopback(ip netip.Addr) bool { return ip.Unmap().IsLoopback() || ip.IsUnspecified() }

// noProxy ignores the proxy variables of the environment.
func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

var anyAddress = regexp.MustCompile(`[0-9]+\.[0-9]|:[0-9]|::|localhost`)

func assertRefused(t *testing.T, what string, err error) {
	t.Helper()
	switch {
	case err == nil || sink.Temporary(err):
		t.Errorf("%s: got %v, want a permanent error", what, err)
	case !strings.Contains(err.Error(), "run the receiver with --allow-sink-hosts") || anyAddress.MatchString(err.Error()):
		t.Errorf("%s: the error does not say what to do, or has an address: %v", what, err)
	}
}

func TestLocalAddressesAreRefused(t *testing.T) {
	t.Parallel()
	server := newLocalSink(t)
	client := &sink.Client{Refuse: onLoopback, AllowHosts: []string{"other.example"}, Proxy: noProxy}
	for _, host := range []string{"localhost", "LocalHost", "127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"} {
		assertRefused(t, host, client.Send(t.Context(), server.at(host), newEvent()))
	}
	if n := server.connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	without := &sink.Client{Proxy: noProxy}
	if err := without.Send(t.Context(), server.at("localhost"), newEvent()); err != nil {
		t.Errorf("a client that refuses nothing: %v", err)
	}
}

// A host is allowed as it is written in the sink's URI, not by its address. Allowed and refused hosts share no connections.
func TestAllowedHostsAreExempt(t *testing.T) {
	t.Parallel()
	server := newLocalSink(t)
	client := &sink.Client{Refuse: onLoopback, AllowHosts: []string{"localhost"}, Proxy: noProxy}
	for range 3 {
		for _, host := range []string{"localhost", "LOCALHOST"} {
			if err := client.Send(t.Context(), server.at(host), newEvent()); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		assertRefused(t, "127.0.0.1", client.Send(t.Context(), server.at("127.0.0.1"), newEvent()))
	}
	if n := server.connections.Load(); n == 0 || n > 6 {
		t.Errorf("%d connections were made for 6 events", n)
	}
	if err := client.Send(t.Context(), server.at("localhost."), newEvent()); err != nil && !sink.Temporary(err) { // not every resolver knows it
		t.Errorf("with a trailing dot: %v", err)
	}
	other := &sink.Client{Refuse: onLoopback, AllowHosts: []string{"127.0.0.1"}, Proxy: noProxy}
	if err := other.Send(t.Context(), server.at("127.0.0.1"), newEvent()); err != nil {
		t.Errorf("127.0.0.1: %v", err)
	}
	assertRefused(t, "localhost", other.Send(t.Context(), server.at("localhost"), newEvent()))
}

// The administrator chose the proxy, and the proxy resolves the sink's name. Requests that bypass it are checked, even if
// they go to the proxy's own address.
func TestProxyAddressIsNotChecked(t *testing.T) {
	t.Parallel()
	server := newLocalSink(t)
	address := server.at("127.0.0.1").URI
	client := &sink.Client{Refuse: onLoopback, Proxy: func(request *http.Request) (*url.URL, error) {
		if strings.HasSuffix(request.URL.Hostname(), ".example") {
			return url.Parse(address)
		}
		return nil, nil
	}}
	for range 3 {
		if err := client.Send(t.Context(), target("http://sink.example/events"), newEvent()); err != nil {
			t.Errorf("through the proxy: %v", err)
		}
		assertRefused(t, "without the proxy", client.Send(t.Context(), server.at("127.0.0.1"), newEvent()))
	}
	close(server.targets)
	for got := range server.targets {
		if got != "http://sink.example/events" {
			t.Errorf("the proxy was asked for %s", got)
		}
	}
}

func TestInvalidProxyIsATemporaryErrorWithoutAddress(t *testing.T) {
	t.Parallel()
	client := &sink.Client{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("s3ntinel is no URL") }}
	if err := client.Send(t.Context(), target("http://sink.example/"), newEvent()); !sink.Temporary(err) || strings.Contains(err.Error(), "s3ntinel") {
		t.Errorf("got %v, want a temporary error without the address", err)
	}
}
