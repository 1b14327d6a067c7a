package receiver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// signatureRecorder records the routes of bad signatures.
type signatureRecorder struct {
	mu     sync.Mutex
	routes []string
}

func (o *signatureRecorder) BadSignature(route string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.routes = append(o.routes, route)
}

// handlerReporting returns a handler for the fixture's routes that reports bad signatures.
func (f *fixture) handlerReporting(signatures receiver.SignatureObserver) http.Handler {
	logger := slog.New(slog.NewJSONHandler(f.log, nil))
	return receiver.NewHandler(receiver.Options{
		Routes: f.routes, Metrics: receiver.NewMetrics(prometheus.NewRegistry()), Logger: logger, MaxBodyBytes: maxBody, Signatures: signatures,
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
		{"another key", f.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel-new-key", batch), 403, []string{"shop/plain", "shop/plain~1"}},
		{"another key, empty batch", f.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel-new-key", "[]"), 403, []string{"shop/plain", "shop/plain~1"}},
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
		signatures, response := &signatureRecorder{}, httptest.NewRecorder()
		f.handlerReporting(signatures).ServeHTTP(response, test.request)
		if diff := cmp.Diff(test.want, signatures.routes); diff != "" || response.Code != test.status {
			t.Errorf("%s: status %d, want %d; routes (-want +got):\n%s", test.name, response.Code, test.status, diff)
		}
	}
	response := httptest.NewRecorder()
	if f.handlerReporting(nil).ServeHTTP(response, f.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel-new-key", batch)); response.Code != http.StatusForbidden {
		t.Errorf("without an observer: status %d, want 403", response.Code)
	}
	f.assertNoSecrets(t)
}

// fakeOperator is a hint reporter, whose intervals end when the test says so, and the operator that it reports to.
type fakeOperator struct {
	*receiver.HintReporter
	registry    *prometheus.Registry
	log         *logbuffer.Buffer
	requests    chan []string      // the webhooks of each request
	statuses    chan int           // how each request is answered
	intervals   chan time.Duration // sent to when the reporter waits for the end of an interval
	intervalEnd chan time.Time
}

func newFakeOperator(t *testing.T) *fakeOperator {
	t.Helper()
	o := &fakeOperator{
		registry: prometheus.NewRegistry(), log: &logbuffer.Buffer{},
		requests: make(chan []string), statuses: make(chan int, 1), intervals: make(chan time.Duration), intervalEnd: make(chan time.Time),
	}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	o.HintReporter = receiver.NewHintReporter(receiver.HintReporterOptions{
		URL: server.URL + "/s3ntinel/", Metrics: receiver.NewMetrics(o.registry), Logger: slog.New(slog.NewJSONHandler(o.log, nil)),
		After: func(interval time.Duration) <-chan time.Time {
			select {
			case o.intervals <- interval:
			case <-t.Context().Done():
			}
			return o.intervalEnd
		},
	})
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() { o.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	return o
}

func (o *fakeOperator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var hints struct{ Routes []string }
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &hints)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.String() != "/s3ntinel/signature-hints" || r.Header.Get("Content-Type") != "application/json" {
		hints.Routes = []string{fmt.Sprint("not expected: ", r.Method, r.URL, r.Header, err)}
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(<-o.statuses)
	select {
	case o.requests <- hints.Routes:
	case <-r.Context().Done():
	}
}

// expectHints answers the next request and compares the names in it. It returns when the reporter waits for the next interval.
func (o *fakeOperator) expectHints(t *testing.T, status int, want ...string) {
	t.Helper()
	o.statuses <- status
	if diff := cmp.Diff(want, receive(t, o.requests)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if interval := receive(t, o.intervals); interval != time.Minute {
		t.Errorf("the interval is %s, want a minute", interval)
	}
}

// endInterval ends the interval that the reporter waits for.
func (o *fakeOperator) endInterval(t *testing.T) {
	t.Helper()
	select {
	case o.intervalEnd <- time.Time{}:
	case <-time.After(patience):
		t.Fatal("the reporter does not wait for the end of the interval")
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("nothing was received")
	}
	panic("not reached")
}

func (o *fakeOperator) assertHintsCounted(t *testing.T, failed, sent int) {
	t.Helper()
	var want strings.Builder
	want.WriteString("# HELP mandrill_receiver_signature_hints_total Reports of bad signatures to the operator, by outcome.\n# TYPE mandrill_receiver_signature_hints_total counter\n")
	for _, line := range []struct {
		outcome string
		n       int
	}{{"failed", failed}, {"sent", sent}} {
		if line.n > 0 {
			fmt.Fprintf(&want, "mandrill_receiver_signature_hints_total{outcome=%q} %d\n", line.outcome, line.n)
		}
	}
	if err := testutil.GatherAndCompare(o.registry, strings.NewReader(want.String()), "mandrill_receiver_signature_hints_total"); err != nil {
		t.Error(err)
	}
	if log := o.log.String(); strings.Contains(log, "s3ntinel") || strings.Contains(log, "127.0.0.1") {
		t.Errorf("the log has the operator's address:\n%s", log)
	}
}

func TestHundredBadSignaturesAreTwoRequests(t *testing.T) {
	t.Parallel()
	f, o := newFixture(t), newFakeOperator(t)
	document := &routes.Document{}
	for _, name := range []string{"shop/a", "shop/b", "shop/b~1", "shop/c", "shop/d"} {
		document.Routes = append(document.Routes, routes.Route{Name: name, URL: "https://a.example/" + name, Keys: []string{signingKey}, Source: "/s", Sink: routes.Sink{URI: "http://x.example"}})
	}
	f.loadRoutes(t, document)
	handler := f.handlerReporting(o.HintReporter)
	send := func(name string) {
		t.Helper()
		response := httptest.NewRecorder()
		if handler.ServeHTTP(response, f.requestTo(t, "/"+name, "https://a.example/"+name, "s3ntinel-new-key", `[{"event":"open"}]`)); response.Code != http.StatusForbidden {
			t.Fatalf("status %d, want 403", response.Code)
		}
	}
	send("shop/d")
	o.expectHints(t, http.StatusAccepted, "shop/d")
	for range 25 {
		for _, name := range []string{"shop/c", "shop/b~1", "shop/a", "shop/b"} {
			send(name)
		}
	}
	o.endInterval(t)
	o.expectHints(t, http.StatusNoContent, "shop/a", "shop/b", "shop/c")
	o.endInterval(t)
	send("shop/d") // after a quiet interval the first one is reported at once again
	o.expectHints(t, http.StatusOK, "shop/d")
	o.assertHintsCounted(t, 0, 3)
	f.assertNoSecrets(t)
}

// Hints whose report failed are reported again. Only 2xx counts as success; redirects are not followed.
func TestHintsAreKeptWhileTheOperatorIsDown(t *testing.T) {
	t.Parallel()
	o := newFakeOperator(t)
	o.BadSignature("shop/b")
	o.expectHints(t, http.StatusServiceUnavailable, "shop/b")
	for _, status := range []int{http.StatusTemporaryRedirect, http.StatusFound, http.StatusNotFound} {
		o.BadSignature("shop/a")
		o.endInterval(t)
		o.expectHints(t, status, "shop/a", "shop/b")
	}
	o.endInterval(t)
	o.expectHints(t, http.StatusOK, "shop/a", "shop/b")
	o.assertHintsCounted(t, 4, 1)
	if log := o.log.String(); strings.Count(log, `"level":"WARN"`) != 4 || !strings.Contains(log, "the operator answered with status 503") {
		t.Errorf("the log does not tell the failure:\n%s", log)
	}
}

func TestPendingHintsAreBounded(t *testing.T) {
	t.Parallel()
	o := newFakeOperator(t)
	o.BadSignature("first")
	o.statuses <- http.StatusServiceUnavailable
	receive(t, o.requests)
	receive(t, o.intervals)
	for i := range 10_500 {
		o.BadSignature(fmt.Sprintf("shop/%05d", i))
	}
	seen := map[string]bool{}
	for range 10 {
		o.endInterval(t)
		o.statuses <- http.StatusOK
		names := receive(t, o.requests)
		if len(names) != 1000 || !slices.IsSorted(names) {
			t.Errorf("%d names, want 1000 in order", len(names))
		}
		for _, name := range names {
			seen[name] = true
		}
		receive(t, o.intervals)
	}
	if len(seen) != 10_000 || !seen["first"] {
		t.Errorf("%d names in all, want 10000, the one whose report failed among them", len(seen))
	}
	o.BadSignature("last")
	o.endInterval(t)
	o.expectHints(t, http.StatusOK, "last")
	o.assertHintsCounted(t, 1, 11)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// An operator that hangs, or a reporter that does not run, must not hold up Mandrill's requests.
func TestHintsNeverBlock(t *testing.T) {
	t.Parallel()
	idle := receiver.NewHintReporter(receiver.HintReporterOptions{}) // does not run
	for i := range 20_000 {
		idle.BadSignature(strconv.Itoa(i))
	}
	log := &logbuffer.Buffer{}
	asked, answers := make(chan time.Duration), make(chan error)
	reporter := receiver.NewHintReporter(receiver.HintReporterOptions{
		URL: "http://s3ntinel.example", Metrics: receiver.NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.NewJSONHandler(log, nil)),
		HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			deadline, _ := r.Context().Deadline()
			asked <- time.Until(deadline)
			return nil, <-answers
		})},
		After: func(time.Duration) <-chan time.Time {
			over := make(chan time.Time)
			close(over)
			return over
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { reporter.Run(ctx); close(done) }()
	reporter.BadSignature("shop/a")
	for range 2 {
		if timeout := receive(t, asked); timeout <= 0 || timeout > 5*time.Second {
			t.Errorf("the request may take %s, want up to 5 seconds", timeout)
		}
		for range 100 {
			reporter.BadSignature("shop/b")
		}
		answers <- context.DeadlineExceeded
	}
	receive(t, asked)
	cancel()
	answers <- context.Canceled
	receive(t, done)
	if text := log.String(); strings.Count(text, "the operator did not answer in time") != 2 || strings.Count(text, "\n") != 2 || strings.Contains(text, "s3ntinel") {
		t.Errorf("want two timeouts and nothing else in the log:\n%s", text)
	}
}

func TestUnreachableOperatorIsLoggedWithoutItsAddress(t *testing.T) {
	t.Parallel()
	log, asked := &logbuffer.Buffer{}, make(chan struct{})
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	reporter := receiver.NewHintReporter(receiver.HintReporterOptions{
		URL: server.URL, Metrics: receiver.NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.NewJSONHandler(log, nil)),
		After: func(time.Duration) <-chan time.Time { close(asked); return nil },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { reporter.Run(ctx); close(done) }()
	reporter.BadSignature("shop/a")
	receive(t, asked)
	cancel()
	receive(t, done)
	if text := log.String(); !strings.Contains(text, "the operator's address refused the connection") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the log does not say that the connection was refused:\n%s", text)
	}
}
