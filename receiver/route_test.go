package receiver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	document := &routes.Document{}
	for name, url := range map[string]string{
		"alone": "https://a.example/alone", "root": "http://a.example", "escaped": "https://a.example/x%2Fy",
		"a": "https://a.example/shared", "b": "http://b.example:80/shared", "port": "https://a.example:8443/shared",
		"blue": "https://t.example/tenant?t=blue", "red": "https://t.example/tenant?t=red",
	} {
		document.Routes = append(document.Routes, routes.Route{Name: name, URL: url})
	}
	table, err := receiver.NewTable(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ host, target, want string }{
		{"a.example", "/alone", "alone"},
		{"10.0.0.1:8080", "/alone", "alone"}, // a proxy rewrote Host
		{"a.example", "/alone?x=1", "alone"},
		{"a.example", "/", "root"},
		{"a.example", "/x%2Fy", "escaped"},
		{"a.example", "/x/y", ""},
		{"a.example", "/shared", "a"},
		{"A.example:443", "/shared", "a"},
		{"b.example", "/shared", "b"},
		{"b.example:80", "/shared", "b"},
		{"a.example:8443", "/shared", "port"},
		{"10.0.0.1", "/shared", ""}, // cannot be decided
		{"t.example", "/tenant?t=red", "red"},
		{"t.example", "/tenant?t=blue&x=1", "blue"},
		{"a.example", "/nothing", ""},
		{"a.example", "//alone", ""},
		{"a.example", "/./alone", ""},
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.target, nil)
		request.Host = test.host
		got := ""
		if route := table.Match(request); route != nil {
			got = route.Name
		}
		if got != test.want {
			t.Errorf("%s%s: got route %q, want %q", test.host, test.target, got, test.want)
		}
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/tenant?t=green", nil)
	request.Host = "t.example"
	if table.Match(request) == nil {
		t.Error("a request with another query has no route; verify must refuse it instead")
	}
}

func TestBadDocumentKeepsTheLastGoodOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, document := range []string{"routes: [{name: x", "routes: [{nome: x}]", "routes: [{name: x, url: 'https://s3ntinel@x.example#f', source: s, sink: {uri: 'http://x'}}]"} {
		if err := f.routes.Load([]byte(document)); err == nil {
			t.Errorf("%q was accepted", document)
		}
	}
	if response, _ := f.do(t, f.request(t, `[{"event":"open"}]`)); response.StatusCode != http.StatusOK {
		t.Errorf("status %d after bad documents, want 200", response.StatusCode)
	}
	if !f.routes.Ready() || !strings.Contains(f.log.String(), "the last good one stays") {
		t.Error("the refusals were not logged")
	}
	f.assertNoSecrets(t)
}

func TestNotReadyWithoutRoutes(t *testing.T) {
	t.Parallel()
	empty := &receiver.Routes{}
	admin := receiver.AdminHandler(http.NotFoundHandler(), empty.Ready)
	for path, want := range map[string]int{"/readyz": http.StatusServiceUnavailable, "/healthz": http.StatusOK} {
		response := httptest.NewRecorder()
		admin.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if response.Code != want {
			t.Errorf("%s: status %d, want %d", path, response.Code, want)
		}
	}
}

func TestWatchFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	route := func(path string) string {
		return "routes: [{name: x, url: 'https://a.example" + path + "', source: s, sink: {uri: 'http://x.example'}}]"
	}
	if err := f.routes.WatchFile(t.Context(), path); err == nil {
		t.Error("a missing file was accepted")
	}
	write(path, "nonsense: true")
	if err := f.routes.WatchFile(t.Context(), path); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a bad file: %v", err)
	}
	write(path, route("/first"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.routes.WatchFile(ctx, path) }()
	served := func(path string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			response, _ := f.do(t, f.method(t, http.MethodHead, path))
			if response.StatusCode == http.StatusOK {
				return
			}
			select {
			case <-deadline:
				t.Fatalf("%s is not served", path)
			case <-time.After(time.Millisecond):
			}
		}
	}
	served("/first")
	write(path, route("/second"))
	served("/second")
	write(path, "routes: [") // stays
	replacement := path + ".new"
	write(replacement, route("/third"))
	if err := os.Rename(replacement, path); err != nil { // as editors and mounted Secrets do
		t.Fatal(err)
	}
	served("/third")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
