package access_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// deafPort is the port of a pod at which nobody listens.
const deafPort = 9

// forwardingServer forwards ports as an API server does that passes no WebSockets: each connection is answered with its port and what it
// has sent. It ends when lose is closed.
func forwardingServer(t *testing.T, lose <-chan struct{}) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/system/pods/r/portforward" || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
			return
		}
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
			go func() {
				defer stream.Close()
				switch {
				case stream.Headers().Get(corev1.PortHeader) != strconv.Itoa(deafPort):
				case stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError:
					_, _ = io.WriteString(stream, "connection refused")
					return
				default:
					return
				}
				if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeData {
					sent := make([]byte, 5)
					_, _ = io.ReadFull(stream, sent)
					_, _ = fmt.Fprintf(stream, "%s %s", stream.Headers().Get(corev1.PortHeader), sent)
				}
			}()
			return nil
		})
		if conn == nil {
			return
		}
		select {
		case <-lose:
		case <-conn.CloseChan():
		}
		_ = conn.Close()
	}))
	t.Cleanup(server.Close)
	return server
}

func forwardingCluster(t *testing.T, url string) (*access.Cluster, access.Receiver) {
	t.Helper()
	c, err := access.NewCluster(&rest.Config{Host: url}, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return c, access.Receiver{Namespace: "system", Pod: "r", Running: true}
}

// refusingServer refuses everything, as an API server does.
func refusingServer(t *testing.T, code int) *httptest.Server {
	t.Helper()
	reasons := map[int]metav1.StatusReason{http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: reasons[code], Code: int32(code),
		})
	}))
	t.Cleanup(server.Close)
	return server
}

func ask(t *testing.T, port int) string {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// A port of this machine leads to the port of the pod until the context ends, which is no error.
func TestForwardLeadsToThePod(t *testing.T) {
	t.Parallel()
	c, receiver := forwardingCluster(t, forwardingServer(t, nil).URL)
	ctx, cancel := context.WithCancel(t.Context())
	answer := ""
	err := c.Forward(ctx, receiver, 0, 8089, func(port int) {
		answer = ask(t, port)
		cancel()
	})
	if err != nil || answer != "8089 hello" {
		t.Errorf("got %v and %q", err, answer)
	}
}

// Why forwarding ends can be told apart.
func TestForwardSaysWhyItEnds(t *testing.T) {
	t.Parallel()
	lose := make(chan struct{})
	c, receiver := forwardingCluster(t, forwardingServer(t, lose).URL)
	if err := c.Forward(t.Context(), receiver, 0, 8089, func(int) { close(lose) }); !errors.Is(err, access.ErrLost) {
		t.Errorf("a lost connection: got %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	if err := c.Forward(t.Context(), receiver, port, 8089, func(int) { t.Error("it is ready") }); err == nil ||
		err.Error() != fmt.Sprintf("port %d of this machine is taken: name another by --port", port) {
		t.Errorf("a taken port: got %v", err)
	}
	for code, want := range map[int]string{
		http.StatusForbidden: "you lack a right: create pods/portforward in namespace system", http.StatusNotFound: "the pod system/r is gone",
	} {
		c, receiver := forwardingCluster(t, refusingServer(t, code).URL)
		if err := c.Forward(t.Context(), receiver, 0, 8089, func(int) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: got %v", code, err)
		}
	}
	receiver.Running, receiver.State = false, "it waits: CrashLoopBackOff"
	if err := c.Forward(t.Context(), receiver, 0, 8089, nil); err == nil || !strings.Contains(err.Error(), "does not run (it waits: CrashLoopBackOff)") {
		t.Errorf("not running: got %v", err)
	}
}

// A tunnel carries many connections at once, and listens nowhere. It ends with the context, which is no error, and says why it ends
// otherwise.
func TestATunnelCarriesConnections(t *testing.T) {
	t.Parallel()
	lose := make(chan struct{})
	c, receiver := forwardingCluster(t, forwardingServer(t, lose).URL)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Tunnel(ctx, receiver, 8089, func(dial access.Dial) {
		defer cancel()
		var asked sync.WaitGroup
		for range 20 {
			asked.Go(func() {
				conn, err := dial(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "hello")
				if answer, err := io.ReadAll(conn); err != nil || string(answer) != "8089 hello" {
					t.Errorf("got %v and %q", err, answer)
				}
			})
		}
		asked.Wait()
	})
	if err != nil {
		t.Errorf("it ends with %v", err)
	}
	if err := c.Tunnel(t.Context(), receiver, 8089, func(access.Dial) { close(lose) }); !errors.Is(err, access.ErrLost) {
		t.Errorf("a lost connection: got %v", err)
	}
	refused, receiver := forwardingCluster(t, refusingServer(t, http.StatusForbidden).URL)
	if err := refused.Tunnel(t.Context(), receiver, 8089, func(access.Dial) {}); err == nil ||
		!strings.Contains(err.Error(), "you lack a right: create pods/portforward in namespace system") {
		t.Errorf("without the right: got %v", err)
	}
}

// A kubelet that cannot connect to the port says so, and the tunnel ends instead of waiting.
func TestATunnelToAPortWithoutAServerEnds(t *testing.T) {
	t.Parallel()
	c, receiver := forwardingCluster(t, forwardingServer(t, nil).URL)
	err := c.Tunnel(t.Context(), receiver, deafPort, func(dial access.Dial) {
		conn, err := dial(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if answer, _ := io.ReadAll(conn); len(answer) > 0 {
			t.Errorf("it answers %q", answer)
		}
	})
	if !errors.Is(err, access.ErrLost) {
		t.Errorf("got %v", err)
	}
}

// The port of the page is that of --page-listen, if a forwarded port reaches its address.
func TestPagePort(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]struct {
		port int
		err  string
	}{
		"--log-level=info":              {0, ""},
		"--page-listen=:8089":           {8089, ""},
		"--page-listen=127.0.0.1:8090":  {8090, ""},
		"--page-listen=localhost:8089":  {8089, ""},
		"--page-listen=[::]:8089":       {8089, ""},
		"--page-listen=$(POD_IP):8089":  {0, "does not reach"},
		"--page-listen=192.0.2.10:8089": {0, "does not reach"},
		"--page-listen=8089":            {0, "cannot be read"},
	} {
		port, err := access.Receiver{Namespace: "system", Pod: "r", Args: []string{arg}}.PagePort()
		if port != want.port || (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s: got %d, %v", arg, port, err)
		}
	}
}
