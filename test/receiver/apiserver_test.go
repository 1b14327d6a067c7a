package receiver_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// apiServer is as much of an API server as a receiver uses: it lists and watches the Secrets with routes.
type apiServer struct {
	t       *testing.T
	address string
	server  *httptest.Server

	mu      sync.Mutex
	version int
	path    string        // of the only route
	changed chan struct{} // closed when the path changes
}

func newAPIServer(t *testing.T, path string) *apiServer {
	t.Helper()
	a := &apiServer{t: t, address: freeAddress(t), changed: make(chan struct{})}
	a.setPath(path)
	a.start()
	t.Cleanup(a.stop)
	return a
}

func (a *apiServer) start() {
	a.t.Helper()
	listener, err := net.Listen("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: a}}
	a.server.Start()
}

func (a *apiServer) stop() {
	if a.server != nil {
		a.server.CloseClientConnections() // they watch
		a.server.Close()
		a.server = nil
	}
}

func (a *apiServer) setPath(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.path = path
	a.version++
	close(a.changed)
	a.changed = make(chan struct{})
}

// state returns the Secret, its version, and what is closed when it changes.
func (a *apiServer) state() (secret map[string]any, version string, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	version = strconv.Itoa(a.version)
	document := fmt.Sprintf("routes: [{name: shop/x, url: %q, path: %q, keys: [%q], source: /x, sink: {uri: 'http://sink.example'}}]", hookURL, a.path, signingKey)
	return map[string]any{
		"apiVersion": "v1", "kind": "Secret", "data": map[string][]byte{"routes.yaml": []byte(document)},
		"metadata": map[string]any{"namespace": "system", "name": "routes", "uid": "1", "resourceVersion": version},
	}, version, a.changed
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	exists := query.Get("fieldSelector") == "metadata.name=routes"
	w.Header().Set("Content-Type", "application/json")
	secret, version, changed := a.state()
	switch {
	case query.Get("sendInitialEvents") != "": // the client lists instead
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Invalid", "code": http.StatusUnprocessableEntity})
	case query.Get("watch") == "":
		items := []any{}
		if exists {
			items = append(items, secret)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "v1", "kind": "SecretList", "metadata": map[string]any{"resourceVersion": version}, "items": items,
		})
	default:
		for sent := query.Get("resourceVersion"); ; {
			if exists && sent != version {
				_ = json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": secret})
				sent = version
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-changed:
			}
			secret, version, changed = a.state()
		}
	}
}

// kubeconfig returns the path of a kubeconfig for the API server.
func (a *apiServer) kubeconfig() string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "kubeconfig")
	config := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}], "+
		"users: [{name: x, user: {}}], clusters: [{name: x, cluster: {server: 'http://%s'}}]}", a.address)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// head returns the status that Mandrill's check of a URL gets, 0 for none.
func (r *replica) head(path string) int {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodHead, "http://"+r.address+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := loopback.Client.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func (r *replica) post(path string) int {
	r.t.Helper()
	return r.sendSigned(path, signingKey, string(mandrilltest.Batch([]byte(`{"event":"open","_id":"`+r.t.Name()+`","ts":1767225600}`))))
}

// A receiver that restarts while the API server is away serves its last routes, and those of the API server when it is back.
func TestRestartWithoutTheAPIServerServesTheLastRoutes(t *testing.T) {
	t.Parallel()
	server, dir := newAPIServer(t, "/first"), t.TempDir()
	r := newReplica(t, "--routes-secret=system/routes", "--kubeconfig", server.kubeconfig(), "--buffer=embedded", "--buffer-dir", dir, "--buffer-max-bytes=134217728")
	file := filepath.Join(dir, "routes")
	eventually(t, "the routes are kept", func() bool { _, err := os.Stat(file); return err == nil })
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file of the routes has the mode %v, error %v", info.Mode(), err)
	}
	for name, away := range map[string]func() (back func()){
		"refuses": func() func() { return func() {} },
		"hangs": func() func() {
			listener, err := net.Listen("tcp", server.address)
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = listener.Close() }
		},
	} {
		before, changed := server.path, "/"+name
		r.stop()
		server.stop()
		back := away()
		r.start() // it returns when the receiver is ready
		if head, post := r.head(before), r.post(before); head != http.StatusOK || post != http.StatusOK {
			t.Errorf("the API server %s: HEAD got %d, POST got %d, want 200", name, head, post)
		}
		if head, post := r.head("/other"), r.post("/other"); head != http.StatusServiceUnavailable || post != http.StatusServiceUnavailable {
			t.Errorf("the API server %s: HEAD of a path without a route got %d, POST %d, want 503", name, head, post)
		}
		back()
		server.setPath(changed)
		server.start()
		eventually(t, "the routes of the API server are served", func() bool { return r.head(changed) == http.StatusOK })
		eventually(t, "the earlier path is unknown", func() bool { return r.head(before) == http.StatusNotFound })
	}
	r.stop()
	if log := r.log.String(); !strings.Contains(log, "serving the kept routes") || strings.Contains(log, signingKey) {
		t.Errorf("the log does not say that kept routes are served, or has a key:\n%s", log)
	}
}

// A receiver without a folder keeps no routes. Without routes it answers 503, which does not say that a path is unknown.
func TestRestartWithoutTheAPIServerAndAFolder(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t, "/first")
	r := newReplica(t, "--routes-secret=system/routes", "--kubeconfig", server.kubeconfig())
	if head := r.head("/first"); head != http.StatusOK {
		t.Errorf("HEAD got %d, want 200", head)
	}
	r.stop()
	server.stop()
	r.launch()
	eventually(t, "HEAD gets 503", func() bool { return r.head("/first") == http.StatusServiceUnavailable })
	if post := r.post("/first"); post != http.StatusServiceUnavailable || r.ready() {
		t.Errorf("POST got %d, want 503; ready %t", post, r.ready())
	}
	server.start()
	eventually(t, "the route is served", func() bool { return r.head("/first") == http.StatusOK })
}
