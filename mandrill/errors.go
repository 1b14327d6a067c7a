package mandrill

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Sentinels for [errors.Is] on an error of the API client. An [APIError] matches by its Name; Mandrill's
// HTTP statuses and numeric codes are neither stable nor unique.
var (
	ErrInvalidKey           = errors.New("Invalid_Key")
	ErrValidation           = errors.New("ValidationError")
	ErrUnknownWebhook       = errors.New("Unknown_Webhook")
	ErrUnknownInboundDomain = errors.New("Unknown_InboundDomain")
	ErrUnknownInboundRoute  = errors.New("Unknown_InboundRoute")
	ErrPaymentRequired      = errors.New("PaymentRequired")
	ErrRequestLimit         = errors.New("RequestLimitExceeded")
	ErrServiceUnavailable   = errors.New("ServiceUnavailable")
	ErrGeneral              = errors.New("GeneralError")
)

// KnownName returns the name of an API error if it is one of the sentinels. Other names are not safe for labels and logs.
func KnownName(err error) (string, bool) {
	var refused *APIError
	if !errors.As(err, &refused) {
		return "", false
	}
	for _, sentinel := range sentinels {
		if sentinel.Error() == refused.Name {
			return refused.Name, true
		}
	}
	return "", false
}

// APIError is a refusal by the API: {"status":"error","code":-2,"name":"ValidationError","message":"..."}.
type APIError struct {
	Call       string // such as "webhooks/add"
	HTTPStatus int
	Code       int
	Name       string // the kind of error; empty when the body was not Mandrill's
	Message    string
	RetryAfter time.Duration // of the answer; 0 without one
}

// Error never contains the API key.
func (e *APIError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("%s: HTTP status %d without an error that Mandrill would send", e.Call, e.HTTPStatus)
	}
	return fmt.Sprintf("%s: %s: %s", e.Call, e.Name, e.Message)
}

// Is matches the sentinels of this package by name.
func (e *APIError) Is(target error) bool {
	return e.Name != "" && isSentinel(target) && target.Error() == e.Name
}

// Temporary reports whether the same call may succeed later.
func (e *APIError) Temporary() bool {
	switch e.Name {
	case "GeneralError", "ServerError", "ServiceUnavailable", "RequestLimitExceeded":
		return true
	case "": // a proxy answered
		return e.HTTPStatus >= http.StatusInternalServerError ||
			e.HTTPStatus == http.StatusRequestTimeout || e.HTTPStatus == http.StatusTooManyRequests
	}
	return false
}

// Temporary reports whether a failed call may succeed later: after a [TransportError], or an [APIError] that is temporary.
// Other errors are not temporary.
func Temporary(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}

// TransportError means that the call got no usable answer.
type TransportError struct {
	Call string
	Err  error
}

// Error names the kind of failure. Neither addresses nor ports nor positions in the answer are in the text: they differ each
// time, and texts become conditions and Events.
func (e *TransportError) Error() string { return e.Call + ": " + transportText(e.Err) }

func transportText(err error) string {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var syscallError syscall.Errno
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "no answer in time"
	case errors.As(err, &dns):
		return "the host name cannot be resolved"
	case errors.As(err, &certificate):
		return "the certificate of the server is not trusted: " + certificate.Err.Error()
	case errors.As(err, &syscallError):
		return syscallError.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended before the answer"
	}
	if wrapped := new(url.Error); errors.As(err, &wrapped) { // its text has the address
		err = wrapped.Err
	}
	if wrapped := new(net.OpError); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	text, _, _ := strings.Cut(err.Error(), ` "`) // what follows is a part of the answer
	return text
}

// answerError is an answer that cannot be decoded. Its text does not depend on where it goes wrong.
type answerError struct{ err error }

func (e *answerError) Error() string {
	if wrong := new(json.UnmarshalTypeError); errors.As(e.err, &wrong) {
		return "decoding the answer: it is of another type than documented"
	}
	return "decoding the answer: it is not JSON"
}

func (e *answerError) Unwrap() error { return e.err }

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Temporary is always true.
func (e *TransportError) Temporary() bool { return true }

func isSentinel(err error) bool { return slices.Contains(sentinels, err) }

var sentinels = []error{
	ErrInvalidKey, ErrValidation, ErrUnknownWebhook, ErrUnknownInboundDomain, ErrUnknownInboundRoute,
	ErrPaymentRequired, ErrRequestLimit, ErrServiceUnavailable, ErrGeneral,
}

// redact removes a secret from a text of the API.
func redact(text, secret string) string {
	if secret == "" {
		return text
	}
	return strings.ReplaceAll(text, secret, "[redacted]")
}
