package telemetry

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Tracer makes a span of each batch and of each event. Its zero value makes none, and costs nothing. Like labels of
// metrics, attributes of spans hold no payload, address, key or URL.
type Tracer struct{ tracer trace.Tracer }

// NewTracer returns a tracer, without a provider one that makes no spans.
func NewTracer(provider trace.TracerProvider) Tracer {
	if provider == nil {
		return Tracer{}
	}
	return Tracer{provider.Tracer("github.com/mandrill-operator/mandrill-operator/receiver")}
}

// traceContext names a span to others: in requests, and under the same names in CloudEvents.
var traceContext propagation.TraceContext

// StartBatch starts the span of a POST. It has no parent: anybody can send a traceparent, and with it add spans to traces
// of others or have everything sampled.
func (t Tracer) StartBatch(r *http.Request) *http.Request {
	if t.tracer == nil || r.Method != http.MethodPost {
		return r
	}
	ctx, _ := t.tracer.Start(r.Context(), "receive batch", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx)
}

// LinkSender links the span of a batch that Mandrill has signed to the trace that a proxy in front may have started. The
// rest of the request's tracestate is ignored.
func (t Tracer) LinkSender(r *http.Request) {
	if t.tracer == nil {
		return
	}
	sender := trace.SpanContextFromContext(traceContext.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
	if sender.IsRemote() { // and not the span itself
		trace.SpanFromContext(r.Context()).AddLink(trace.Link{SpanContext: sender.WithTraceState(trace.TraceState{})})
	}
}

// Batch is what the span of a batch says.
type Batch struct {
	Webhook       string
	Outcome       string
	Events, Bytes int
	Status        int
}

// EndBatch ends the span of a batch.
func (t Tracer) EndBatch(ctx context.Context, batch Batch) {
	if t.tracer == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(
		attribute.String("mandrill.webhook", batch.Webhook), attribute.String("mandrill.outcome", batch.Outcome),
		attribute.Int("mandrill.events", batch.Events), attribute.Int("mandrill.bytes", batch.Bytes),
		attribute.Int("http.response.status_code", batch.Status),
	)
	if batch.Status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, batch.Outcome)
	}
	span.End()
}

// Traceparent names the span of a batch, so that its events belong to its trace when they are sent later.
func (t Tracer) Traceparent(ctx context.Context) string {
	if t.tracer == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	traceContext.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// BatchAttributes returns the attributes of a log line about a batch, with its id and the id of its trace as far as it has them.
func BatchAttributes(id, traceparent string, attributes ...any) []any {
	if id != "" {
		attributes = append(attributes, "batch", id)
	}
	if parts := strings.Split(traceparent, "-"); len(parts) == 4 {
		attributes = append(attributes, "trace_id", parts[1])
	}
	return attributes
}

// Continue returns a context in the trace of a batch.
func (t Tracer) Continue(traceparent string) context.Context {
	if t.tracer == nil || traceparent == "" {
		return context.Background()
	}
	return traceContext.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
}

// EventSpan is the span of an event on its way to a sink. Its zero value is none.
type EventSpan struct{ span trace.Span }

// StartEvent starts the span of an event, with a type from a closed set, and names it in the event, so that the trace
// continues where the event goes.
func (t Tracer) StartEvent(ctx context.Context, webhook, label string, event *cloudevent.Event) EventSpan {
	if t.tracer == nil {
		return EventSpan{}
	}
	ctx, span := t.tracer.Start(ctx, "send "+label, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("mandrill.webhook", webhook),
		attribute.String("cloudevents.event_type", label), attribute.String("cloudevents.event_id", event.ID),
	))
	carrier := propagation.MapCarrier{}
	traceContext.Inject(ctx, carrier)
	for name, value := range carrier {
		event.Set(name, value)
	}
	return EventSpan{span}
}

// End ends the span with the outcome of an attempt.
func (s EventSpan) End(outcome string, err error) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.String("mandrill.outcome", outcome))
	if err != nil {
		s.span.SetStatus(codes.Error, outcome)
	}
	if refusal := new(sink.Error); errors.As(err, &refusal) && refusal.Status != 0 {
		s.span.SetAttributes(attribute.Int("http.response.status_code", refusal.Status))
	}
	s.span.End()
}
