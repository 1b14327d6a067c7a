package receiver_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// newTracedServer starts a receiver for the fixture's routes and returns the recorder of its spans.
func newTracedServer(t *testing.T, f *fixture, options ...sdktrace.TracerProviderOption) (*httptest.Server, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSyncer(spans))...)
	server := httptest.NewServer(receiver.NewHandler(receiver.Options{
		Routes: f.routes, Sender: sink.NewSender(sink.Options{Poster: &sink.Client{}}), Metrics: f.metrics, Logger: f.routes.Logger, Tracer: provider,
	}))
	t.Cleanup(server.Close)
	return server, spans
}

const (
	foreignTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	foreignParent = "00-" + foreignTrace + "-00f067aa0ba902b7-01"
)

func attributesOfSpan(span tracetest.SpanStub) map[string]string {
	attributes := map[string]string{}
	for _, attribute := range span.Attributes {
		attributes[string(attribute.Key)] = attribute.Value.String()
	}
	return attributes
}

// Anybody may send a traceparent, so a batch starts a new trace and only links to the sender's. The trace continues in the sink.
func TestBatchStartsANewTrace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	headers := make(chan http.Header, 10)
	consume := f.sink.Config.Handler
	f.sink.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		consume.ServeHTTP(w, r)
	})
	server, spans := newTracedServer(t, f)
	f.URL = server.URL
	request := f.request(t, `[{"event":"open","_id":"1"},{"event":"tomorrow","_id":"2"}]`)
	request.Header.Set("Traceparent", foreignParent)
	request.Header.Set("Tracestate", "vendor=s3ntinel")
	request.Header.Set("Baggage", "user=s3ntinel")
	if response, body := f.do(t, request); response.StatusCode != http.StatusOK {
		t.Fatal(response.StatusCode, body)
	}
	stubs := spans.GetSpans()
	slices.SortFunc(stubs, func(a, b tracetest.SpanStub) int { return strings.Compare(a.Name, b.Name) })
	var names []string
	for _, span := range stubs {
		names = append(names, span.SpanKind.String()+" "+span.Name)
	}
	if diff := cmp.Diff([]string{"server receive batch", "producer send com.mandrill.message.*", "producer send com.mandrill.message.open"}, names); diff != "" {
		t.Fatalf("spans (-want +got):\n%s", diff)
	}
	batch := stubs[0]
	if batch.Parent.IsValid() || batch.SpanContext.TraceID().String() == foreignTrace {
		t.Errorf("the batch continues the trace of its sender: %v", batch.Parent)
	}
	if len(batch.Links) != 1 || batch.Links[0].SpanContext.TraceID().String() != foreignTrace || batch.Links[0].SpanContext.TraceState().Len() != 0 {
		t.Errorf("links are %v, want one to the sender's span, without its tracestate", batch.Links)
	}
	want := map[string]string{"mandrill.webhook": "shop/plain", "mandrill.outcome": "accepted", "mandrill.events": "2", "http.response.status_code": "200"}
	got := attributesOfSpan(batch)
	delete(got, "mandrill.bytes")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("batch (-want +got):\n%s", diff)
	}
	arrived := map[string]http.Header{}
	for range 2 {
		header := <-headers
		arrived[header.Get("Ce-Id")] = header
	}
	for _, span := range stubs[1:] {
		attributes := attributesOfSpan(span)
		if span.Parent.SpanID() != batch.SpanContext.SpanID() {
			t.Errorf("%s is not a child of the batch", span.Name)
		}
		want := "00-" + span.SpanContext.TraceID().String() + "-" + span.SpanContext.SpanID().String() + "-01"
		header := arrived[attributes["cloudevents.event_id"]]
		if header.Get("Ce-Traceparent") != want || header.Get("Traceparent") != want || header.Get("Baggage") != "" || header.Get("Tracestate") != "" {
			t.Errorf("the event has the headers %v, want the traceparent %s", header, want)
		}
		delete(attributes, "cloudevents.event_id")
		if diff := cmp.Diff(map[string]string{"mandrill.webhook": "shop/plain", "mandrill.outcome": "accepted", "cloudevents.event_type": strings.TrimPrefix(span.Name, "send ")}, attributes); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
}

// Sinks are told when a trace is not sampled, whatever the request says. Probes have no span.
func TestUnsampledTraceIsPropagated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server, spans := newTracedServer(t, f, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	f.URL = server.URL
	request := f.request(t, `[{"event":"open"}]`)
	request.Header.Set("Traceparent", foreignParent) // is sampled
	f.do(t, request)
	f.do(t, f.bareRequest(t, http.MethodHead, "/mandrill/shop"))
	if got := spans.GetSpans(); len(got) != 0 {
		t.Errorf("%d spans", len(got))
	}
	for _, event := range f.sink.takeEvents() {
		if parent, _ := event.Extensions()["traceparent"].(string); !strings.HasSuffix(parent, "-00") {
			t.Errorf("traceparent is %q, want the sampled flag off", parent)
		}
	}
}

// Without a tracer a traceparent of the request is not passed on.
func TestEventsHaveNoTraceparentWithoutATracer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	request := f.request(t, `[{"event":"open"}]`)
	request.Header.Set("Traceparent", foreignParent)
	f.do(t, request)
	events := f.sink.takeEvents()
	if len(events) != 1 || events[0].Extensions()["traceparent"] != nil {
		t.Errorf("got %v, want one event without traceparent", events)
	}
}
