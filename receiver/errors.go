package receiver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
)

// Kind says why a request was refused.
type Kind int

// The kinds of refusal. The status answers one question: could the same bytes succeed later?
const (
	KindInternal    Kind = iota // a bug in the receiver
	KindNoRoute                 // no route has the path
	KindMethod                  // neither HEAD, GET nor POST
	KindTooLarge                // the body has too many bytes, or the batch too many events
	KindUnreadable              // not a form, or no JSON array in it
	KindSignature               // unsigned, wrongly signed, or without the secret part of the URL
	KindBusy                    // too many bytes are in flight
	KindNotReady                // no routes are loaded yet, or the route has no key yet, is suspended, or needs a buffer
	KindUnbuffered              // the batch could not be stored
	KindFull                    // the buffer has no space for the batch
	KindSinkRefused             // Direct mode: the sink did not accept every event
	KindAborted                 // the client went away
)

// answers says how each kind is answered, counted and logged. Mandrill sends a batch again after any status except 200.
var answers = map[Kind]struct {
	status  int
	outcome string // the body of the answer and the label of the metric
	level   slog.Level
}{
	KindInternal:    {http.StatusInternalServerError, "internal_error", slog.LevelError},
	KindNoRoute:     {http.StatusNotFound, "no_route", slog.LevelDebug},
	KindMethod:      {http.StatusMethodNotAllowed, "method", slog.LevelDebug},
	KindTooLarge:    {http.StatusRequestEntityTooLarge, "too_large", slog.LevelWarn},
	KindUnreadable:  {http.StatusBadRequest, "unreadable", slog.LevelWarn},
	KindSignature:   {http.StatusForbidden, "signature", slog.LevelWarn},
	KindBusy:        {http.StatusServiceUnavailable, "busy", slog.LevelWarn},
	KindNotReady:    {http.StatusServiceUnavailable, "not_ready", slog.LevelWarn},
	KindUnbuffered:  {http.StatusServiceUnavailable, "buffer_unavailable", slog.LevelError},
	KindFull:        {http.StatusServiceUnavailable, "buffer_full", slog.LevelError},
	KindSinkRefused: {http.StatusBadGateway, "sink_refused", slog.LevelError},
	KindAborted:     {http.StatusBadRequest, "aborted", slog.LevelInfo},
}

// The outcomes of requests that were answered 200.
const (
	outcomeAccepted = "accepted"
	outcomeProbe    = "probe" // HEAD, GET, an empty batch, or one with mandrill.ProbeEvent only
)

// Error is a refusal.
type Error struct {
	Kind Kind
	Err  error // for the log; holds no secret, payload or address
}

func (e *Error) Error() string { return answers[e.Kind].outcome + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func refuse(kind Kind, format string, args ...any) error {
	return &Error{kind, fmt.Errorf(format, args...)}
}

var errBusy = &Error{KindBusy, errors.New("the bodies of all requests together are too large; --max-inflight-bytes bounds them")}

// kindOf returns the kind of an error. One that is not an [Error] is a bug.
func kindOf(err error) Kind {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Kind
	}
	return KindInternal
}
