package receiver

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Sender makes one attempt to deliver each item that is not settled. [sink.Sender] is one.
type Sender interface {
	SendOnce(ctx context.Context, delivery sink.Delivery, items []*sink.Item)
}

// Buffer keeps batches durably. [journal.Journal] is one.
type Buffer interface {
	// Append returns when a batch is on disk. A duplicate was kept before.
	Append(ctx context.Context, batch journal.Batch) (duplicate bool, err error)
}

// SignatureObserver is told of each route that a batch with a bad signature may have been for.
type SignatureObserver interface {
	BadSignature(route string) // must not block
}

// Options configures a [Handler]. Routes, Sender and Metrics are required.
type Options struct {
	Routes       *Routes
	Sender       Sender
	Metrics      *Metrics
	Buffer       Buffer               // nil: none, and so no route in mode Buffered
	Signatures   SignatureObserver    // nil: nobody
	Tracer       trace.TracerProvider // nil: no traces
	Logger       *slog.Logger         // default: slog.Default()
	MaxBodyBytes int64                // default DefaultMaxBodyBytes
	// MaxInflightBytes bounds the bodies of all requests together; default DefaultMaxInflightBytes.
	MaxInflightBytes int64
	Now              func() time.Time // default time.Now
}

// Handler answers at webhook URLs.
type Handler struct {
	routes       *Routes
	sender       Sender
	metrics      *Metrics
	buffer       Buffer
	signatures   SignatureObserver
	tracer       tracer
	logger       *slog.Logger
	maxBodyBytes int64
	inflight     *byteLimiter
	parsing      parseLimit
	delivered    *deliveredCache
	now          func() time.Time
}

// NewHandler returns a handler.
func NewHandler(options Options) *Handler {
	h := &Handler{
		routes: options.Routes, sender: options.Sender, metrics: options.Metrics, buffer: options.Buffer, signatures: options.Signatures,
		tracer: newTracer(options.Tracer), logger: options.Logger, maxBodyBytes: options.MaxBodyBytes,
		parsing: newParseLimit(), delivered: newDeliveredCache(deliveredCacheSize), now: options.Now,
	}
	if options.MaxInflightBytes == 0 {
		options.MaxInflightBytes = DefaultMaxInflightBytes
	}
	if h.logger == nil {
		h.logger = slog.Default()
	}
	if h.maxBodyBytes == 0 {
		h.maxBodyBytes = DefaultMaxBodyBytes
	}
	h.inflight = newByteLimiter(options.MaxInflightBytes, h.maxBodyBytes)
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// ServeHTTP answers a request of Mandrill: 200 with an empty body when every event was accepted, otherwise a
// status after which Mandrill tries again.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	entry := &requestLog{start: h.now(), share: reservation{limiter: h.inflight}}
	defer entry.share.release() // the events are parts of the body
	h.metrics.inflight.Inc()
	defer h.metrics.inflight.Dec()
	r = h.tracer.startBatch(r)
	h.finish(r.Context(), w, entry, h.serve(w, r, entry)) //nolint:contextcheck // it is the request's own, with the span
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, entry *requestLog) error {
	candidates, form, err := h.accept(w, r, entry)
	if err != nil || r.Method != http.MethodPost { // HEAD and GET ask whether the route is served
		return err
	}
	var route *Route
	h.parsing.do(entry.bytes, func() { route, err = verify(r.Header, candidates, form) })
	if route != nil {
		entry.route = route.Name
	}
	if err != nil {
		if route == nil && kindOf(err) == KindSignature { // signed with a key that is not known
			h.reportBadSignature(candidates)
		}
		return err
	}
	h.tracer.linkSender(r)
	elements, err := split(form)
	if err != nil {
		return err
	}
	entry.events = len(elements)
	if h.lacksBuffer(route) {
		return errNoBuffer
	}
	if h.buffers(route) {
		return h.storeBatch(r.Context(), route, form.Get(mandrill.EventsField), elements)
	}
	return h.deliverDirect(r.Context(), route, elements)
}

// buffers tells whether a route's batches are kept before they are delivered.
func (h *Handler) buffers(route *Route) bool {
	return h.buffer != nil && route.Delivery.Mode != routes.ModeDirect
}

// lacksBuffer tells whether a route wants what there is not.
func (h *Handler) lacksBuffer(route *Route) bool {
	return h.buffer == nil && route.Delivery.Mode == routes.ModeBuffered
}

// observe reports a batch whose signature is nobody's. Which of the routes is meant cannot be told.
func (h *Handler) reportBadSignature(candidates []*Route) {
	if h.signatures == nil {
		return
	}
	for _, route := range candidates {
		h.signatures.BadSignature(route.Name)
	}
}

// record is what is known of a request when it is answered.
type requestLog struct {
	start  time.Time
	route  string
	events int
	bytes  int
	share  reservation // of the memory for bodies
}

// finish is the one place that answers, counts and logs.
func (h *Handler) finish(ctx context.Context, w http.ResponseWriter, entry *requestLog, err error) {
	status, outcome, level := http.StatusOK, outcomeAccepted, slog.LevelInfo
	if entry.events == 0 {
		outcome, level = outcomeProbe, slog.LevelDebug
	}
	var cause string
	if err != nil {
		answer := answers[kindOf(err)]
		status, outcome, level, cause = answer.status, answer.outcome, answer.level, err.Error()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	w.WriteHeader(status)
	if err != nil {
		_, _ = w.Write([]byte(outcome + "\n")) // the client may have gone
	}
	duration := h.now().Sub(entry.start)
	h.metrics.requests.WithLabelValues(outcome).Inc()
	h.metrics.duration.Observe(duration.Seconds())
	h.metrics.bytes.Add(float64(entry.bytes))
	h.tracer.endBatch(ctx, entry, status, outcome)
	attributes := []any{
		"webhook", entry.route, "outcome", outcome, "status", status, "events", entry.events, "bytes", entry.bytes, "duration", duration.String(),
	}
	if err != nil {
		attributes = append(attributes, "error", cause)
	}
	h.logger.Log(ctx, level, "Answered a request", attributes...)
}
