package receiver_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
)

// stateOf returns the state of the webhooks of a document.
func stateOf(document *routes.Document) *delivery.State {
	state := delivery.New(delivery.Options{Logger: slog.New(slog.DiscardHandler)})
	state.SetWebhooks(func(yield func(string) bool) {
		for _, route := range document.Routes {
			if !yield(routes.Webhook(route.Name)) {
				return
			}
		}
	})
	state.Changes() // all of them are new
	return state
}

// handlerWith returns a handler for the fixture's routes that keeps the state of delivery.
func (f *fixture) handlerWith(state *delivery.State) http.Handler {
	logger := slog.New(slog.NewJSONHandler(f.log, nil))
	return receiver.NewHandler(receiver.Options{
		Routes: f.routes, Metrics: receiver.NewMetrics(prometheus.NewRegistry()), Logger: logger, MaxBodyBytes: maxBody, State: state,
	})
}

func TestOnlySignaturesOfAnotherKeyAreReported(t *testing.T) {
	t.Parallel()
	const batch = `[{"event":"open"}]`
	f := newFixture(t)
	document := f.document()
	shared := document.Routes[0]
	shared.Name, shared.URL = "shop/plain~1", "https://other.example.com/mandrill/shop"
	document.Routes = append(document.Routes, shared)
	f.loadRoutes(t, document)
	unsigned := f.request(t, batch)
	unsigned.Header.Del(mandrill.SignatureHeader)
	encoded := f.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel-new-key", batch)
	encoded.Header.Set("Content-Encoding", "gzip")
	guarded := f.requestTo(t, "/guarded?secret=s3ntinel-token&v=2", guardedURL, "s3ntinel-new-key", batch)
	guarded.SetBasicAuth("robot", "s3ntinel!pass")
	for _, test := range []struct {
		name    string
		request *http.Request
		status  int
		want    []string
	}{
		{"another key", f.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel-new-key", batch), 403, []string{"shop/plain"}},
		{"another key, empty batch", f.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel-new-key", "[]"), 403, []string{"shop/plain"}},
		{"another key, with the secret parts", guarded, 403, []string{"shop/guarded"}},
		{"unsigned", unsigned, 403, nil},
		{"without the secret parts", f.requestTo(t, "/guarded", guardedURL, "s3ntinel-new-key", batch), 403, nil},
		{"a batch with the test key", f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, batch), 403, nil},
		{"an empty batch with the test key", f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, "[]"), 200, nil},
		{"good", f.request(t, "[]"), 200, nil},
		{"no key yet", f.requestTo(t, "/keyless", keylessURL, signingKey, batch), 503, nil},
		{"suspended", f.requestTo(t, "/suspended", suspendedURL, "s3ntinel-new-key", batch), 503, nil},
		{"no route", f.requestTo(t, "/nowhere", plainURL, "s3ntinel-new-key", batch), 404, nil},
		{"unreadable", encoded, 400, nil},
	} {
		state, response := stateOf(document), httptest.NewRecorder()
		f.handlerWith(state).ServeHTTP(response, test.request)
		var got []string
		for _, webhook := range state.Snapshot() {
			if webhook.LastBadSignatureAge != nil {
				got = append(got, webhook.Name)
			}
		}
		if changed := len(state.Changes()); changed != len(test.want) {
			t.Errorf("%s: %d changes, want %d", test.name, changed, len(test.want))
		}
		if diff := cmp.Diff(test.want, got); diff != "" || response.Code != test.status {
			t.Errorf("%s: status %d, want %d; webhooks (-want +got):\n%s", test.name, response.Code, test.status, diff)
		}
	}
	response := httptest.NewRecorder()
	if f.handlerWith(nil).ServeHTTP(response, f.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel-new-key", batch)); response.Code != http.StatusForbidden {
		t.Errorf("without a state: status %d, want 403", response.Code)
	}
	f.assertNoSecrets(t)
}
