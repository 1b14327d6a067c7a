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
)

// batches is a buffer that keeps them in memory.
type batches struct{ kept []journal.Batch }

func (b *batches) Append(_ context.Context, batch journal.Batch) (bool, error) {
	b.kept = append(b.kept, batch)
	return false, nil
}

// A batch is kept with what it takes to deliver it, and to know it again.
func TestKeep(t *testing.T) {
	t.Parallel()
	metrics, logger := receiver.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler)
	loaded := &receiver.Routes{Metrics: metrics, Logger: logger}
	data, err := (&routes.Document{Routes: []routes.Route{{
		Name: "shop/a~1", URL: hookURL("a"), Keys: []string{"another key", signingKey}, Source: "/s", Sink: routes.Sink{URI: "http://a.example/"},
	}}}).Encode()
	if err == nil {
		err = loaded.Load("routes", data)
	}
	if err != nil {
		t.Fatal(err)
	}
	buffer, now := &batches{}, time.UnixMilli(1795227543123)
	handler := receiver.NewHandler(receiver.Options{
		Routes: loaded, Metrics: metrics, Buffer: buffer, Logger: logger, Now: func() time.Time { return now },
	})
	value := `[ {"a":"é+%"} ,2]`
	request, err := mandrilltest.NewRequest(t.Context(), hookURL("a"), hookURL("a"), signingKey, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	want := []journal.Batch{{
		Webhook: "shop/a", Received: now, Value: []byte(value), Events: [][]byte{[]byte(`{"a":"é+%"}`), []byte("2")},
	}}
	if diff := cmp.Diff(want, buffer.kept, cmpopts.IgnoreFields(journal.Batch{}, "IDs")); diff != "" || response.Code != http.StatusOK {
		t.Errorf("answered with %d, kept (-want +got):\n%s", response.Code, diff)
	}
}
