package receiver_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

const (
	signingKey  = "s3ntinel-signing-key"
	plainURL    = "https://hooks.example.com/mandrill/shop"
	guardedURL  = "https://robot:s3ntinel%21pass@hooks.example.com/guarded?secret=s3ntinel-token&v=2"
	keylessURL  = "https://hooks.example.com/keyless"
	suspendedRL = "https://hooks.example.com/suspended"
)

// consumer is an HTTP sink that decodes CloudEvents with the SDK.
type sinkServer struct {
	*httptest.Server
	mu     sync.Mutex
	events []cloudevents.Event
	status func(cloudevents.Event) int // default: 202
}

func newSinkServer(t *testing.T) *sinkServer {
	t.Helper()
	c := &sinkServer{status: func(cloudevents.Event) int { return http.StatusAccepted }}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *sinkServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cehttp.NewEventFromHTTPRequest(r)
	if err == nil {
		err = event.Validate()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	status := c.status(*event)
	if status < 300 {
		c.events = append(c.events, *event)
	}
	w.WriteHeader(status)
}

func (c *sinkServer) takeEvents() []cloudevents.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.events
	c.events = nil
	return taken
}

// fixture is a receiver with a route of each sort and one consumer behind all.
type fixture struct {
	*httptest.Server
	sink *sinkServer
	routes   *routing.Routes
	registry *prometheus.Registry
	metrics  *receiver.Metrics
	log      *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

const maxBody = 1 << 20

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{sink: newSinkServer(t), registry: prometheus.NewRegistry(), log: &lockedBuffer{}}
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
	suspended := route("suspended", suspendedRL, signingKey)
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

// request is a signed batch for the plain route; a test changes what it is about.
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
	response, err := http.DefaultClient.Do(request)
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

func TestBatchBecomesCloudEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	samples := mandrilltest.Samples()
	names := slices.Sorted(maps.Keys(samples))
	var events [][]byte
	for _, name := range names {
		events = append(events, bytes.TrimSpace(samples[name]))
	}
	response, body := f.do(t, f.request(t, string(mandrilltest.Batch(events...))))
	if response.StatusCode != http.StatusOK || body != "" {
		t.Fatalf("got %d %q, want 200 and nothing", response.StatusCode, body)
	}
	got := map[string]cloudevents.Event{}
	for _, event := range f.sink.takeEvents() {
		got[string(event.Data())] = event
	}
	for i, name := range names {
		event, ok := got[string(events[i])]
		if !ok {
			t.Errorf("%s did not arrive with its bytes as they were", name)
			continue
		}
		if event.DataContentType() != "application/json" || event.Source() != "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/plain" {
			t.Errorf("%s: content type %q, source %q", name, event.DataContentType(), event.Source())
		}
	}
	if len(got) != len(names) {
		t.Errorf("%d events arrived, want %d", len(got), len(names))
	}
}

func TestOddElementsAreDelivered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	elements := []string{`null`, `42`, `"x"`, `[]`, `{}`, `{"event":`, `{"event":"tomorrow"}`, `{"event":"open"}`, `{"event":"open"}`, `{"event":"open"}`}
	// an element that is cut would swallow the rest: make it a fault that ends within the element
	elements[5] = `{"event":}`
	response, _ := f.do(t, f.request(t, "["+strings.Join(elements, " , ")+"]"))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d, want 200", response.StatusCode)
	}
	var got []string
	ids := map[string]bool{}
	for _, event := range f.sink.takeEvents() {
		got = append(got, event.Type()+" "+event.DataContentType()+" "+string(event.Data()))
		ids[event.ID()] = true
	}
	slices.Sort(got)
	want := []string{
		"com.mandrill.message.open application/json " + elements[7], "com.mandrill.message.open application/json " + elements[8],
		"com.mandrill.message.open application/json " + elements[9], "com.mandrill.message.tomorrow application/json " + elements[6],
		`com.mandrill.unknown application/json "x"`, "com.mandrill.unknown application/json 42", "com.mandrill.unknown application/json []",
		"com.mandrill.unknown application/json null", "com.mandrill.unknown application/json {}", `com.mandrill.unknown application/octet-stream {"event":}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if len(ids) != len(elements) {
		t.Errorf("%d ids for %d events", len(ids), len(elements))
	}
}

// unreadable fails the test when the body is read.
type mustNotRead struct{ t *testing.T }

func (u mustNotRead) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	const batch = `[{"event":"open","_id":"s3ntinel-payload","msg":{"email":"s3ntinel@shop.example"}}]`
	big := `["` + strings.Repeat("a", maxBody) + `"]`
	for _, test := range []struct {
		name    string
		status  int
		body    string
		request func(*testing.T, *fixture) *http.Request
	}{
		{"unknown path", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/other", plainURL, signingKey, batch)
		}},
		{"path with a slash more", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop/", plainURL, signingKey, batch)
		}},
		{"path with an escape", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/sho%70", plainURL, signingKey, batch)
		}},
		{"path in capitals", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/Mandrill/shop", plainURL, signingKey, batch)
		}},
		{"PUT", 405, "method", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Method = http.MethodPut
			return request
		}},
		{"too large", 413, "too_large", func(t *testing.T, f *fixture) *http.Request { return f.request(t, big) }},
		{"too large, chunked", 413, "too_large", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, big)
			request.ContentLength = -1
			request.Body = io.NopCloser(io.MultiReader(request.Body)) // hides the length
			request.GetBody = nil
			return request
		}},
		{"no form", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Set("Content-Type", "application/json")
			return request
		}},
		{"no content type", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Del("Content-Type")
			return request
		}},
		{"content encoding", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Set("Content-Encoding", "gzip")
			return request
		}},
		{"bad escape", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.requestWithBody(t, "mandrill_events=%5") }},
		{"repeated field", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			return f.requestWithBody(t, "mandrill_events=[]&mandrill_events=[]")
		}},
		{"no field", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.requestWithBody(t, "events=[]") }},
		{"empty body", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.requestWithBody(t, "") }},
		{"no array", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.request(t, `{"event":"open"}`) }},
		{"array cut short", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.request(t, batch[:len(batch)-1]) }},
		{"unsigned", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Del(mandrill.SignatureHeader)
			return request
		}},
		{"wrong key", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL, "forged", batch)
		}},
		{"signed for another URL", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL+"/", signingKey, batch)
		}},
		{"another batch", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestWithBody(t, "mandrill_events=[1]")
			request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(signingKey, plainURL, mandrill.Form{{Name: mandrill.EventsField, Value: []byte("[2]")}}))
			return request
		}},
		{"an added field", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestWithBody(t, "mandrill_events=[1]&x=1")
			request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(signingKey, plainURL, mandrill.Form{{Name: mandrill.EventsField, Value: []byte("[1]")}}))
			return request
		}},
		{"a batch with the test key", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, batch)
		}},
		{"a batch with the test key and no key yet", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/keyless", keylessURL, mandrill.TestKey, batch)
		}},
		{"no array with the test key", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, "")
		}},
		{"without the secret parts", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/guarded", guardedURL, signingKey, batch)
		}},
		{"without the password", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestTo(t, "/guarded?secret=s3ntinel-token&v=2", guardedURL, signingKey, batch)
			request.SetBasicAuth("robot", "other")
			return request
		}},
		{"without the parameter", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestTo(t, "/guarded?secret=other&v=2", guardedURL, signingKey, batch)
			request.SetBasicAuth("robot", "s3ntinel!pass")
			return request
		}},
		{"no key yet", 503, "not_ready", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/keyless", keylessURL, signingKey, batch)
		}},
		{"suspended", 503, "not_ready", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/suspended", suspendedRL, signingKey, batch)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			response, body := f.do(t, test.request(t, f))
			if response.StatusCode != test.status || body != test.body+"\n" {
				t.Errorf("got %d %q, want %d %q", response.StatusCode, body, test.status, test.body)
			}
			if test.status == http.StatusMethodNotAllowed && response.Header.Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("Allow is %q", response.Header.Get("Allow"))
			}
			if got := f.sink.takeEvents(); len(got) != 0 {
				t.Errorf("%d events were delivered", len(got))
			}
			f.assertOutcome(t, test.body)
			f.assertNoSecrets(t)
		})
	}
}

// withBody is a request of any body, signed for what its form holds, if it is one.
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
	want := fmt.Sprintf("# HELP mandrill_receiver_requests_total Requests by outcome; all except accepted and probe were refused.\n# TYPE mandrill_receiver_requests_total counter\nmandrill_receiver_requests_total{outcome=%q} 1\n", outcome)
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(want), "mandrill_receiver_requests_total"); err != nil {
		t.Error(err)
	}
}

// assertNoSecrets looks for what must not be there: every key, secret, payload and address has a sentinel.
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

func TestUnknownPathIsAnsweredBeforeTheBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, want := range map[string]int{"/nowhere": http.StatusNotFound, "/suspended": http.StatusServiceUnavailable} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, mustNotRead{t})
		request.Header.Set(mandrill.SignatureHeader, "x")
		response := httptest.NewRecorder()
		f.Config.Handler.ServeHTTP(response, request)
		if response.Code != want {
			t.Errorf("%s: status %d, want %d", path, response.Code, want)
		}
	}
}

func TestProbesAreAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, test := range []struct {
		name    string
		request *http.Request
	}{
		{"HEAD", f.bareRequest(t, http.MethodHead, "/keyless")},
		{"GET", f.bareRequest(t, http.MethodGet, "/keyless")},
		{"HEAD without the secret part", f.bareRequest(t, http.MethodHead, "/guarded")},
		{"HEAD of a suspended route", f.bareRequest(t, http.MethodHead, "/suspended")},
		{"test key, no key yet", f.requestTo(t, "/keyless", keylessURL, mandrill.TestKey, "[]")},
		{"test key", f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, " [ ] ")},
		{"own key, empty", f.request(t, "[]")},
		{"previous key, empty", f.requestTo(t, "/mandrill/shop", plainURL, "previous", "[]")},
	} {
		if response, body := f.do(t, test.request); response.StatusCode != http.StatusOK || body != "" {
			t.Errorf("%s: got %d %q, want 200", test.name, response.StatusCode, body)
		}
	}
	if got := f.sink.takeEvents(); len(got) != 0 {
		t.Errorf("%d events were delivered", len(got))
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

func TestSecretPartsOfTheURLAreAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	request := f.requestTo(t, "/guarded?v=2&added=1&secret=s3ntinel-token", guardedURL, signingKey, `[{"event":"open"}]`)
	request.SetBasicAuth("robot", "s3ntinel!pass")
	if response, body := f.do(t, request); response.StatusCode != http.StatusOK {
		t.Errorf("got %d %q, want 200", response.StatusCode, body)
	}
	if got := f.sink.takeEvents(); len(got) != 1 {
		t.Errorf("%d events were delivered, want 1", len(got))
	}
	f.assertNoSecrets(t)
}

func TestMultipartIsAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	batch := `[{"event":"open","x":"a+b%20\/"}]`
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	if err := errors.Join(writer.WriteField(mandrill.EventsField, batch), writer.Close()); err != nil {
		t.Fatal(err)
	}
	request := f.request(t, batch)
	request.Body, request.ContentLength = io.NopCloser(&body), int64(body.Len())
	request.Header.Set("Content-Type", writer.FormDataContentType())
	if response, text := f.do(t, request); response.StatusCode != http.StatusOK {
		t.Fatalf("got %d %q, want 200", response.StatusCode, text)
	}
	if got := f.sink.takeEvents(); len(got) != 1 || string(got[0].Data()) != batch[1:len(batch)-1] {
		t.Errorf("delivered %v", got)
	}
}

func TestSinkRefusalIsAnsweredWith502(t *testing.T) {
	t.Parallel()
	const batch = `[{"event":"send","_id":"a"},{"event":"open","_id":"b"},{"event":"click","_id":"c"}]`
	for _, test := range []struct {
		name      string
		status    int // for the event "open"
		want      int
		delivered int // at least
	}{
		{"500", 500, 502, 0},
		{"429", 429, 502, 0},
		{"400 does not keep the others back", 400, 502, 2},
		{"redirect", 302, 502, 2},
		{"200", 200, 200, 3},
		{"204", 204, 200, 3},
	} {
		f := newFixture(t)
		f.sink.status = func(event cloudevents.Event) int {
			if event.Type() == "com.mandrill.message.open" {
				return test.status
			}
			return http.StatusAccepted
		}
		response, _ := f.do(t, f.request(t, batch))
		if got := len(f.sink.takeEvents()); response.StatusCode != test.want || got < test.delivered {
			t.Errorf("%s: status %d with %d delivered, want %d with %d", test.name, response.StatusCode, got, test.want, test.delivered)
		}
		f.assertNoSecrets(t)
	}
	f := newFixture(t)
	f.sink.Close()
	if response, body := f.do(t, f.request(t, batch)); response.StatusCode != http.StatusBadGateway || body != "sink_refused\n" {
		t.Errorf("no sink: got %d %q, want 502", response.StatusCode, body)
	}
	f.assertNoSecrets(t)
}

// Events of one message go out in order, and one that may be accepted later keeps those after it back.
func TestEventsOfAMessageAreSentInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var batch [][]byte
	for i := range 40 {
		for _, id := range []string{"a", "b", "c"} {
			batch = append(batch, fmt.Appendf(nil, `{"event":"e%d","_id":%q}`, i, id))
		}
	}
	if response, _ := f.do(t, f.request(t, string(mandrilltest.Batch(batch...)))); response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	next := map[string]int{}
	for _, event := range f.sink.takeEvents() {
		if want := fmt.Sprintf("com.mandrill.message.e%d", next[event.Subject()]); event.Type() != want {
			t.Fatalf("message %s: got %s, want %s", event.Subject(), event.Type(), want)
		}
		next[event.Subject()]++
	}
	f.sink.status = func(event cloudevents.Event) int {
		if event.Type() == "com.mandrill.message.e5" {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	for i := range batch { // another batch: what was delivered is not sent again
		batch[i] = bytes.Replace(batch[i], []byte("}"), []byte(`,"more":1}`), 1)
	}
	if response, _ := f.do(t, f.request(t, string(mandrilltest.Batch(batch...)))); response.StatusCode != http.StatusBadGateway {
		t.Fatalf("status %d, want 502", response.StatusCode)
	}
	for _, event := range f.sink.takeEvents() {
		if number := strings.TrimPrefix(event.Type(), "com.mandrill.message.e"); len(number) > 1 || number > "5" {
			t.Errorf("event %s went out after one of its message that failed", number)
		}
	}
}

func TestHangingSinkTimesOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	document := f.document()
	document.Routes[0].Sink.URI = hanging.URL
	document.Routes[0].Delivery.Timeout = "PT0.05S"
	f.loadRoutes(t, document)
	start := time.Now()
	if response, _ := f.do(t, f.request(t, `[{"event":"open"}]`)); response.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d, want 502", response.StatusCode)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s, the route's timeout is 50 ms", took)
	}
}

func TestOneLogLinePerRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.log.Reset()
	f.do(t, f.request(t, `[{"event":"open"},{"event":"click"}]`))
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	if len(lines) != 1 {
		t.Fatalf("%d log lines:\n%s", len(lines), f.log)
	}
	for _, want := range []string{`"msg":"Answered a request"`, `"webhook":"shop/plain"`, `"outcome":"accepted"`, `"status":200`, `"events":2`, `"bytes":`, `"duration":`} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the log line lacks %s: %s", want, lines[0])
		}
	}
	f.assertNoSecrets(t)
}

// A receiver that has just started does not know yet which paths there are.
func TestRequestsAreRefusedUntilRoutesAreLoaded(t *testing.T) {
	t.Parallel()
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	loaded := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	handler := receiver.NewHandler(receiver.Options{Routes: loaded, Metrics: metrics, Logger: slog.New(slog.DiscardHandler)})
	status := func() int {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequest(http.MethodPost, "/mandrill/shop", strings.NewReader("")))
		return response.Code
	}
	if got := status(); got != http.StatusServiceUnavailable {
		t.Errorf("without routes the status is %d, want 503", got)
	}
	if err := loaded.Load("routes", []byte("routes: []")); err != nil {
		t.Fatal(err)
	}
	loaded.Complete()
	if got := status(); got != http.StatusNotFound {
		t.Errorf("with routes the status is %d, want 404", got)
	}
}
