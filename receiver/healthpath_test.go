package receiver_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver"
)

// Load balancers of GKE and AWS probe the port that they send requests to. The answer has nothing but a status.
func TestLoadBalancersGetTheHealthAtTheWebhookPort(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now, asked := time.Unix(0, 0), 0
	var cause error
	handler := &receiver.HealthPath{
		Path: "/healthz", Routes: f.routes, Next: f.Config.Handler, Now: func() time.Time { return now },
		Ready: func(context.Context) error { asked++; return cause },
	}
	probe := func(method, target string) int {
		t.Helper()
		response := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), method, target, nil)
		request.Header.Set("User-Agent", "GoogleHC/1.0")
		handler.ServeHTTP(response, request)
		if body := response.Body.String(); target == "/healthz" && method != http.MethodPost && body != "" {
			t.Errorf("%s %s: the answer says %q", method, target, body)
		}
		return response.Code
	}
	for _, test := range []struct {
		method, target string
		want           int
	}{
		{"GET", "/healthz", 200}, {"HEAD", "/healthz", 200}, {"GET", "/healthz?x=1", 200}, {"POST", "/healthz", 404}, {"GET", "/", 404}, {"GET", "/readyz", 404},
		{"GET", "/metrics", 404}, {"GET", "/healthz/", 404}, {"HEAD", "/mandrill/shop", 200},
	} {
		if got := probe(test.method, test.target); got != test.want {
			t.Errorf("%s %s: got %d, want %d", test.method, test.target, got, test.want)
		}
	}
	if asked != 1 {
		t.Errorf("the buffer was asked %d times within a second, want 1", asked)
	}
	cause = errors.New("s3ntinel")
	if now = now.Add(time.Second); probe("GET", "/healthz") != http.StatusServiceUnavailable {
		t.Error("the receiver is not ready, and the answer was another")
	}
	cause = nil
	if now = now.Add(time.Second); probe("GET", "/healthz") != http.StatusOK {
		t.Error("the receiver is ready again, and the answer was another")
	}
	document := &routes.Document{Routes: f.document().Routes[:1]}
	document.Routes[0].URL = "https://hooks.example.com/healthz"
	f.loadRoutes(t, document)
	before := asked
	if now = now.Add(time.Second); probe("GET", "/healthz") != http.StatusOK || asked != before {
		t.Error("a route with the same path does not go first")
	}
	f.assertNoSecrets(t)
}
