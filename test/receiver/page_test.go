package receiver_test

import (
	"net/http"
	"testing"
)

// pagePaths are what the page serves.
var pagePaths = []string{"/", "/index.html", "/page.js", "/page.css", "/api/stream", "/api/events", "/api/dead-letters", "/api/backlog", "/events", "/dead-letters"}

// The page is at its own address, and neither where Mandrill posts nor where metrics are read.
func TestThePageIsAtNoOtherAddress(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	r := newReplica(t, "--page-listen", address, "--config", writeRoutes(t, "http://"+freeAddress(t)), "--buffer=embedded", "--buffer-dir", t.TempDir(), "--buffer-max-bytes=134217728")
	status := func(host, path string) (int, string) {
		response, err := http.Get("http://" + host + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode, response.Header.Get("Content-Security-Policy")
	}
	if got, policy := status(address, "/"); got != http.StatusOK || policy == "" {
		t.Errorf("the page: status %d", got)
	}
	for _, path := range pagePaths {
		if path == "/api/stream" {
			continue // it does not end
		}
		if got, policy := status(r.address, path); got != http.StatusNotFound || policy != "" {
			t.Errorf("%s at --listen: status %d", path, got)
		}
		if got, policy := status(r.health, path); got != http.StatusNotFound || policy != "" {
			t.Errorf("%s at --metrics-listen: status %d", path, got)
		}
	}
	for _, host := range []string{r.address, r.health} {
		if got, _ := status(host, "/api/stream"); got != http.StatusNotFound {
			t.Errorf("/api/stream at %s: status %d", host, got)
		}
	}
}
