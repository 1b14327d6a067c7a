package journaltest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// patience is above what a busy machine takes to store megabytes with the race detector.
const patience = 5 * time.Minute

// Append stores a batch, and sends it again while the buffer is not available, as Mandrill does: a busy machine takes several attempts.
func Append(t *testing.T, j *journal.Journal, batch journal.Batch) (duplicate bool, attempts int) {
	t.Helper()
	poll.NoError(t, patience, "storing a batch", func() error {
		attempts++
		var err error
		if duplicate, err = j.Append(t.Context(), batch); err != nil && !errors.Is(err, journal.ErrUnavailable) {
			t.Fatal(err)
		}
		return err
	})
	return duplicate, attempts
}

// SaysSlowMachine reports whether a line of a log is a warning of the NATS server that something took long.
func SaysSlowMachine(line string) bool {
	return strings.Contains(line, "NATS server") && (strings.Contains(line, "Readloop processing time") || strings.Contains(line, "took too long"))
}
