package receiver_test

import (
	"net/http"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// A signed probe shows that a body of its size arrives: it is verified, dropped, and counted as a probe. Without the key it is nothing.
func TestProbeBatchIsVerifiedAndDropped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	document := f.document()
	document.Routes[0].Object = "0123456789ab"
	f.loadRoutes(t, document)
	response, body := f.do(t, f.request(t, string(mandrill.ProbeBatch(maxBody/2))))
	if response.StatusCode != http.StatusOK || body != "" || response.Header.Get(routes.ObjectHeader) != "0123456789ab" {
		t.Errorf("got %d %q, %v", response.StatusCode, body, response.Header)
	}
	f.assertOutcome(t, "probe")
	if events := f.sink.takeEvents(); len(events) > 0 {
		t.Errorf("the sink got %d events", len(events))
	}
	response, _ = f.do(t, f.requestTo(t, "/mandrill/shop", plainURL, "another-key", string(mandrill.ProbeBatch(1<<10))))
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("with another key: got %d", response.StatusCode)
	}
}

// An event that a person has marked as a test becomes a CloudEvent with that extension; no other does.
func TestMarkOfTestsIsAnExtension(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	response, _ := f.do(t, f.request(t, `[{"event":"send","_id":"1","mandrilltest":true},{"event":"send","_id":"2","mandrilltest":"no"},{"event":"send","_id":"3"}]`))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	for _, event := range f.sink.takeEvents() {
		if marked := event.Extensions()[mandrill.TestField] == "true"; marked != (event.Subject() == "1") {
			t.Errorf("%s: marked %v", event.Subject(), marked)
		}
	}
}
