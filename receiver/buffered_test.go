package receiver_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// buffered is a receiver with a buffer of its own, on disk, that can be stopped and started again.
type buffered struct {
	t          *testing.T
	dir        string
	sinks      *sinks
	routes     *receiver.Routes
	registry   *prometheus.Registry
	metrics    *receiver.Metrics
	log        *lockedBuffer
	options    receiver.DispatcherOptions
	webhooks   map[string]routes.Delivery
	suspended  map[string]bool
	incomplete bool  // not all documents were loaded
	total      int64 // bytes of the buffer
	now        func() time.Time
	poster     sink.Poster // nil: sinks

	handler    http.Handler
	journal    *journal.Journal
	consumer   *atomic.Pointer[journal.Consumer]
	dispatcher *receiver.Dispatcher
	stop       func()
}

// sinks are all there are. What they accept is kept in order.
type sinks struct {
	mu       sync.Mutex
	accepted []string
	attempts map[string]int
	ids      map[string][]string // of each event, by attempt
	last     sink.Payload
	answer   func(host, event string, attempt int) error
	changed  chan struct{}
}

func (s *sinks) Post(_ context.Context, target sink.Target, payload sink.Payload) error {
	host, _, _ := strings.Cut(strings.TrimPrefix(target.URI, "http://"), ".")
	event := host + " " + strings.TrimPrefix(payload.Header.Get("Ce-Type"), "com.mandrill.message.") + " " + payload.Header.Get("Ce-Subject")
	s.mu.Lock()
	s.attempts[event]++
	if s.ids == nil {
		s.ids = map[string][]string{}
	}
	s.ids[event], s.last = append(s.ids[event], payload.Header.Get("Ce-Id")), payload
	attempt, answer := s.attempts[event], s.answer
	s.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(host, event, attempt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.accepted = append(s.accepted, event)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return err
}

func (s *sinks) set(answer func(host, event string, attempt int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// until waits for a condition on what was accepted and how often something was tried.
func (s *sinks) until(t *testing.T, what string, condition func(accepted []string, attempts map[string]int) bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		met, accepted, changed := condition(s.accepted, s.attempts), slices.Clone(s.accepted), s.changed
		s.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s did not happen; accepted were %q", what, accepted)
		}
	}
}

// expect waits until exactly these were accepted, in any order unless they are of one message.
func (s *sinks) expect(t *testing.T, want ...string) {
	t.Helper()
	s.until(t, fmt.Sprintf("delivery of %d events", len(want)), func(accepted []string, _ map[string]int) bool { return len(accepted) >= len(want) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(s.accepted))); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}

func newBuffered(t *testing.T, change ...func(*buffered)) *buffered {
	t.Helper()
	b := &buffered{
		t: t, dir: t.TempDir(), sinks: &sinks{attempts: map[string]int{}, changed: make(chan struct{})},
		log: &lockedBuffer{}, total: journal.MinBytes, webhooks: map[string]routes.Delivery{"a": {BackoffDelay: "PT0.02S"}},
	}
	for _, each := range change {
		each(b)
	}
	b.start()
	return b
}

func hookURL(webhook string) string { return "https://hooks.example.com/" + webhook }

// load puts the routes to use.
func (b *buffered) load() {
	b.t.Helper()
	document := routes.Document{Routes: []routes.Route{}}
	for _, webhook := range slices.Sorted(maps.Keys(b.webhooks)) {
		document.Routes = append(document.Routes, routes.Route{
			Name: "shop/" + webhook, URL: hookURL(webhook), Keys: []string{signingKey}, Source: "/s",
			Sink: routes.Sink{URI: "http://" + webhook + ".example/"}, Delivery: b.webhooks[webhook], Suspend: b.suspended[webhook],
		})
	}
	data, err := document.Encode()
	if err == nil {
		err = b.routes.Load("routes", data)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if !b.incomplete {
		b.routes.Complete()
	}
}

// start runs a receiver on the folder.
func (b *buffered) start() {
	b.t.Helper()
	b.registry = prometheus.NewRegistry()
	b.metrics = receiver.NewMetrics(b.registry)
	logger := slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.routes = &receiver.Routes{Logger: logger, Metrics: b.metrics}
	b.load()
	limits, err := journal.SplitLimits(b.total, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	b.journal = journal.New(journal.Options{
		Engine: &journal.Embedded{Dir: b.dir, Limits: limits, Logger: logger}, Limits: limits, Logger: logger, Metrics: journal.NewMetrics(b.registry), Now: b.now,
	})
	poster := b.poster
	if poster == nil {
		poster = b.sinks
	}
	sender := sink.NewSender(sink.Options{Poster: poster, Metrics: b.metrics.Sinks})
	options := b.options
	options.Routes, options.Sender, options.Metrics, options.Logger = b.routes, sender, b.metrics, logger
	dispatcher := receiver.NewDispatcher(options)
	b.dispatcher = dispatcher
	b.registry.MustRegister(dispatcher)
	b.handler = receiver.NewHandler(receiver.Options{Routes: b.routes, Sender: sender, Metrics: b.metrics, Logger: logger, Buffer: b.journal, Tracer: b.options.Tracer, Now: b.now})
	running, stopJournal := context.WithCancel(context.Background())
	dispatching, stopDispatcher := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := b.journal.Run(running); err != nil {
			b.t.Error(err)
		}
	})
	dispatched, current := make(chan struct{}), new(atomic.Pointer[journal.Consumer])
	b.consumer = current
	group.Go(func() {
		defer close(dispatched)
		_ = b.journal.Lead(dispatching, func(ctx context.Context, consumer *journal.Consumer) error {
			current.Store(consumer)
			return dispatcher.Run(ctx, consumer)
		})
	})
	b.stop = sync.OnceFunc(func() {
		stopDispatcher()
		<-dispatched
		stopJournal()
		group.Wait()
		if log := b.log.String(); strings.Contains(log, "s3ntinel") {
			b.t.Errorf("the log holds a secret, a payload or an address:\n%s", log)
		}
	})
	b.t.Cleanup(b.stop)
	waiting, done := context.WithTimeout(b.t.Context(), time.Minute)
	defer done()
	if err := b.journal.WaitAvailable(waiting); err != nil {
		b.t.Fatal(err)
	}
}

// post posts events like "open a" to a webhook as Mandrill does.
func (b *buffered) post(webhook string, events ...string) {
	b.t.Helper()
	if status := b.status(webhook, events...); status != http.StatusOK {
		b.t.Fatalf("status %d, want 200", status)
	}
}

func (b *buffered) status(webhook string, events ...string) int {
	b.t.Helper()
	var batch [][]byte
	for _, event := range events {
		name, id, _ := strings.Cut(event, " ")
		batch = append(batch, fmt.Appendf(nil, `{"event":%q,"_id":%q,"s3ntinel":1}`, name, id))
	}
	return b.raw(webhook, batch...)
}

// raw posts events byte for byte.
func (b *buffered) raw(webhook string, batch ...[]byte) int {
	b.t.Helper()
	request, err := mandrilltest.NewRequest(b.t.Context(), hookURL(webhook), hookURL(webhook), signingKey, mandrilltest.Batch(batch...))
	if err != nil {
		b.t.Fatal(err)
	}
	response := httptest.NewRecorder()
	b.handler.ServeHTTP(response, request)
	return response.Code
}

// value sums a metric's values, of those labels that are wanted.
func (b *buffered) value(name string, labels ...string) (sum float64) {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var values []string
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			if slices.ContainsFunc(labels, func(label string) bool { return !slices.Contains(values, label) }) {
				continue
			}
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return sum
}

// eventually waits until a condition holds that nothing tells of.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for ticker := time.NewTicker(5 * time.Millisecond); !condition(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// empty waits until nothing waits any more.
func (b *buffered) empty() {
	b.t.Helper()
	eventually(b.t, "an empty backlog", func() bool { return b.value("mandrill_receiver_backlog_events") == 0 })
}

var errDown = &sink.Error{Status: http.StatusInternalServerError, Answer: "s3ntinel"}

func down(webhooks ...string) func(string, string, int) error {
	return func(host, _ string, _ int) error {
		if slices.Contains(webhooks, host) {
			return errDown
		}
		return nil
	}
}

func TestBufferedBatchIsDelivered(t *testing.T) {
	t.Parallel()
	b := newBuffered(t)
	b.post("a", "send 1", "send 2", "open 1")
	b.sinks.expect(t, "a send 1", "a send 2", "a open 1")
	b.post("a", "send 1", "send 2", "open 1") // Mandrill has not seen the answer
	b.post("a", "send 3")
	b.sinks.expect(t, "a send 1", "a send 2", "a open 1", "a send 3")
	b.empty()
	b.stop()
	b.start()
	b.post("a", "send 1", "send 2", "open 1")
	b.post("a", "send 4")
	b.sinks.expect(t, "a send 1", "a send 2", "a open 1", "a send 3", "a send 4")
	if got := b.value("mandrill_receiver_buffer_duplicates_total"); got != 1 {
		t.Errorf("%v duplicates were counted, want 1", got)
	}
}

// Mandrill is told 200 whatever the sink does, and what waits survives a restart.
func TestBufferedSinkThatIsDown(t *testing.T) {
	t.Parallel()
	b := newBuffered(t)
	b.sinks.set(down("a"))
	var want []string
	for i := range 20 {
		b.post("a", fmt.Sprintf("send %d", i), fmt.Sprintf("open %d", i))
		want = append(want, fmt.Sprintf("a send %d", i), fmt.Sprintf("a open %d", i))
	}
	b.sinks.until(t, "an attempt", func(_ []string, attempts map[string]int) bool { return len(attempts) > 0 })
	eventually(t, "notice of all", func() bool { return b.value("mandrill_receiver_backlog_events", "shop/a") == 40 })
	b.stop()
	b.start()
	eventually(t, "the backlog of before", func() bool { return b.value("mandrill_receiver_backlog_events", "shop/a") == 40 })
	b.sinks.set(nil)
	b.sinks.expect(t, want...)
	b.empty()
}

// While one event fails those of other messages go out, and those of its own wait for it, of later batches too.
func TestBufferedOrder(t *testing.T) {
	t.Parallel()
	b := newBuffered(t)
	b.sinks.set(func(_, event string, attempt int) error {
		if event == "a send 1" && attempt < 5 {
			return errDown
		}
		return nil
	})
	b.post("a", "send 1", "open 1", "send 2")
	b.post("a", "click 1", "open 2")
	b.post("a", "send 3", "spam 1")
	b.sinks.expect(t, "a send 1", "a open 1", "a click 1", "a spam 1", "a send 2", "a open 2", "a send 3")
	var ofOne []string
	for _, event := range b.sinks.accepted {
		if strings.HasSuffix(event, " 1") {
			ofOne = append(ofOne, event)
		}
	}
	if diff := cmp.Diff([]string{"a send 1", "a open 1", "a click 1", "a spam 1"}, ofOne); diff != "" {
		t.Errorf("order of one message (-want +got):\n%s", diff)
	}
	b.empty()
}

// What is left, how often it was tried and when it is due survive a restart, and so does the order.
func TestBufferedRestartWithRemainder(t *testing.T) {
	t.Parallel()
	b := newBuffered(t, func(b *buffered) { b.webhooks["a"] = routes.Delivery{BackoffDelay: "PT0.3S"} })
	b.sinks.set(func(_, event string, _ int) error {
		if event == "a send 1" {
			return errDown
		}
		return nil
	})
	b.post("a", "send 1", "open 1", "send 2")
	b.sinks.until(t, "a second attempt", func(_ []string, attempts map[string]int) bool { return attempts["a send 1"] >= 2 })
	b.post("a", "click 1", "open 2")
	b.sinks.expect(t, "a send 2", "a open 2")
	b.stop()
	b.sinks.set(nil)
	b.start()
	b.sinks.expect(t, "a send 2", "a open 2", "a send 1", "a open 1", "a click 1")
	if diff := cmp.Diff([]string{"a send 1", "a open 1", "a click 1"}, b.sinks.accepted[2:]); diff != "" {
		t.Errorf("order of one message (-want +got):\n%s", diff)
	}
	b.empty()
}

func TestBufferedDeadLetters(t *testing.T) {
	t.Parallel()
	retry := 2
	b := newBuffered(t, func(b *buffered) {
		b.webhooks["a"] = routes.Delivery{BackoffDelay: "PT0.01S", Retry: &retry}
		b.webhooks["b"] = routes.Delivery{BackoffDelay: "PT0.01S", Retry: &retry, DeadLetterSink: &routes.Sink{URI: "http://dead.example/"}}
	})
	deadIsDown := true
	b.sinks.set(func(host, event string, attempt int) error {
		switch {
		case strings.HasSuffix(event, "reject 1"):
			return &sink.Error{Status: http.StatusBadRequest, Answer: "no"}
		case strings.HasSuffix(event, "spam 2"):
			return errDown
		case host == "dead" && deadIsDown && attempt < 2:
			return errDown
		}
		return nil
	})
	b.post("a", "reject 1", "open 1", "spam 2", "open 2")
	b.sinks.expect(t, "a open 1", "a open 2")
	b.empty()
	for reason, want := range map[string]float64{journal.ReasonRefused: 1, journal.ReasonExhausted: 1} {
		if got := b.value("mandrill_receiver_dead_lettered_total", reason); got != want {
			t.Errorf("%v were buried for the reason %s, want %v", got, reason, want)
		}
	}
	if got := b.sinks.attempts["a spam 2"]; got != 3 {
		t.Errorf("%d attempts, want one and two retries", got)
	}
	b.sinks.mu.Lock()
	b.sinks.accepted = nil
	b.sinks.mu.Unlock()
	b.sinks.set(func(host, event string, attempt int) error {
		switch {
		case host == "dead" && attempt < 2:
			return errDown
		case host == "b" && strings.HasSuffix(event, "reject 1"):
			return &sink.Error{Status: http.StatusBadRequest, Answer: "no"}
		case host == "b" && strings.HasSuffix(event, "spam 2"):
			return errDown
		}
		return nil
	})
	b.post("b", "reject 1", "open 1", "spam 2", "open 2")
	b.sinks.expect(t, "dead reject 1", "dead spam 2", "b open 1", "b open 2")
	b.empty()
	if got := b.value("mandrill_receiver_dead_lettered_total"); got != 2 {
		t.Errorf("%v are buried, and what the dead letter sink accepted is not", got)
	}
}

// A sink that is down, or hangs, holds up nobody else.
func TestBufferedFairness(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	b := newBuffered(t, func(b *buffered) {
		b.webhooks["b"], b.webhooks["c"] = routes.Delivery{}, routes.Delivery{}
		b.options.Memory = 64 << 10
	})
	defer close(hang)
	b.sinks.set(func(host, _ string, _ int) error {
		switch host {
		case "a":
			return errDown
		case "b":
			<-hang
		}
		return nil
	})
	var want []string
	for i := range 50 {
		for _, webhook := range []string{"a", "b", "c"} {
			b.post(webhook, fmt.Sprintf("send %d", i), fmt.Sprintf("open %d", i))
		}
		want = append(want, fmt.Sprintf("c send %d", i), fmt.Sprintf("c open %d", i))
	}
	b.sinks.expect(t, want...)
}

// An event that hangs holds up those of its message, and of those that were sent together with it, not the others of its
// webhook.
func TestBufferedEventThatHangs(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	b := newBuffered(t)
	b.sinks.set(func(_, event string, _ int) error {
		if event == "a send 1" {
			<-hang
		}
		return nil
	})
	b.post("a", "send 1", "send 2")
	b.sinks.expect(t, "a send 2")
	b.post("a", "open 1", "send 3")
	b.sinks.expect(t, "a send 2", "a send 3")
	b.post("a", "open 3")
	b.sinks.expect(t, "a send 2", "a send 3", "a open 3")
	close(hang)
	b.sinks.expect(t, "a send 2", "a send 3", "a open 3", "a send 1", "a open 1")
	b.empty()
}

// Events that wait go where the route leads now. A route that is suspended sends nothing.
func TestBufferedRouteThatChanges(t *testing.T) {
	t.Parallel()
	b := newBuffered(t)
	b.sinks.set(down("a"))
	b.post("a", "send 1")
	b.sinks.until(t, "an attempt", func(_ []string, attempts map[string]int) bool { return len(attempts) > 0 })
	load := func(route routes.Route) {
		route.Name, route.URL, route.Keys, route.Source = "shop/a", hookURL("a"), []string{signingKey}, "/s"
		data, err := (&routes.Document{Routes: []routes.Route{route}}).Encode()
		if err == nil {
			err = b.routes.Load("routes", data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	load(routes.Route{Sink: routes.Sink{URI: "http://b.example"}, Suspend: true})
	if status := b.status("a", "send 2"); status != http.StatusServiceUnavailable {
		t.Errorf("suspended: status %d, want 503", status)
	}
	b.sinks.mu.Lock()
	sofar := maps.Clone(b.sinks.attempts)
	b.sinks.mu.Unlock()
	if sofar["b send 1"] != 0 {
		t.Error("a suspended route sends nothing")
	}
	load(routes.Route{Sink: routes.Sink{URI: "http://b.example"}})
	b.sinks.expect(t, "b send 1")
	b.empty()
}

// Events of a webhook that is deleted are kept for a time, for which a restart makes no difference, and then buried.
func TestBufferedOrphans(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	ahead := time.Duration(0)
	b := newBuffered(t, func(b *buffered) {
		b.options.DeletedWebhookRetention = time.Hour
		b.options.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
		b.webhooks["b"] = routes.Delivery{}
	})
	b.sinks.set(down("a", "b"))
	b.post("a", "send 1", "open 1")
	b.post("b", "send 2")
	delete(b.webhooks, "a")
	delete(b.webhooks, "b")
	b.load()
	if status := b.status("a", "send 3"); status != http.StatusNotFound {
		t.Errorf("status %d, want 404", status)
	}
	eventually(t, "notice of the orphans", func() bool { return b.orphans() == 2 })
	b.sinks.set(nil)
	b.webhooks["b"] = routes.Delivery{}
	b.load()
	b.sinks.expect(t, "b send 2")
	eventually(t, "notice that one is there again", func() bool { return b.orphans() == 1 })
	b.stop()
	mu.Lock()
	ahead = 59 * time.Minute
	mu.Unlock()
	b.start()
	eventually(t, "the backlog of before", func() bool { return b.value("mandrill_receiver_backlog_events", "shop/a") == 2 })
	b.stop()
	mu.Lock()
	ahead = 61 * time.Minute
	mu.Unlock()
	b.start()
	eventually(t, "burial", func() bool {
		return b.value("mandrill_receiver_dead_lettered_total", journal.ReasonWebhookDeleted) == 2
	})
	b.empty()
	eventually(t, "the end of what is known of it", func() bool { return b.orphans() == 0 })
}

// Whether a webhook is gone is known when all documents are, which is told after the last of them.
func TestBufferedOrphanOfBefore(t *testing.T) {
	t.Parallel()
	b := newBuffered(t)
	b.sinks.set(down("a"))
	b.post("a", "send 1")
	delete(b.webhooks, "a")
	b.stop()
	b.incomplete = true
	b.start()
	eventually(t, "the backlog of before", func() bool { return b.value("mandrill_receiver_backlog_events", "shop/a") == 1 })
	if b.orphans() != 0 {
		t.Error("not all routes are known")
	}
	b.routes.Complete()
	eventually(t, "notice of the orphan", func() bool { return b.orphans() == 1 })
}

// The age of the oldest event is not that of one that was delivered long ago, though something else waited all the time.
func TestBufferedAge(t *testing.T) {
	t.Parallel()
	var hours atomic.Int64
	b := newBuffered(t, func(b *buffered) {
		b.now = func() time.Time { return time.Now().Add(time.Duration(hours.Load()) * time.Hour) }
		b.options.Memory = 64 << 10
	})
	hang := make(chan struct{})
	b.sinks.set(func(_, event string, _ int) error {
		if strings.HasPrefix(event, "a send") {
			<-hang
			return nil
		}
		return errDown
	})
	hours.Store(-10)
	for i := range 30 {
		b.post("a", fmt.Sprintf("send %d", i), fmt.Sprintf("send %d.", i))
	}
	hours.Store(0)
	const most = 10_000 // while so many are left no other batch is taken
	events := make([]string, most)
	for i := range events {
		events[i] = fmt.Sprintf("open %d", i)
	}
	b.post("a", events...)
	b.post("a", "open 0")
	close(hang)
	eventually(t, "delivery of the old ones", func() bool { return b.value("mandrill_receiver_backlog_events") == most+1 })
	eventually(t, "an age of seconds", func() bool { return b.value("mandrill_receiver_backlog_oldest_age_seconds") < 3600 })
}

func (b *buffered) orphans() int {
	b.t.Helper()
	consumer := b.consumer.Load()
	if consumer == nil || consumer.LeaseContext().Err() != nil {
		return 0
	}
	orphans, err := consumer.DeletedWebhooks(b.t.Context())
	if err != nil && consumer.LeaseContext().Err() == nil {
		b.t.Error(err)
	}
	return len(orphans)
}

// The spans of events are of the trace of their batch, though they are sent later, by another process if need be.
func TestBufferedTraces(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	b := newBuffered(t, func(b *buffered) { b.options.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)) })
	b.sinks.set(down("a"))
	b.post("a", "send 1")
	b.sinks.until(t, "an attempt", func(_ []string, attempts map[string]int) bool { return len(attempts) > 0 })
	b.stop()
	b.sinks.set(nil)
	b.start()
	b.sinks.expect(t, "a send 1")
	b.stop()
	outcomes := map[string]string{}
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID() != spans.GetSpans()[0].SpanContext.TraceID() {
			t.Errorf("the span %q is of another trace", span.Name)
		}
		outcomes[span.Name] += attributesOfSpan(span)["mandrill.outcome"] + " "
	}
	if got := outcomes["send com.mandrill.message.send"]; outcomes["receive batch"] != "accepted " || !strings.HasPrefix(got, "failed ") || !strings.HasSuffix(got, " accepted ") {
		t.Errorf("got the outcomes %q", outcomes)
	}
}

func TestBufferedExpiry(t *testing.T) {
	t.Parallel()
	b := newBuffered(t, func(b *buffered) { b.options.MaxAge = 200 * time.Millisecond })
	b.sinks.set(down("a"))
	b.post("a", "send 1")
	eventually(t, "burial", func() bool { return b.value("mandrill_receiver_dead_lettered_total", journal.ReasonExpired) == 1 })
	b.empty()
}

// A route in mode Buffered without a buffer is not served, and one in mode Direct does without.
func TestModes(t *testing.T) {
	t.Parallel()
	b := newBuffered(t, func(b *buffered) {
		b.webhooks = map[string]routes.Delivery{"direct": {Mode: routes.ModeDirect}, "buffered": {Mode: routes.ModeBuffered}, "either": {}}
	})
	b.sinks.set(down("direct", "buffered", "either"))
	without := *b
	without.handler = receiver.NewHandler(receiver.Options{
		Routes: b.routes, Sender: sink.NewSender(sink.Options{Poster: b.sinks}), Metrics: b.metrics, Logger: slog.New(slog.DiscardHandler),
	})
	for name, test := range map[string]struct {
		receiver *buffered
		want     map[string]int
	}{
		"with":    {b, map[string]int{"direct": 502, "buffered": 200, "either": 200}},
		"without": {&without, map[string]int{"direct": 502, "buffered": 503, "either": 502}},
	} {
		for webhook, want := range test.want {
			if got := test.receiver.status(webhook, "send 1"); got != want {
				t.Errorf("%s a buffer: %s: status %d, want %d", name, webhook, got, want)
			}
			for _, method := range []string{http.MethodHead, http.MethodGet} {
				response := httptest.NewRecorder()
				test.receiver.handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), method, hookURL(webhook), nil))
				want := http.StatusOK
				if name == "without" && webhook == "buffered" {
					want = http.StatusServiceUnavailable
				}
				if response.Code != want {
					t.Errorf("%s a buffer: %s %s: status %d, want %d", name, method, webhook, response.Code, want)
				}
			}
		}
	}
}
