package dispatch_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/events"
)

// lastBody returns the body of the last request that a sink got.
func (s *fakeSinks) lastBody() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.last.Body)
}

// The buffer keeps the bytes that Mandrill sent: the form is chosen when an event is sent, by the route as it is then.
func TestPayloadIsChosenWhenAnEventIsSent(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"event":"open","_id":"a","location":[],"msg":{"tags":"one","metadata":[]}}`)
	parsed, err := events.ParseData(events.TypeOpen, raw)
	if err != nil {
		t.Fatal(err)
	}
	normal, err := json.Marshal(parsed)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"Binary", "Structured", "Batched"} {
		b := newBufferedReceiver(t, func(b *bufferedReceiver) {
			b.webhooks = map[string]routes.Delivery{"a": {ContentMode: mode, Payload: routes.PayloadNormalized}}
		})
		b.sinks.setAnswer(refuseAll)
		if status := b.postRaw("a", raw); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		first := b.waitDeadLetters(1)[0]
		if body := b.sinks.lastBody(); !strings.Contains(body, string(normal)) {
			t.Errorf("%s: the sink got %s, want %s", mode, body, normal)
		}
		b.webhooks["a"] = routes.Delivery{ContentMode: mode}
		b.loadRoutes()
		b.sinks.setAnswer(nil)
		if n := b.redrive(`{"webhook":"shop/a"}`); n != 1 {
			t.Fatalf("%d were redriven, want 1", n)
		}
		b.sinks.waitFor(t, "the event", func(accepted []string, _ map[string]int) bool { return len(accepted) == 1 })
		if body := b.sinks.lastBody(); !strings.Contains(body, string(raw)) || mode != "Binary" && !strings.Contains(body, first.ID) {
			t.Errorf("%s: after a redrive with the payload Raw the sink got %s, want %s with the id %s", mode, body, raw, first.ID)
		}
		b.stop()
	}
}
