package sink

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxAnswer is how much of what a sink says is kept for a dead letter: as much as Knative keeps.
const maxAnswer = 1024

// Error says why a sink did not accept an event.
type Error struct {
	Status int    // 0 when there was no answer
	Err    error  // when there was no answer
	Answer string // what the sink said, fit for an attribute, at most 1024 bytes: for dead letters, and not for logs
	// After is how long nothing must be sent to the sink, because it said so, or because it does not work.
	After time.Duration

	final bool // it cannot be otherwise later
}

func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("the sink answered with status %d", e.Status)
	}
	return "sending to the sink: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary tells whether the same event may be accepted later. It follows Knative: 404, 408, 409, 429, 5xx and no answer
// may pass; the rest is final.
func (e *Error) Temporary() bool {
	switch e.Status {
	case 0:
		return !e.final
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= http.StatusInternalServerError
}

// Temporary tells whether an error may pass. An error of another make may.
func Temporary(err error) bool {
	if refusal := new(Error); errors.As(err, &refusal) {
		return refusal.Temporary()
	}
	return err != nil
}

// details returns the error as an [Error], empty when it is none.
func asError(err error) *Error {
	refusal := new(Error)
	errors.As(err, &refusal)
	return refusal
}

// timeout tells whether the answer did not come in time.
func (e *Error) timeout() bool {
	var timeout interface{ Timeout() bool }
	return errors.As(e.Err, &timeout) && timeout.Timeout()
}

// overloaded tells whether a sink may have failed because too much was asked of it.
func (e *Error) overloaded() bool {
	return e.timeout() || e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

// presentable makes a text fit for an attribute of a CloudEvent, and so for a header: valid, in one line, bounded.
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
