package receiver

import (
	"context"
	"errors"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// tracer makes a span of each batch and of each event. Without one there are no spans, and nothing is done for them.
// Like labels of metrics, what spans carry is no payload, address, key or URL.
type tracer struct{ trace.Tracer }

func newTracer(provider trace.TracerProvider) tracer {
	if provider == nil {
		return tracer{}
	}
	return tracer{provider.Tracer("github.com/mandrill-operator/mandrill-operator/receiver")}
}

// traceContext is how a span is named to others: in requests, and in CloudEvents by the same names.
var traceContext propagation.TraceContext

// startBatch begins the span of a POST. It has no parent: anybody can send a traceparent, and with it put spans into
// traces of others or have everything sampled.
func (t tracer) startBatch(r *http.Request) *http.Request {
	if t.Tracer == nil || r.Method != http.MethodPost {
		return r
	}
	ctx, _ := t.Start(r.Context(), "receive batch", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx)
}

// linkSender links the span of a batch that Mandrill has signed to the trace that a proxy in front may have begun. What
// else stands in the request's tracestate is not taken.
func (t tracer) linkSender(r *http.Request) {
	if t.Tracer == nil {
		return
	}
	sender := trace.SpanContextFromContext(traceContext.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
	if sender.IsRemote() { // and not the span itself
		trace.SpanFromContext(r.Context()).AddLink(trace.Link{SpanContext: sender.WithTraceState(trace.TraceState{})})
	}
}

// endBatch ends the span of a batch.
func (t tracer) endBatch(ctx context.Context, entry *requestLog, status int, outcome string) {
	if t.Tracer == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(
		attribute.String("mandrill.route", entry.route), attribute.String("mandrill.outcome", outcome),
		attribute.Int("mandrill.events", entry.events), attribute.Int("mandrill.bytes", entry.bytes),
		attribute.Int("http.response.status_code", status),
	)
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, outcome)
	}
	span.End()
}

// mark names the span of a batch, so that the events are of its trace when they are sent later.
func (t tracer) mark(ctx context.Context) string {
	if t.Tracer == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	traceContext.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// continued is the context of a span that was marked.
func (t tracer) continued(mark string) context.Context {
	if t.Tracer == nil || mark == "" {
		return context.Background()
	}
	return traceContext.Extract(context.Background(), propagation.MapCarrier{"traceparent": mark})
}

// startEvent begins the span of an event, of a type from a closed set, and names it in the event, so that the trace goes
// on where the event goes.
func (t tracer) startEvent(ctx context.Context, route *Route, label string, event *cloudevents.Event) trace.Span {
	if t.Tracer == nil {
		return noop.Span{}
	}
	ctx, span := t.Start(ctx, "send "+label, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("mandrill.route", route.Name),
		attribute.String("cloudevents.event_type", label), attribute.String("cloudevents.event_id", event.ID()),
	))
	carrier := propagation.MapCarrier{}
	traceContext.Inject(ctx, carrier)
	for name, value := range carrier {
		event.SetExtension(name, value)
	}
	return span
}

// endEvent ends the span of an event.
func endEvent(span trace.Span, outcome string, err error) {
	span.SetAttributes(attribute.String("mandrill.outcome", outcome))
	if err != nil {
		span.SetStatus(codes.Error, outcome)
	}
	if refusal := new(sink.Error); errors.As(err, &refusal) && refusal.Status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", refusal.Status))
	}
	span.End()
}
