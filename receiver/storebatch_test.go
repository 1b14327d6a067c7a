package receiver_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// fakeBuffer records the batches that it is given.
type fakeBuffer struct{ stored []journal.Batch }

func (b *fakeBuffer) Append(_ context.Context, batch journal.Batch) (bool, error) {
	b.stored = append(b.stored, batch)
	return false, nil
}

// The buffer gets everything that delivery needs: the webhook (not its route for a URL), the time, the bytes and the events.
func TestBatchIsStoredWithItsEvents(t *testing.T) {
	t.Parallel()
	metrics, logger := receiver.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler)
	table := &routing.Routes{Metrics: routing.NewMetrics(prometheus.NewRegistry()), Logger: logger}
	data, err := (&routes.Document{Routes: []routes.Route{{
		Name: "shop/a~1", URL: "https://hooks.example.com/a", Keys: []string{"another-key", signingKey}, Source: "/s", Sink: routes.Sink{URI: "http://a.example/"},
	}}}).Encode()
	if err == nil {
		err = table.Load("routes", data)
	}
	if err != nil {
		t.Fatal(err)
	}
	buffer, now := &fakeBuffer{}, time.UnixMilli(1795227543123)
	handler := receiver.NewHandler(receiver.Options{
		Routes: table, Metrics: metrics, Buffer: buffer, Logger: logger, Now: func() time.Time { return now },
	})
	value := `[ {"a":"é+%"} ,2]`
	request, err := mandrilltest.NewRequest(t.Context(), "https://hooks.example.com/a", "https://hooks.example.com/a", signingKey, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	want := []journal.Batch{{
		Webhook: "shop/a", Received: now, Value: []byte(value), Events: [][]byte{[]byte(`{"a":"é+%"}`), []byte("2")},
	}}
	if diff := cmp.Diff(want, buffer.stored, cmpopts.IgnoreFields(journal.Batch{}, "IDs", "Identified")); diff != "" || response.Code != http.StatusOK {
		t.Errorf("status %d; stored (-want +got):\n%s", response.Code, diff)
	}
}
