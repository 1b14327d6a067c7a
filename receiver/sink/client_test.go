package sink_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

func newEvent() *cloudevent.Event {
	return &cloudevent.Event{
		Shared: cloudevent.NewShared("/s", nil), ID: "1", Type: "t", ContentType: "application/json", Data: []byte(`{"a":"\/"}`),
	}
}

func target(uri string) sink.Target { return sink.Target{URI: uri, Timeout: 10 * time.Second} }

func TestStatusDecidesWhetherToRetry(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		200: "accepted", 202: "accepted", 204: "accepted", 299: "accepted",
		301: "permanent", 302: "permanent", 307: "permanent", 400: "permanent", 401: "permanent", 403: "permanent", 405: "permanent", 410: "permanent", 413: "permanent", 422: "permanent",
		404: "temporary", 408: "temporary", 409: "temporary", 429: "temporary", 500: "temporary", 502: "temporary", 503: "temporary", 504: "temporary",
	} {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		err := (&sink.Client{}).Send(t.Context(), target(server.URL), newEvent())
		got := "accepted"
		if sink.Temporary(err) {
			got = "temporary"
		} else if err != nil {
			got = "permanent"
		}
		if got != want || requests != 1 {
			t.Errorf("%d: %s after %d requests, want %s after one", status, got, requests, want)
		}
		if refusal := new(sink.Error); err != nil && (!errors.As(err, &refusal) || refusal.Status != status) {
			t.Errorf("%d: error is %v", status, err)
		}
		server.Close()
	}
}

func TestBinaryModeRequest(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != `{"a":"\/"}` || r.ContentLength != int64(len(body)) {
			t.Errorf("body %q of length %d, error %v", body, r.ContentLength, err)
		}
		for name, want := range map[string]string{
			"Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "t", "Ce-Specversion": "1.0", "Content-Type": "application/json",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if r.Method != http.MethodPost || r.URL.Path != "/events" || r.URL.RawQuery != "k=v" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}))
	t.Cleanup(server.Close)
	if err := (&sink.Client{}).Send(t.Context(), target(server.URL+"/events?k=v"), newEvent()); err != nil {
		t.Error(err)
	}
}

// Answers with a body must not cost a connection per event, whatever their status.
func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	var connections, requests atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{200, 202, 400, 503}[requests.Add(1)%4])
		_, _ = io.WriteString(w, strings.Repeat("x", 32<<10))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client := &sink.Client{}
	const senders, each = 8, 100
	var wait sync.WaitGroup
	for range senders {
		wait.Go(func() {
			for range each {
				var refusal *sink.Error
				if err := client.Send(t.Context(), target(server.URL), newEvent()); err != nil && (!errors.As(err, &refusal) || refusal.Status == 0) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	// The bound is not tight: net/http dials again when a connection becomes idle a moment too late.
	if n := connections.Load(); n > 4*senders {
		t.Errorf("%d connections for %d events of %d senders", n, senders*each, senders)
	}
}

func TestNoAnswerIsTemporary(t *testing.T) {
	t.Parallel()
	client := &sink.Client{}
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	for name, uri := range map[string]string{"down": down.URL + "/s3cret", "hanging": hanging.URL + "/s3cret"} {
		err := client.Send(t.Context(), sink.Target{URI: uri, Timeout: 50 * time.Millisecond}, newEvent())
		if !sink.Temporary(err) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, want a temporary error without the URL", name, err)
		}
	}
	if err := client.Send(t.Context(), target("http://a b/"), newEvent()); err == nil || sink.Temporary(err) {
		t.Errorf("an address that is not a URL: %v", err)
	}
	if sink.Temporary(nil) || !sink.Temporary(context.Canceled) {
		t.Error("Temporary must be false for nil and true for errors of other types")
	}
}

func TestCACertsAreTrusted(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	client := &sink.Client{}
	trusting := target(server.URL)
	trusting.CACerts = certificate
	if err := client.Send(t.Context(), trusting, newEvent()); err != nil {
		t.Errorf("with the certificate: %v", err)
	}
	if err := client.Send(t.Context(), target(server.URL), newEvent()); !sink.Temporary(err) {
		t.Errorf("without the certificate: %v, want a temporary error", err)
	}
	trusting.CACerts = "nonsense"
	if err := client.Send(t.Context(), trusting, newEvent()); err == nil || sink.Temporary(err) {
		t.Errorf("with nonsense: %v, want a permanent error", err)
	}
}
