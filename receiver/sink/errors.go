package sink

import (
	"errors"
	"fmt"
	"net/http"
)

// Error says why a sink did not accept an event.
type Error struct {
	Status    int   // 0 when there was no answer
	Err       error // when there was no answer
	temporary bool
}

func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("the sink answered with status %d", e.Status)
	}
	return "sending to the sink: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary tells whether the same event may be accepted later.
func (e *Error) Temporary() bool { return e.temporary }

// Temporary tells whether an error of [Client.Send] may pass. An error of another make may.
func Temporary(err error) bool {
	if refusal := new(Error); errors.As(err, &refusal) {
		return refusal.Temporary()
	}
	return err != nil
}

// classify follows Knative: 2xx is accepted; 404, 408, 409, 429 and 5xx may pass; the rest is final.
func classify(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= http.StatusInternalServerError, status == http.StatusNotFound, status == http.StatusRequestTimeout,
		status == http.StatusConflict, status == http.StatusTooManyRequests:
		return &Error{Status: status, temporary: true}
	}
	return &Error{Status: status}
}
