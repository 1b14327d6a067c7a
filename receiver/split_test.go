package receiver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Memory is accounted by what events cost, not by their bytes alone: a small body can hold very many.
func TestBatchWithTooManyEventsIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	batch := "[" + strings.Repeat("0,", mandrill.MaxElements) + "0]"
	if response, body := f.do(t, f.request(t, batch)); response.StatusCode != http.StatusRequestEntityTooLarge || body != "too_large\n" {
		t.Errorf("got %d %q, want 413", response.StatusCode, body)
	}
	if events := f.sink.takeEvents(); len(events) > 0 {
		t.Errorf("%d events were delivered", len(events))
	}
	f.assertOutcome(t, "too_large")
	f.assertNoSecrets(t)
}
