package receiver_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// In Direct mode an event counts as received until it is delivered, and as delivered once, however often its batch comes.
func TestStateFollowsDirectDelivery(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	state := stateOf(f.document())
	failing := true
	f.sink.status = func(event cloudevents.Event) int {
		if failing && event.Subject() == "2" {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	handler := receiver.NewHandler(receiver.Options{
		Routes: f.routes, Sender: sink.NewSender(sink.Options{Observer: state}), Metrics: receiver.NewMetrics(prometheus.NewRegistry()),
		Logger: slog.New(slog.DiscardHandler), State: state,
	})
	send := func() reports.Webhook {
		handler.ServeHTTP(httptest.NewRecorder(), f.request(t, `[{"event":"open","_id":"1"},{"event":"open","_id":"2"}]`))
		for _, webhook := range state.Snapshot() {
			if webhook.Name == "shop/plain" {
				return webhook
			}
		}
		t.Fatal("the webhook is missing")
		return reports.Webhook{}
	}
	if got := send(); got.ReceivedEvents != 2 || got.DeliveredEvents != 1 || got.Failure == nil || got.LastReceivedAge == nil {
		t.Errorf("got %+v, want two events received and one delivered", got)
	}
	failing = false
	if got := send(); got.ReceivedEvents != 3 || got.DeliveredEvents != 2 || got.FailingFor != nil {
		t.Errorf("got %+v, want the second event received again, and delivered", got)
	}
	if got := send(); got.ReceivedEvents != 3 || got.DeliveredEvents != 2 {
		t.Errorf("got %+v, want no more than before", got)
	}
}

// A batch that the buffer does not take was received: Mandrill sends it again.
func TestRefusedBatchesAreReceived(t *testing.T) {
	t.Parallel()
	for _, err := range []error{journal.ErrFull, journal.ErrUnavailable} {
		f := newFixture(t)
		state := stateOf(f.document())
		handler := receiver.NewHandler(receiver.Options{
			Routes: f.routes, Metrics: receiver.NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler), State: state, Buffer: failingBuffer{err},
		})
		handler.ServeHTTP(httptest.NewRecorder(), f.request(t, `[{"event":"open","_id":"1"}]`))
		for _, webhook := range state.Snapshot() {
			if received := webhook.LastReceivedAge != nil && webhook.ReceivedEvents == 1; received != (webhook.Name == "shop/plain") {
				t.Errorf("%v: got %+v", err, webhook)
			}
		}
	}
}

// A registration asks for the URL, maybe before the receiver has its routes. That is no warning; a batch at that time is one.
func TestProbesBeforeTheRoutesAreNoWarnings(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	handler := receiver.NewHandler(receiver.Options{
		Routes:  &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())},
		Metrics: receiver.NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.NewJSONHandler(f.log, nil)),
	})
	for _, test := range []struct{ method, want string }{{http.MethodHead, "INFO"}, {http.MethodGet, "INFO"}, {http.MethodPost, "WARN"}} {
		f.log.Reset()
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), test.method, "/mandrill/shop", nil))
		var line struct{ Level string }
		if err := json.Unmarshal([]byte(f.log.String()), &line); err != nil || line.Level != test.want || response.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d, the log has %s, want %s (%v)", test.method, response.Code, strings.TrimSpace(f.log.String()), test.want, err)
		}
	}
}
