package receiver_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const (
	signingKey   = "s3ntinel-signing-key"
	formType     = "application/x-www-form-urlencoded"
	plainURL     = "https://hooks.example.com/mandrill/shop"
	guardedURL   = "https://robot:s3ntinel%21pass@hooks.example.com/guarded?secret=s3ntinel-token&v=2"
	keylessURL   = "https://hooks.example.com/keyless"
	suspendedURL = "https://hooks.example.com/suspended"
)

// sinkServer is a sink that decodes CloudEvents with the SDK and records those it accepts.
type sinkServer struct {
	*httptest.Server
	mu     sync.Mutex
	events []cloudevents.Event
	status func(cloudevents.Event) int // default: always 202
}

func newSinkServer(t *testing.T) *sinkServer {
	t.Helper()
	s := &sinkServer{status: func(cloudevents.Event) int { return http.StatusAccepted }}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *sinkServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cehttp.NewEventFromHTTPRequest(r)
	if err == nil {
		err = event.Validate()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status(*event)
	if status < 300 {
		s.events = append(s.events, *event)
	}
	w.WriteHeader(status)
}

func (s *sinkServer) takeEvents() []cloudevents.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.events
	s.events = nil
	return taken
}

// fixture is a receiver with one route of each kind. All of them lead to the same sink.
type fixture struct {
	*httptest.Server
	sink     *sinkServer
	routes   *routing.Routes
	registry *prometheus.Registry
	metrics  *receiver.Metrics
	log      *logbuffer.Buffer
}

// patience is how long a test waits, far longer than any step takes on a busy machine.
const patience = 3 * time.Minute

const maxBody = 1 << 20

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{sink: newSinkServer(t), registry: prometheus.NewRegistry(), log: &logbuffer.Buffer{}}
	logger := slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.metrics = receiver.NewMetrics(f.registry)
	f.routes = &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(f.registry)}
	f.loadRoutes(t, f.document())
	handler := receiver.NewHandler(receiver.Options{
		Routes: f.routes, Sender: sink.NewSender(sink.Options{Metrics: sink.NewMetrics(f.registry)}), Metrics: f.metrics, Logger: logger, MaxBodyBytes: maxBody,
	})
	f.Server = httptest.NewServer(handler)
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) document() *routes.Document {
	route := func(name, url string, keys ...string) routes.Route {
		return routes.Route{
			Name: "shop/" + name, URL: url, Keys: keys,
			Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/" + name,
			Sink:   routes.Sink{URI: f.sink.URL + "/s3ntinel-sink?k=v"},
		}
	}
	suspended := route("suspended", suspendedURL, signingKey)
	suspended.Suspend = true
	return &routes.Document{Routes: []routes.Route{
		route("plain", plainURL, "previous", signingKey), route("guarded", guardedURL, signingKey), route("keyless", keylessURL), suspended,
	}}
}

func (f *fixture) loadRoutes(t *testing.T, document *routes.Document) {
	t.Helper()
	data, err := document.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.routes.Load("routes", data); err != nil {
		t.Fatal(err)
	}
	f.routes.Complete()
}

// request returns a signed batch for the plain route. Tests change the part that they are about.
func (f *fixture) request(t *testing.T, batch string) *http.Request {
	t.Helper()
	return f.requestTo(t, "/mandrill/shop", plainURL, signingKey, batch)
}

func (f *fixture) requestTo(t *testing.T, path, registered, key, batch string) *http.Request {
	t.Helper()
	request, err := mandrilltest.NewRequest(t.Context(), f.URL+path, registered, key, []byte(batch))
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func (f *fixture) do(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	response, err := loopback.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// requestWithBody returns a request with any body, signed if the body is a form.
func (f *fixture) requestWithBody(t *testing.T, body string) *http.Request {
	t.Helper()
	request := f.request(t, "[]")
	form, err := mandrill.ParseForm([]byte(body))
	if err != nil {
		form = nil
	}
	request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(signingKey, plainURL, form))
	request.Body, request.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return request
}

func (f *fixture) assertOutcome(t *testing.T, outcome string) {
	t.Helper()
	counts := counterByLabel(t, f.registry, "mandrill_receiver_requests_total", "outcome")
	if diff := cmp.Diff(map[string]float64{outcome: 1}, counts); diff != "" {
		t.Errorf("requests by outcome (-want +got):\n%s", diff)
	}
}

// assertNoSecrets looks for the sentinel, which is in every key, secret, payload and address, in the log and the metrics.
func (f *fixture) assertNoSecrets(t *testing.T) {
	t.Helper()
	if log := f.log.String(); strings.Contains(log, "s3ntinel") {
		t.Errorf("the log holds a secret, a payload or an address:\n%s", log)
	}
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(families); strings.Contains(text, "s3ntinel") {
		t.Errorf("the metrics hold a secret, a payload or an address:\n%s", text)
	}
}

func (f *fixture) bareRequest(t *testing.T, method, path string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// counterByLabel returns a counter's values that are not zero, summed by one of its labels.
func counterByLabel(t *testing.T, registry *prometheus.Registry, name, label string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, pair := range metric.GetLabel() {
				if pair.GetName() == label && metric.GetCounter().GetValue() != 0 {
					sums[pair.GetValue()] += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return sums
}

// eventually polls a condition that nothing signals, and reports whether it became true.
func eventually(condition func() bool) bool {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-ticker.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
