// Package poll waits for conditions that nothing signals.
package poll

import (
	"errors"
	"testing"
	"time"
)

// pause is the time between two looks at a condition.
const pause = 20 * time.Millisecond

var errFalse = errors.New("it did not become true")

// NoError waits until a condition returns no error, and fails the test with the last one if that takes longer than patience.
func NoError(t *testing.T, patience time.Duration, what string, condition func() error) {
	t.Helper()
	deadline := time.After(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		case <-time.After(pause):
		}
	}
}

// True waits until a condition is true, and fails the test if that takes longer than patience.
func True(t *testing.T, patience time.Duration, what string, condition func() bool) {
	t.Helper()
	NoError(t, patience, what, func() error {
		if condition() {
			return nil
		}
		return errFalse
	})
}
