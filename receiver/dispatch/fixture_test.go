package dispatch_test

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

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// patience is how long a test waits, far longer than any step takes on a busy machine.
const patience = 3 * time.Minute

const signingKey = "s3ntinel-signing-key"

func attributesOfSpan(span tracetest.SpanStub) map[string]string {
	attributes := map[string]string{}
	for _, attribute := range span.Attributes {
		attributes[string(attribute.Key)] = attribute.Value.String()
	}
	return attributes
}

// bufferedReceiver is a receiver with its own buffer on disk. It can be stopped and started again.
type bufferedReceiver struct {
	t          *testing.T
	dir        string
	sinks      *fakeSinks
	routes     *routing.Routes
	registry   *prometheus.Registry
	state      *delivery.State
	metrics    *receiver.Metrics
	log        *logbuffer.Buffer
	options    dispatch.Options
	webhooks   map[string]routes.Delivery
	suspended  map[string]bool
	incomplete bool  // some route documents are not loaded yet
	maxBytes   int64 // of the buffer
	now        func() time.Time
	poster     sink.Poster // nil: sinks
	header     http.Header // of requests, besides Mandrill's

	handler    http.Handler
	journal    *journal.Journal
	consumer   *atomic.Pointer[journal.Consumer]
	dispatcher *dispatch.Dispatcher
	stop       func()
}

func newBufferedReceiver(t *testing.T, change ...func(*bufferedReceiver)) *bufferedReceiver {
	t.Helper()
	b := &bufferedReceiver{
		t: t, dir: t.TempDir(), sinks: newFakeSinks(),
		log: &logbuffer.Buffer{}, maxBytes: journal.MinBytes, webhooks: map[string]routes.Delivery{"a": {BackoffDelay: "PT0.02S"}},
	}
	for _, configure := range change {
		configure(b)
	}
	b.start()
	return b
}

func hookURL(webhook string) string { return "https://hooks.example.com/" + webhook }

// loadRoutes loads the routes of the webhooks.
func (b *bufferedReceiver) loadRoutes() {
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

// start starts a receiver on the folder, and waits until its buffer is available.
func (b *bufferedReceiver) start() {
	b.t.Helper()
	b.registry = prometheus.NewRegistry()
	b.metrics = receiver.NewMetrics(b.registry)
	logger := slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.state = delivery.New(delivery.Options{Logger: logger, Now: b.now})
	b.registry.MustRegister(b.state)
	b.routes = &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(b.registry), Observe: b.state.SetWebhooks}
	b.loadRoutes()
	limits, err := journal.SplitLimits(b.maxBytes, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	b.journal = journal.New(journal.Options{
		Engine: &engine.Embedded{Dir: b.dir, Reserve: min(limits.Reserve, 1<<20), Logger: logger}, Limits: limits, Logger: logger, Metrics: journal.NewMetrics(b.registry), Now: b.now,
	})
	poster := b.poster
	if poster == nil {
		poster = b.sinks
	}
	sender := sink.NewSender(sink.Options{Poster: poster, Metrics: sink.NewMetrics(b.registry), Observer: b.state})
	options := b.options
	options.State = b.state
	options.Routes, options.Sender, options.Metrics, options.Logger = b.routes, sender, dispatch.NewMetrics(b.registry, b.metrics.Events), logger
	dispatcher := dispatch.New(options)
	b.dispatcher = dispatcher
	b.registry.MustRegister(dispatcher)
	b.state.SetBacklog(dispatcher)
	b.handler = receiver.NewHandler(receiver.Options{Routes: b.routes, Sender: sender, Metrics: b.metrics, Logger: logger, Buffer: b.journal, Tracer: b.options.Tracer, Now: b.now, State: b.state})
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
	waiting, done := context.WithTimeout(b.t.Context(), patience)
	defer done()
	if err := b.journal.WaitAvailable(waiting); err != nil {
		b.t.Fatal(err)
	}
}

// post posts events like "open a", a name and the message, to a webhook as Mandrill does, and wants 200. It repeats them while the
// buffer is not available: on a busy machine a write may take too long.
func (b *bufferedReceiver) post(webhook string, events ...string) {
	b.t.Helper()
	var status int
	eventually(b.t, "a batch that is stored", func() bool {
		status = b.postStatus(webhook, events...)
		return status != http.StatusServiceUnavailable
	})
	if status != http.StatusOK {
		b.t.Fatalf("status %d, want 200", status)
	}
}

func (b *bufferedReceiver) postStatus(webhook string, events ...string) int {
	b.t.Helper()
	var batch [][]byte
	for _, event := range events {
		name, id, _ := strings.Cut(event, " ")
		batch = append(batch, fmt.Appendf(nil, `{"event":%q,"_id":%q,"s3ntinel":1}`, name, id))
	}
	return b.postRaw(webhook, batch...)
}

// postRaw posts events byte for byte and returns the status.
func (b *bufferedReceiver) postRaw(webhook string, batch ...[]byte) int {
	b.t.Helper()
	request, err := mandrilltest.NewRequest(b.t.Context(), hookURL(webhook), hookURL(webhook), signingKey, mandrilltest.Batch(batch...))
	if err != nil {
		b.t.Fatal(err)
	}
	maps.Copy(request.Header, b.header)
	response := httptest.NewRecorder()
	b.handler.ServeHTTP(response, request)
	return response.Code
}

// metric sums a metric's series that have all the label values.
func (b *bufferedReceiver) metric(name string, labels ...string) (sum float64) {
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

// eventually polls a condition that nothing signals.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	poll.True(t, patience, what, condition)
}

// waitEmpty waits until the backlog is empty.
func (b *bufferedReceiver) waitEmpty() {
	b.t.Helper()
	eventually(b.t, "an empty backlog", func() bool { return b.metric("mandrill_receiver_backlog_events") == 0 })
}

// deletedWebhooks returns how many webhooks are marked as deleted.
func (b *bufferedReceiver) deletedWebhooks() int {
	b.t.Helper()
	consumer := b.consumer.Load()
	if consumer == nil || consumer.LeaseContext().Err() != nil {
		return 0
	}
	deleted, err := consumer.DeletedWebhooks(b.t.Context())
	if err != nil && consumer.LeaseContext().Err() == nil {
		b.t.Error(err)
	}
	return len(deleted)
}
