package mandrill

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

func (e *TransportError) Error() string { return e.Call + ": " + e.Err.Error() }

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
