package sink

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// maxAnswer bounds the part of a sink's answer that a dead letter contains. Knative keeps as much.
const maxAnswer = 1024

// Error says why a sink did not accept an event.
type Error struct {
	Status int           // 0 without an answer
	Err    error         // the cause, without an answer
	Answer string        // the sanitized body of the answer, at most 1024 bytes: for dead letters, not for logs
	After  time.Duration // how long to send nothing to the sink: its Retry-After, or until its circuit admits a probe

	permanent bool           // without an answer: a later attempt would fail as well
	reason    reports.Reason // without an answer, if the cause does not say it
}

func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("the sink answered with status %d", e.Status)
	}
	return "sending to the sink: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the sink may accept the same event later. As in Knative these failures are temporary: 404, 408,
// 409, 429, 5xx, and no answer at all.
func (e *Error) Temporary() bool {
	switch e.Status {
	case 0:
		return !e.permanent
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= http.StatusInternalServerError
}

// Temporary reports whether an attempt that failed with err may succeed later. It is true for errors that are not an
// [*Error], and false for nil.
func Temporary(err error) bool {
	if err == nil {
		return false
	}
	if failure := new(Error); errors.As(err, &failure) {
		return failure.Temporary()
	}
	return true
}

// statusOf returns the status of the answer, or 0.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	return asError(err).Status
}

// asError returns the [Error] in err, or an empty one.
func asError(err error) *Error {
	failure := new(Error)
	errors.As(err, &failure)
	return failure
}

// timeout reports whether the sink did not answer in time.
func (e *Error) timeout() bool {
	var timeout interface{ Timeout() bool }
	return errors.As(e.Err, &timeout) && timeout.Timeout()
}

// overloaded reports whether fewer concurrent requests may help the sink.
func (e *Error) overloaded() bool {
	return e.timeout() || e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

// ReasonOf returns why an attempt failed, from the closed set of reports. It is empty without an error.
func ReasonOf(err error) reports.Reason {
	if err == nil {
		return ""
	}
	failure, network := asError(err), new(networkError)
	switch {
	case failure.Status == http.StatusTooManyRequests, failure.Status == http.StatusServiceUnavailable && failure.After > 0:
		return reports.ReasonOverloaded
	case failure.Status != 0 && failure.Temporary():
		return reports.ReasonStatus
	case failure.Status != 0:
		return reports.ReasonRefused
	case failure.reason != "":
		return failure.reason
	case errors.As(failure.Err, &network):
		return network.reason
	}
	return reports.ReasonOther
}

// sanitize makes a text usable as a CloudEvents attribute and as a header: valid UTF-8 on one line of bounded length.
func sanitize(text []byte) string {
	visible := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.IsSpace(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(string(text), "?"))
	visible = strings.Join(strings.Fields(visible), " ")
	if len(visible) <= maxAnswer {
		return visible
	}
	end := maxAnswer
	for !utf8.RuneStart(visible[end]) {
		end--
	}
	return visible[:end]
}
