// Package reports takes the reports of receivers about the delivery of events. It knows by the API server who reports, and
// bounds what a reporter can make the operator do; what a reporter may report is up to the [Taker].
package reports

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

const (
	// maxBodies bounds the bodies that are read at the same time. Each takes up to eight times form.MaxBytes.
	maxBodies = 8
	// maxToken is far above the size of a ServiceAccount token.
	maxToken = 16 << 10
)

// Reporter is who reports, as the API server says.
type Reporter struct {
	Namespace, ServiceAccount string
	Pod                       string // empty if the token is not bound to a pod
}

// Taker takes the reports of authenticated reporters. It believes only what a reporter may report, and returns [ErrOutOfOrder]
// for a report that is older than one before it.
type Taker interface {
	Take(reporter Reporter, report *form.Report) error
}

// Options configures a [Handler]. All except Now are required.
type Options struct {
	Elected <-chan struct{} // closed when this operator becomes the leader
	Reviews interface {     // which is a [Reviews], except in tests
		Reporter(ctx context.Context, token string) (Reporter, error)
	}
	Taker   Taker
	Metrics *Metrics
	Now     func() time.Time
}

// Handler serves [form.Path].
type Handler struct {
	options Options
	bodies  chan struct{}
	limits  limits
}

// NewHandler returns a handler for all paths; it answers 404 at those that are not form.Path.
func NewHandler(options Options) *Handler {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Handler{options: options, bodies: make(chan struct{}, maxBodies), limits: limits{now: options.Now}}
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != form.Path:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "reports are posted", http.StatusMethodNotAllowed)
		return
	}
	err := h.serve(w, r)
	answer := answerTo(err)
	h.options.Metrics.reports.WithLabelValues(answer.outcome).Inc()
	if answer.retryAfter != "" {
		w.Header().Set("Retry-After", answer.retryAfter)
	}
	if answer.closes {
		w.Header().Set("Connection", "close")
	}
	if err != nil && answer.status >= http.StatusBadRequest {
		http.Error(w, err.Error(), answer.status)
		return
	}
	w.WriteHeader(answer.status)
}

// serve takes one report. The body is read only of those who are known and within their rate.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	select {
	case <-h.options.Elected:
	default:
		return errNotLeader
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token = strings.TrimSpace(token); !ok || token == "" || len(token) > maxToken {
		return errUnauthenticated
	}
	reporter, err := h.options.Reviews.Reporter(r.Context(), token)
	if err != nil {
		return err
	}
	release, err := h.limits.acquire(reporter)
	if err != nil {
		return err
	}
	defer release()
	select {
	case h.bodies <- struct{}{}:
	default:
		return errBusy
	}
	defer func() { <-h.bodies }()
	report, err := decode(http.MaxBytesReader(w, r.Body, form.MaxBytes))
	if err != nil {
		return err
	}
	return h.options.Taker.Take(reporter, report)
}

// Refusals. Their texts are sent to the receiver, and hold nothing of what it sent.
var (
	errNotLeader       = errors.New("this operator is not the leader")
	errUnauthenticated = errors.New("a ServiceAccount token with the audience " + form.Audience + " is needed as a bearer token")
	errBusy            = errors.New("too much is going on: try again")
	errLimited         = errors.New("too many reports: try again")
	errTooLarge        = errors.New("the report is too large: send several")
	errMalformed       = errors.New("the body is not a report")
	errVersion         = errors.New("this operator does not know the version of the report")

	// ErrOutOfOrder is returned for a report that is older than one before it.
	ErrOutOfOrder = errors.New("a later report has come before")
)

// answer is how a report is answered and counted.
type answer struct {
	err        error
	outcome    string
	status     int
	retryAfter string // seconds
	closes     bool   // the connection: the next one may reach another operator, or the body is not read
}

var answers = []answer{
	{errNotLeader, "not_leader", http.StatusServiceUnavailable, "", true},
	{errUnauthenticated, "unauthenticated", http.StatusUnauthorized, "", true},
	{errBusy, "busy", http.StatusServiceUnavailable, "5", true},
	{errLimited, "rate_limited", http.StatusTooManyRequests, "5", true},
	{errTooLarge, "too_large", http.StatusRequestEntityTooLarge, "", true},
	{errVersion, "version", http.StatusBadRequest, "", false},
	{errMalformed, "malformed", http.StatusBadRequest, "", true},
	{ErrOutOfOrder, "out_of_order", http.StatusAccepted, "", false}, // nothing to repeat
}

func answerTo(err error) answer {
	if err == nil {
		return answer{outcome: "accepted", status: http.StatusAccepted}
	}
	for _, answer := range answers {
		if errors.Is(err, answer.err) {
			return answer
		}
	}
	return answer{outcome: "malformed", status: http.StatusBadRequest, closes: true}
}

// readError is the refusal for an error of reading a body.
func readError(err error) error {
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return errTooLarge
	}
	return errMalformed
}
