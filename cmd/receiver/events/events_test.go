package events_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/cmd/receiver/events"
)

// serve serves a handler at a socket.
func serve(t *testing.T, handler http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "admin.sock")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

// run runs the command and returns what it printed.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut strings.Builder
	err = events.Run(t.Context(), args, &out, &errOut)
	return out.String(), errOut.String(), err
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want string // in the error
	}{
		{"", "give the --buffer-dir or the --admin-socket"},
		{"--buffer-dir=/b --admin-socket=/a", "give the --buffer-dir or the --admin-socket"},
		{"--buffer-dir=/b x", `unexpected argument "x"`},
		{"--buffer-dir=/b -o yaml", "--output must be json"},
		{"--buffer-dir=/nowhere", "no receiver answers at /nowhere/admin.sock"},
	} {
		if _, _, err := run(t, strings.Fields(test.args)...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.args, err, test.want)
		}
	}
	if out, _, err := run(t, "--help"); err != nil || !strings.Contains(out, "receiver events [--follow]") {
		t.Errorf("help: %v, %s", err, out)
	}
}

func TestEventsAreLines(t *testing.T) {
	t.Parallel()
	socket := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Path + "?" + r.URL.RawQuery; got != "/events?failed=true&limit=3&payload=true&type=open&webhook=shop%2Fa" {
			t.Errorf("got %s", got)
		}
		_, _ = io.WriteString(w, `{"events": [{"id":"1"},{"id":"2"}]}`)
	})
	out, _, err := run(t, "--admin-socket", socket, "--webhook=shop/a", "--type=open", "--failed", "--payload", "--limit=3", "-o", "json")
	if err != nil || out != "{\"id\":\"1\"}\n{\"id\":\"2\"}\n" {
		t.Errorf("%v, %q", err, out)
	}
}

// What was skipped is said where it does not disturb who reads lines.
func TestSkippedEventsAreNotInTheLines(t *testing.T) {
	t.Parallel()
	socket := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "data: {\"id\":\"1\"}\n\n:\n\nevent: skipped\ndata: 7\n\ndata: {\"id\":\"9\"}\n\n")
	})
	out, errOut, err := run(t, "--admin-socket", socket, "--follow")
	if out != "{\"id\":\"1\"}\n{\"id\":\"9\"}\n" || !strings.Contains(errOut, "7 events came faster") {
		t.Errorf("printed %q and %q", out, errOut)
	}
	if err == nil || err.Error() != "the receiver ended" {
		t.Errorf("got %v", err)
	}
}

// A receiver that is older than the command has no events.
func TestAnOlderReceiverIsNamed(t *testing.T) {
	t.Parallel()
	older := serve(t, http.NotFound)
	if _, _, err := run(t, "--admin-socket", older); err == nil || !strings.Contains(err.Error(), "it may be older than this command") {
		t.Errorf("got %v", err)
	}
	refusing := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error": "limit must be a number"}`)
	})
	if _, _, err := run(t, "--admin-socket", refusing); err == nil || err.Error() != "limit must be a number" {
		t.Errorf("got %v", err)
	}
}
