package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

const (
	sinkURI = "http://robot:s3ntinel@sink.example/in?key=s3ntinel"
	deadURI = "http://dead.example/s3ntinel"
)

// fakeSinks is a Poster for all hosts. It records each request as "SECONDS HOST EVENT"; answer sees the last part of the event's type.
type fakeSinks struct {
	mu     sync.Mutex
	began  time.Time
	sent   []string
	answer func(host, event string) error
}

func (s *fakeSinks) Post(ctx context.Context, target sink.Target, payload sink.Payload) (int, error) {
	host, _, _ := strings.Cut(strings.TrimPrefix(target.URI[strings.LastIndex(target.URI, "//")+2:], "robot:s3ntinel@"), ".")
	event := strings.TrimPrefix(cloudevent.Header(payload.Fields).Get("Ce-Type"), "com.mandrill.message.")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, fmt.Sprintf("%gs %s %s", time.Since(s.began).Seconds(), host, event))
	if s.answer != nil {
		if err := s.answer(host, event); err != nil {
			return 0, err
		}
	}
	return 0, ctx.Err()
}

// directFixture is a receiver in Direct mode with fake sinks, for synctest bubbles.
type directFixture struct {
	*fakeSinks
	t        *testing.T
	handler  http.Handler
	registry *prometheus.Registry
	metrics  *receiver.Metrics
	log      *logbuffer.Buffer
	routes   *routing.Routes
}

func newDirectFixture(t *testing.T, delivery routes.Delivery) *directFixture {
	t.Helper()
	d := &directFixture{fakeSinks: &fakeSinks{began: time.Now()}, t: t, registry: prometheus.NewRegistry(), log: &logbuffer.Buffer{}}
	d.metrics = receiver.NewMetrics(d.registry)
	logger := slog.New(slog.NewJSONHandler(d.log, nil))
	d.routes = &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	d.loadRoutes(routes.Route{Name: "shop/a", URL: plainURL, Keys: []string{signingKey}, Source: "/s", Sink: routes.Sink{URI: sinkURI}, Delivery: delivery})
	sender := sink.NewSender(sink.Options{Poster: d.fakeSinks, Metrics: sink.NewMetrics(d.registry)})
	d.handler = receiver.NewHandler(receiver.Options{Routes: d.routes, Sender: sender, Metrics: d.metrics, Logger: logger})
	return d
}

func (d *directFixture) loadRoutes(list ...routes.Route) {
	d.t.Helper()
	data, err := (&routes.Document{Routes: list}).Encode()
	if err == nil {
		err = d.routes.Load("routes", data)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.routes.Complete()
}

// post posts a batch as Mandrill does. Events are like "open a": a name and the message. It returns the status, what was sent
// to sinks, and how long the request took.
func (d *directFixture) post(events ...string) (status int, sent []string, took time.Duration) {
	d.t.Helper()
	var batch [][]byte
	for _, event := range events {
		name, id, _ := strings.Cut(event, " ")
		batch = append(batch, fmt.Appendf(nil, `{"event":%q,"_id":%q,"s3ntinel":1}`, name, id))
	}
	request, err := mandrilltest.NewRequest(d.t.Context(), plainURL, plainURL, signingKey, mandrilltest.Batch(batch...))
	if err != nil {
		d.t.Fatal(err)
	}
	d.began, d.sent = time.Now(), nil
	response := httptest.NewRecorder()
	d.handler.ServeHTTP(response, request)
	if log := d.log.String(); strings.Contains(log, "s3ntinel") {
		d.t.Errorf("the log holds a secret, a payload or an address:\n%s", log)
	}
	return response.Code, d.sent, time.Since(d.began)
}

func (d *directFixture) wantPost(name string, status int, sent []string, events ...string) {
	d.t.Helper()
	gotStatus, gotSent, _ := d.post(events...)
	slices.Sort(gotSent)
	slices.Sort(sent)
	if diff := cmp.Diff(sent, gotSent); gotStatus != status || diff != "" {
		d.t.Errorf("%s: status %d, want %d; sent (-want +got):\n%s", name, gotStatus, status, diff)
	}
}

func (d *directFixture) wantEvents(want map[string]float64) {
	d.t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		d.t.Fatal(err)
	}
	if diff := cmp.Diff(want, counterByLabel(d.t, d.registry, "mandrill_receiver_events_total", "outcome")); diff != "" {
		d.t.Errorf("events (-want +got):\n%s", diff)
	}
	if text := fmt.Sprint(families); strings.Contains(text, "s3ntinel") {
		d.t.Errorf("the metrics hold a secret, a payload or an address:\n%s", text)
	}
}

func failEvents(err error, events ...string) func(string, string) error {
	return func(host, event string) error {
		if host == "sink" && slices.Contains(events, event) {
			return err
		}
		return nil
	}
}

func (s *fakeSinks) setAnswer(answer func(host, event string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// Mandrill repeats the whole batch when an event failed. Delivered events are known for some hours and are not sent again.
func TestRepeatedBatchSendsOnlyUndeliveredEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDirectFixture(t, routes.Delivery{})
		batch := []string{"send a", "open a", "click a", "send b", "open b"}
		d.setAnswer(failEvents(&sink.Error{Status: 500}, "open"))
		d.wantPost("first", http.StatusBadGateway, []string{"0s sink send", "0s sink open", "0s sink send", "0s sink open"}, batch...)
		time.Sleep(25 * time.Minute)
		d.wantPost("second", http.StatusBadGateway, []string{"0s sink open", "0s sink open"}, batch...)
		d.setAnswer(nil)
		d.wantPost("third", http.StatusOK, []string{"0s sink open", "0s sink open", "0s sink click"}, batch...)
		d.wantPost("fourth", http.StatusOK, nil, batch...)
		d.wantPost("another", http.StatusOK, []string{"0s sink spam"}, "spam a", "open a")
		d.wantEvents(map[string]float64{"accepted": 6, "failed": 6, "duplicate": 2 + 2 + 5 + 1})
		time.Sleep(9*time.Hour - time.Minute)
		d.wantPost("after nearly nine hours", http.StatusOK, nil, "spam a")
		time.Sleep(18 * time.Hour)
		d.wantPost("after a day", http.StatusOK, []string{"0s sink spam"}, "spam a")
	})
}

// The cache belongs to the webhook: a route for its earlier URL shares it, another webhook does not.
func TestDeliveredCacheIsPerWebhook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDirectFixture(t, routes.Delivery{})
		route := func(name, url string) routes.Route {
			return routes.Route{Name: name, URL: url, Keys: []string{signingKey}, Source: "/s", Sink: routes.Sink{URI: sinkURI}}
		}
		d.wantPost("first", http.StatusOK, []string{"0s sink open"}, "open a")
		d.loadRoutes(route("shop/a", "https://new.example/"), route("shop/a~1", plainURL))
		d.wantPost("its earlier URL", http.StatusOK, nil, "open a")
		d.loadRoutes(route("shop/b", plainURL))
		d.wantPost("another webhook", http.StatusOK, []string{"0s sink open"}, "open a")
	})
}

func TestDirectModeRetriesWithinTheTimeOfTheBatch(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		delivery routes.Delivery
		fails    error
		times    int
		status   int
		sent     []string
		took     time.Duration
	}{
		"none by default": {routes.Delivery{}, &sink.Error{Status: 500}, 1, 502, []string{"0s sink open"}, 0},
		"exponential": {routes.Delivery{Retry: new(3)}, &sink.Error{Status: 500}, 3, 200,
			[]string{"0s sink open", "1s sink open", "3s sink open", "7s sink open", "7s sink click"}, 7 * time.Second},
		"linear": {routes.Delivery{Retry: new(3), BackoffPolicy: "linear", BackoffDelay: "PT0.5S"}, errors.New("down"), 3, 200,
			[]string{"0s sink open", "0.5s sink open", "1.5s sink open", "3s sink open", "3s sink click"}, 3 * time.Second},
		"retries used up":   {routes.Delivery{Retry: new(1)}, &sink.Error{Status: 500}, 9, 502, []string{"0s sink open", "1s sink open"}, time.Second},
		"permanent failure": {routes.Delivery{Retry: new(3)}, &sink.Error{Status: 400}, 9, 502, []string{"0s sink open", "0s sink click"}, 0},
		"until the time of the batch is over": {routes.Delivery{Retry: new(100)}, &sink.Error{Status: 500}, 99, 502,
			[]string{"0s sink open", "1s sink open", "3s sink open", "7s sink open", "15s sink open"}, 15 * time.Second},
		"Retry-After": {routes.Delivery{Retry: new(1)}, &sink.Error{Status: 429, After: 5 * time.Second}, 1, 200,
			[]string{"0s sink open", "5s sink open", "5s sink click"}, 5 * time.Second},
		"Retry-After longer than the time of the batch": {routes.Delivery{Retry: new(1)}, &sink.Error{Status: 429, After: time.Minute}, 1, 502,
			[]string{"0s sink open"}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDirectFixture(t, test.delivery)
			failures := test.times
			d.setAnswer(func(_, event string) error {
				if failures--; failures >= 0 && event == "open" {
					return test.fails
				}
				return nil
			})
			status, sent, took := d.post("open a", "click a")
			if diff := cmp.Diff(test.sent, sent); status != test.status || took != test.took || diff != "" {
				t.Errorf("%s: status %d after %s, want %d after %s; sent (-want +got):\n%s", name, status, took, test.status, test.took, diff)
			}
		})
	}
}

func TestEventsThatFailGoToTheDeadLetterSink(t *testing.T) {
	t.Parallel()
	dead := &routes.Sink{URI: deadURI}
	for name, test := range map[string]struct {
		delivery routes.Delivery
		answer   func(host, event string) error
		status   int
		sent     []string
		outcomes map[string]float64
	}{
		"refused for good": {routes.Delivery{DeadLetterSink: dead}, failEvents(&sink.Error{Status: 422}, "open"), 200,
			[]string{"0s sink open", "0s dead open", "0s sink click"}, map[string]float64{"accepted": 1, "dead_letter_sink": 1}},
		"may pass, and no retries are set": {routes.Delivery{DeadLetterSink: dead}, failEvents(&sink.Error{Status: 500}, "open"), 502,
			[]string{"0s sink open"}, map[string]float64{"failed": 2}},
		"kept failing": {routes.Delivery{DeadLetterSink: dead, Retry: new(1)}, failEvents(&sink.Error{Status: 500}, "open"), 200,
			[]string{"0s sink open", "1s sink open", "1s dead open", "1s sink click"}, map[string]float64{"accepted": 1, "dead_letter_sink": 1}},
		"the dead letter sink fails": {routes.Delivery{DeadLetterSink: dead}, func(host, event string) error {
			if event == "open" {
				return &sink.Error{Status: map[string]int{"sink": 422, "dead": 500}[host]}
			}
			return nil
		}, 502, []string{"0s sink open", "0s dead open", "0s sink click"}, map[string]float64{"accepted": 1, "failed": 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDirectFixture(t, test.delivery)
			d.setAnswer(test.answer)
			d.wantPost(name, test.status, test.sent, "open a", "click a")
			d.wantEvents(test.outcomes)
			if test.status == http.StatusOK {
				d.wantPost(name+", again", http.StatusOK, nil, "open a", "click a")
			} else if log := d.log.String(); strings.Contains(strings.Join(test.sent, " "), "dead") && !strings.Contains(log, "422; and the dead letter sink: the sink answered with status 500") {
				t.Errorf("%s: the log does not tell the reason: %s", name, log)
			}
		})
	}
}

// Once a sink is known to be down, batches are refused at once. After the pause they are delivered.
func TestOpenCircuitRefusesBatchesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDirectFixture(t, routes.Delivery{Retry: new(5)})
		var batch []string
		for i := range 20 {
			batch = append(batch, fmt.Sprint("open ", i))
		}
		d.setAnswer(func(string, string) error { return errors.New("down") })
		if status, sent, took := d.post(batch...); status != http.StatusBadGateway || took > 30*time.Second || len(sent) > 40 {
			t.Errorf("status %d after %s with %d requests", status, took, len(sent))
		}
		if status, sent, took := d.post(batch...); status != http.StatusBadGateway || took != 0 || len(sent) != 0 {
			t.Errorf("while the circuit is open: status %d after %s with %d requests, want 502 at once with none", status, took, len(sent))
		}
		time.Sleep(30 * time.Second)
		d.setAnswer(nil)
		if status, sent, took := d.post(batch...); status != http.StatusOK || took != 0 || len(sent) != 20 {
			t.Errorf("after the pause: status %d after %s with %d requests", status, took, len(sent))
		}
	})
}

// Retried events stay before the later events of their message, of the address on a list, or of the address that received mail.
func TestRetriesKeepTheOrder(t *testing.T) {
	t.Parallel()
	for kind, rest := range map[string]string{
		"messages":     `"_id":%[1]q,"event":"open"`,
		"list changes": `"type":"blacklist","action":"add","reject":{"email":%[1]q}`,
		"inbound mail": `"event":"inbound","msg":{"email":%[1]q}`,
	} {
		for _, mode := range []string{"Binary", "Batched"} {
			t.Run(kind+" "+mode, func(t *testing.T) {
				t.Parallel()
				retriesKeepTheOrder(t, mode, rest)
			})
		}
	}
}

func retriesKeepTheOrder(t *testing.T, mode, rest string) {
	t.Helper()
	f := newFixture(t)
	document := f.document()
	document.Routes[0].Delivery = routes.Delivery{ContentMode: mode, Retry: new(10), BackoffDelay: "PT0.001S", BackoffPolicy: "linear"}
	var mu sync.Mutex
	tries, last := 0, map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries%5 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for part := range strings.SplitSeq(string(body), `"n":`) {
			var n int
			var key string
			if _, err := fmt.Sscanf(part, `%d,"key":%q`, &n, &key); err != nil {
				continue
			}
			if n != last[key]+1 {
				t.Errorf("event %d of %s after %d", n, key, last[key])
			}
			last[key] = n
		}
	}))
	t.Cleanup(server.Close)
	document.Routes[0].Sink.URI = server.URL
	f.loadRoutes(t, document)
	var batch [][]byte
	for n := range 60 {
		for _, key := range []string{"a@x", "b@x", "c@x"} {
			batch = append(batch, fmt.Appendf(nil, `{"n":%d,"key":%q,%s}`, n+1, key, fmt.Sprintf(rest, key)))
		}
	}
	for try := 0; ; try++ {
		response, _ := f.do(t, f.request(t, string(mandrilltest.Batch(batch...))))
		if response.StatusCode == http.StatusOK {
			break
		}
		if try == 20 {
			t.Fatalf("the batch was not delivered in 20 attempts: %v", last)
		}
	}
	if last["a@x"] != 60 || last["b@x"] != 60 || last["c@x"] != 60 {
		t.Errorf("delivered up to %v", last)
	}
}

// The cache holds two generations of the given size at most, the newest events among them.
func TestDeliveredCacheIsBounded(t *testing.T) {
	t.Parallel()
	has, count := receiver.FillDeliveredCache(10, 100)
	if count > 20 || has(99) != true || has(90) != true || has(0) {
		t.Errorf("the cache holds %d events of 100, want the last ones, 20 at most", count)
	}
}

// One HTTP request carries the whole batch, and its JSON holds the events' bytes unchanged.
func TestBatchedModeSendsOneRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
			t.Errorf("%v, %v", r.Header, err)
		}
		bodies = append(bodies, string(body))
	}))
	t.Cleanup(server.Close)
	document := f.document()
	document.Routes[0].Sink.URI, document.Routes[0].Delivery.ContentMode = server.URL, "Batched"
	f.loadRoutes(t, document)
	elements := []string{`{"event":"open", "n":1e400,"s":"\/\u00e9"}`, `{"event":}`, `null`}
	if response, _ := f.do(t, f.request(t, "["+strings.Join(elements, ",")+"]")); response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
	if len(bodies) != 1 || !strings.Contains(bodies[0], `"data":`+elements[0]) || !strings.Contains(bodies[0], `"data_base64":"eyJldmVudCI6fQ=="`) || !strings.Contains(bodies[0], `"data":null`) {
		t.Errorf("sent %q", bodies)
	}
	for label, want := range map[string]string{"mode": "Batched", "outcome": "accepted"} {
		if diff := cmp.Diff(map[string]float64{want: 1}, counterByLabel(t, f.registry, "mandrill_receiver_sink_requests_total", label)); diff != "" {
			t.Errorf("requests by %s (-want +got):\n%s", label, diff)
		}
	}
}
