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
	duplicate, attempts, err := TryAppend(t, j, batch)
	if err != nil {
		t.Fatal(err)
	}
	return duplicate, attempts
}

// TryAppend is Append for a batch that may be refused for another reason.
func TryAppend(t *testing.T, j *journal.Journal, batch journal.Batch) (duplicate bool, attempts int, err error) {
	t.Helper()
	poll.NoError(t, patience, "an answer", func() error {
		attempts++
		if duplicate, err = j.Append(t.Context(), batch); errors.Is(err, journal.ErrUnavailable) {
			return err
		}
		return nil
	})
	return duplicate, attempts, err
}

// SaysSlowMachine reports whether a line of a log is a warning of the NATS server that something took long.
func SaysSlowMachine(line string) bool {
	return strings.Contains(line, "NATS server") && (strings.Contains(line, "Readloop processing time") || strings.Contains(line, "took too long"))
}
