package receiver_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Routes may share a path and more. Each gets the batches that are signed for its URL with its key, in whatever order the routes
// are listed.
func TestRoutesMayShareAPath(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{"https://h.example/p", "https://h.example:443/p"}, {"https://h.example/p", "https://H.example/p"}, {"https://h.example/p", "http://h.example/p"},
		{"https://h.example/p", "https://user@h.example/p"}, {"https://h.example/p?secret=x", "https://h.example/p"}, {"https://h.example/p?t=red", "https://h.example/p?t=blue"},
		{"https://h.example/p", "https://other.example/p"},
	} {
		for _, order := range [][2]int{{0, 1}, {1, 0}} {
			f := newFixture(t)
			document := &routes.Document{}
			for i, at := range order {
				document.Routes = append(document.Routes, routes.Route{
					Name: []string{"first", "second"}[i], URL: pair[at], Keys: []string{"key-of-" + pair[at]}, Source: "/" + []string{"zero", "one"}[at], Sink: routes.Sink{URI: f.sink.URL},
				})
			}
			f.loadRoutes(t, document)
			for at, registered := range pair {
				parsed, err := url.Parse(registered)
				if err != nil {
					t.Fatal(err)
				}
				request := f.requestTo(t, parsed.RequestURI(), registered, "key-of-"+registered, `[{"event":"open"}]`)
				if parsed.User != nil {
					request.SetBasicAuth(parsed.User.Username(), "")
				}
				response, body := f.do(t, request)
				events := f.sink.takeEvents()
				if response.StatusCode != http.StatusOK || len(events) != 1 || events[0].Source() != "/"+[]string{"zero", "one"}[at] {
					t.Errorf("%v in order %v, batch for %s: %d %q, events %v", pair, order, registered, response.StatusCode, body, events)
				}
			}
			forged := f.requestTo(t, "/p?secret=x", pair[0], "key-of-"+pair[1], `[{"event":"open"}]`)
			if response, _ := f.do(t, forged); response.StatusCode != http.StatusForbidden {
				t.Errorf("%v: the key of one route was accepted for the URL of another: %d", pair, response.StatusCode)
			}
		}
	}
	// A suspended route does not suspend another one with the same path.
	f := newFixture(t)
	document := f.document()
	document.Routes[3].URL = plainURL + "?s=1"
	f.loadRoutes(t, document)
	if response, _ := f.do(t, f.requestTo(t, "/mandrill/shop?s=1", plainURL+"?s=1", signingKey, `[{"event":"open"}]`)); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the suspended route answered %d", response.StatusCode)
	}
	if response, _ := f.do(t, f.request(t, `[{"event":"open"}]`)); response.StatusCode != http.StatusOK {
		t.Errorf("the other route answered %d", response.StatusCode)
	}
}

// Neither an announced length nor a forged batch of a hundred thousand elements costs memory beyond the body.
func TestRefusalsAllocateLittle(t *testing.T) { // not parallel: it measures allocations
	f := newFixture(t)
	forged := f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, "["+strings.Repeat("1,", maxBody/8)+"1]")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	response := httptest.NewRecorder()
	if f.Config.Handler.ServeHTTP(response, forged); response.Code != http.StatusForbidden {
		t.Errorf("status %d, want 403", response.Code)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mandrill/shop", strings.NewReader("x"))
	request.ContentLength = maxBody
	request.Header.Set(mandrill.SignatureHeader, "x")
	f.Config.Handler.ServeHTTP(httptest.NewRecorder(), request)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 3*maxBody {
		t.Errorf("%d bytes were allocated for a body of %d", grown, maxBody)
	}
}

func TestBadDocumentKeepsTheLastGoodOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, document := range []string{"routes: [{name: x", "routes: [{nome: x}]", "routes: [{name: x, url: 'https://s3ntinel@x.example#f', source: s, sink: {uri: 'http://x'}}]"} {
		if err := f.routes.Load("routes", []byte(document)); err == nil {
			t.Errorf("%q was accepted", document)
		}
	}
	if response, _ := f.do(t, f.request(t, `[{"event":"open"}]`)); response.StatusCode != http.StatusOK {
		t.Errorf("status %d after bad documents, want 200", response.StatusCode)
	}
	if !f.routes.Ready() || !strings.Contains(f.log.String(), "the last good one stays") {
		t.Error("the receiver is not ready, or the refusals were not logged")
	}
	f.assertNoSecrets(t)
}

// Routes may come in several documents, whose routes may share a path. A receiver that lacks one would answer 404 for its routes,
// so it is not ready before all were loaded once.
func TestReceiverIsReadyOnceAllDocumentsAreLoaded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.loadRoutes(t, &routes.Document{Routes: f.document().Routes[:1]})
	f.routes = &routing.Routes{Logger: f.routes.Logger, Metrics: f.routes.Metrics}
	handler := receiver.NewHandler(receiver.Options{Routes: f.routes, Metrics: f.metrics, Logger: f.routes.Logger})
	answer := func(path string) int {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodHead, path, nil))
		return response.Code
	}
	signed := func(url string) int {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, f.requestTo(t, "/a", url, signingKey, "[]"))
		return response.Code
	}
	document := func(url string) []byte {
		return []byte("routes: [{name: x, url: '" + url + "', keys: [" + signingKey + "], source: s, sink: {uri: 'http://x.example'}}]")
	}
	if answer("/a") != http.StatusServiceUnavailable || f.routes.Ready() {
		t.Error("a path is served or unknown, or the receiver is ready, without routes")
	}
	if err := f.routes.Load("first", document("https://one.example/a")); err != nil || f.routes.Ready() {
		t.Errorf("ready before all documents were loaded; error %v", err)
	}
	if err := f.routes.Load("second", []byte("nonsense")); err == nil {
		t.Error("nonsense was loaded")
	}
	if f.routes.Complete(); f.routes.Ready() {
		t.Error("ready though one document was never good")
	}
	if err := f.routes.Load("second", document("https://two.example/a")); err != nil || !f.routes.Ready() {
		t.Errorf("not ready though all documents are good; error %v", err)
	}
	if err := f.routes.Load("second", []byte("nonsense")); err == nil || !f.routes.Ready() {
		t.Errorf("not ready though all documents were good once; error %v", err)
	}
	for _, url := range []string{"https://one.example/a", "https://two.example/a"} {
		if got := signed(url); got != http.StatusOK {
			t.Errorf("%s: status %d", url, got)
		}
	}
	if err := f.routes.Load("first", []byte("routes: []")); err != nil || answer("/a") != http.StatusOK || signed("https://one.example/a") != http.StatusForbidden {
		t.Errorf("a removed route is still served, or another one is not; error %v", err)
	}
}

func TestNotReadyWithoutRoutes(t *testing.T) {
	t.Parallel()
	empty := &routing.Routes{}
	admin := admin.HealthHandler(http.NotFoundHandler(), func(context.Context) error {
		if !empty.Ready() {
			return errors.New("no routes")
		}
		return nil
	}, func() string { return "" })
	for path, want := range map[string]int{"/readyz": http.StatusServiceUnavailable, "/healthz": http.StatusOK} {
		response := httptest.NewRecorder()
		admin.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if response.Code != want {
			t.Errorf("%s: status %d, want %d", path, response.Code, want)
		}
	}
}

// A request that comes while the routes are loaded may get 503, but never 404: its route exists.
func TestNoRouteIsMissingWhileRoutesAreLoaded(t *testing.T) {
	t.Parallel()
	for range 300 {
		metrics, logger := receiver.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler)
		table := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
		handler := receiver.NewHandler(receiver.Options{Routes: table, Metrics: metrics, Logger: logger})
		go func() {
			if err := table.Load("first", []byte("routes: [{name: x, url: 'https://a.example/a', source: s, sink: {uri: 'http://x.example'}}]")); err != nil {
				t.Error(err)
			}
			table.Complete()
		}()
		for status := http.StatusServiceUnavailable; status == http.StatusServiceUnavailable; {
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://a.example/a", nil))
			if status = response.Code; status == http.StatusNotFound {
				t.Fatal("got 404 for an existing route")
			}
		}
	}
}

func TestWatchFileLoadsChanges(t *testing.T) {
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
		if !eventually(func() bool {
			response, _ := f.do(t, f.bareRequest(t, http.MethodHead, path))
			return response.StatusCode == http.StatusOK
		}) {
			t.Fatalf("%s is not served", path)
		}
	}
	served("/first")
	write(path, route("/second"))
	served("/second")
	write(path, "routes: [") // refused, the last good document stays
	replacement := path + ".new"
	write(replacement, route("/third"))
	if err := os.Rename(replacement, path); err != nil { // editors and mounted Secrets replace files like this
		t.Fatal(err)
	}
	served("/third")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// deliveryRecorder is a sender that records the delivery settings and accepts all events.
type deliveryRecorder chan sink.Delivery

func (d deliveryRecorder) SendOnce(_ context.Context, delivery sink.Delivery, items []*sink.Item) {
	for _, item := range items {
		item.State = sink.Accepted
	}
	d <- delivery
}

// The sink and delivery settings of a route, and the defaults for those it lacks, reach the sender.
func TestDeliverySettingsReachTheSender(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, test := range map[string]struct {
		sink     routes.Sink
		delivery routes.Delivery
		want     sink.Delivery
	}{
		"nothing": {routes.Sink{URI: "https://sink.example/x"}, routes.Delivery{}, sink.Delivery{
			Target: sink.Target{URI: "https://sink.example/x", Timeout: 10 * time.Second, Webhook: "shop/plain"}, Mode: sink.Binary,
		}},
		"everything": {routes.Sink{URI: "https://sink.example/x", Audience: "who"}, routes.Delivery{
			ContentMode: "Batched", Timeout: "PT7S", Retry: new(3), BackoffPolicy: "linear", BackoffDelay: "PT0.5S",
			DeadLetterSink: &routes.Sink{URI: "https://dead.example", Audience: "them"},
		}, sink.Delivery{
			Target: sink.Target{URI: "https://sink.example/x", Audience: "who", Timeout: 7 * time.Second, Webhook: "shop/plain"}, Mode: sink.Batched,
			Retry:      &sink.Retry{Max: 3, Linear: true, Backoff: time.Second / 2},
			DeadLetter: &sink.Target{URI: "https://dead.example", Audience: "them", Timeout: 7 * time.Second, Webhook: "shop/plain"},
		}},
		"no retry": {routes.Sink{URI: "https://sink.example/x"}, routes.Delivery{Retry: new(0)}, sink.Delivery{
			Target: sink.Target{URI: "https://sink.example/x", Timeout: 10 * time.Second, Webhook: "shop/plain"}, Mode: sink.Binary, Retry: &sink.Retry{},
		}},
	} {
		document := f.document()
		document.Routes[0].Sink, document.Routes[0].Delivery = test.sink, test.delivery
		f.loadRoutes(t, document)
		sent := make(deliveryRecorder, 1)
		handler := receiver.NewHandler(receiver.Options{Routes: f.routes, Metrics: f.metrics, Logger: f.routes.Logger, Sender: sent})
		response := httptest.NewRecorder()
		if handler.ServeHTTP(response, f.requestTo(t, "/mandrill/shop", plainURL, signingKey, `[{"event":"open"}]`)); response.Code != http.StatusOK {
			t.Fatalf("%s: status %d", name, response.Code)
		}
		if diff := cmp.Diff(test.want, <-sent); diff != "" {
			t.Errorf("%s: delivery (-want +got):\n%s", name, diff)
		}
	}
}
