package receiver

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// Sender makes one attempt to deliver each item that is not settled. [sink.Sender] is one.
type Sender interface {
	SendOnce(ctx context.Context, delivery sink.Delivery, items []*sink.Item)
}

// Buffer stores batches durably. [journal.Journal] is one.
type Buffer interface {
	// Append returns when a batch is on disk, and reports whether it was stored before.
	Append(ctx context.Context, batch journal.Batch) (duplicate bool, err error)
}

// Options configures a [Handler]. Routes, Sender and Metrics are required.
type Options struct {
	Routes       *routing.Routes
	Sender       Sender
	Metrics      *Metrics
	Buffer       Buffer               // nil: none, and routes in mode Buffered get 503
	State        *delivery.State      // nil: nobody looks at the state of delivery
	Tracer       trace.TracerProvider // nil: no traces
	Logger       *slog.Logger         // default: slog.Default()
	MaxBodyBytes int64                // default DefaultMaxBodyBytes
	// MaxInflightBytes bounds the bodies of all requests together; default DefaultMaxInflightBytes.
	MaxInflightBytes int64
	Now              func() time.Time // default time.Now
}

// Handler answers at webhook URLs.
type Handler struct {
	routes       *routing.Routes
	sender       Sender
	metrics      *Metrics
	buffer       Buffer
	state        *delivery.State
	tracer       telemetry.Tracer
	logger       *slog.Logger
	maxBodyBytes int64
	inflight     *byteLimiter
	parsing      parseLimit
	delivered    *deliveredCache
	advice       *adviser
	now          func() time.Time
}

// NewHandler returns a handler.
func NewHandler(options Options) *Handler {
	h := &Handler{
		routes: options.Routes, sender: options.Sender, metrics: options.Metrics, buffer: options.Buffer, state: options.State,
		tracer: telemetry.NewTracer(options.Tracer), logger: options.Logger, maxBodyBytes: cmp.Or(options.MaxBodyBytes, DefaultMaxBodyBytes),
		parsing: newParseLimit(), delivered: newDeliveredCache(deliveredCacheSize), now: options.Now,
	}
	if h.logger == nil {
		h.logger = slog.Default()
	}
	h.inflight = newByteLimiter(cmp.Or(options.MaxInflightBytes, DefaultMaxInflightBytes), h.maxBodyBytes)
	if h.now == nil {
		h.now = time.Now
	}
	h.advice = &adviser{logger: h.logger, now: h.now}
	return h
}

// ServeHTTP answers a request of Mandrill: 200 with an empty body when every event was accepted, otherwise a status after
// which Mandrill tries again.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.now()
	memory := reservation{limiter: h.inflight}
	defer memory.release() // events are parts of the body
	h.metrics.inflight.Inc()
	defer h.metrics.inflight.Dec()
	r = h.tracer.StartBatch(r)
	summary, err := h.serve(w, r, &memory)
	h.answer(r.Context(), w, start, summary, err) //nolint:contextcheck // it is the request's own, with the span
}

// summary is what is logged of a request.
type summary struct {
	webhook string
	batch   string // its id in the buffer; empty: none
	events  int
	bytes   int
	probe   bool // HEAD or GET
}

// serve handles a request: accept, verify, split, then store the batch or deliver it. It returns nil when Mandrill need not
// send the batch again.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, memory *reservation) (summary, error) {
	accepted, err := h.accept(w, r, memory)
	sum := summary{webhook: accepted.webhook(), bytes: accepted.bytes, probe: r.Method == http.MethodHead || r.Method == http.MethodGet}
	if err != nil {
		return sum, err
	}
	if r.Method != http.MethodPost { // HEAD and GET ask whether the route is served
		identify(w.Header(), r.Header, accepted.candidates)
		return sum, nil
	}
	route, err := h.verify(r.Header, accepted)
	if route != nil {
		sum.webhook = route.Name
	}
	if err != nil {
		if route == nil && kindOf(err) == KindSignature { // signed with an unknown key
			h.reportBadSignature(accepted.candidates)
		}
		return sum, err
	}
	h.tracer.LinkSender(r)
	events, err := split(accepted.form)
	if err != nil {
		return sum, err
	}
	if mandrill.IsProbe(events) {
		events = nil // it has shown that a body of its size arrives
	}
	sum.events = len(events)
	if sum.events > 0 {
		h.state.Webhook(routes.Webhook(route.Name)).Arrived()
	} else if route.Object != "" {
		w.Header().Set(routes.ObjectHeader, route.Object)
	}
	switch {
	case h.lacksBuffer(route):
		return sum, errNoBuffer
	case h.buffers(route):
		sum.batch, err = h.storeBatch(r.Context(), route, accepted.form.Get(mandrill.EventsField), events)
		return sum, err
	}
	if extra := int64(len(events)*eventMemory - bodyFactor*len(accepted.form.Get(mandrill.EventsField))); extra > smallBody {
		if err := memory.grow(r.Context(), extra); err != nil {
			return sum, err
		}
	}
	return sum, h.deliverDirect(r.Context(), route, events)
}

// buffers reports whether batches of a route are stored before they are delivered.
func (h *Handler) buffers(route *routing.Route) bool {
	return h.buffer != nil && route.Delivery.Mode != routes.ModeDirect
}

// lacksBuffer reports whether a route needs a buffer and there is none.
func (h *Handler) lacksBuffer(route *routing.Route) bool {
	return h.buffer == nil && route.Delivery.Mode == routes.ModeBuffered
}

// reportBadSignature reports all routes that a batch may have been for: only a valid signature would tell which one it was.
func (h *Handler) reportBadSignature(candidates []*routing.Route) {
	for _, route := range candidates {
		h.state.Webhook(routes.Webhook(route.Name)).BadSignature()
	}
}

// answer is the one place that answers, counts and logs.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, start time.Time, sum summary, err error) {
	status, outcome, level := http.StatusOK, outcomeAccepted, slog.LevelInfo
	if sum.events == 0 {
		outcome, level = outcomeProbe, slog.LevelDebug
	}
	var cause string
	if err != nil {
		answer := answers[kindOf(err)]
		status, outcome, level, cause = answer.status, answer.outcome, answer.level, err.Error()
		if sum.probe { // nothing was refused that must come again
			level = min(level, slog.LevelInfo)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	w.WriteHeader(status)
	if err != nil {
		_, _ = w.Write([]byte(outcome + "\n")) // the client may have gone
	}
	duration := h.now().Sub(start)
	h.metrics.requests.WithLabelValues(outcome).Inc()
	h.metrics.duration.Observe(duration.Seconds())
	h.metrics.bytes.Add(float64(sum.bytes))
	h.tracer.EndBatch(ctx, telemetry.Batch{Webhook: sum.webhook, Outcome: outcome, Events: sum.events, Bytes: sum.bytes, Status: status})
	attributes := telemetry.BatchAttributes(sum.batch, h.tracer.Traceparent(ctx),
		"webhook", sum.webhook, "outcome", outcome, "status", status, "events", sum.events, "bytes", sum.bytes, "durationSeconds", duration.Seconds())
	if err != nil {
		attributes = append(attributes, "error", cause)
	}
	h.logger.Log(ctx, level, "Answered a request", attributes...)
}
