package receiver_test

import (
	"slices"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// The sink package must not import the journal, so each has the reasons of its own.
func TestSinkReasonsAreJournalReasons(t *testing.T) {
	t.Parallel()
	want := []sink.Reason{sink.ReasonRefused, sink.ReasonExhausted, sink.ReasonExpired}
	if got := []sink.Reason{journal.ReasonRefused, journal.ReasonExhausted, journal.ReasonExpired}; !slices.Equal(got, want) {
		t.Errorf("the journal has %q, the sink %q", got, want)
	}
}
