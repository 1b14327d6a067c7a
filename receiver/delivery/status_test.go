package delivery_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/version"
)

func (f *fixture) status(t *testing.T, options delivery.StatusOptions, target string) string {
	t.Helper()
	response := httptest.NewRecorder()
	f.StatusHandler(options).ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	if response.Code != http.StatusOK || response.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %v", response.Code, response.Header())
	}
	return strings.ReplaceAll(response.Body.String(), `"version": "`+version.Get().Version+`"`, `"version": "v1"`)
}

// The shape of /status is closed: it is documented, and programs read it.
func TestStatusShowsTheStateWithTimes(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/a", "shop/b")
	f.SetBacklog(backlog{"shop/a": {Events: 2, Bytes: 64, Oldest: f.now.Add(-time.Minute)}})
	a := f.Webhook("shop/a")
	a.Arrived()
	a.Received(3)
	a.Delivered(1, time.Second)
	a.BadSignature()
	f.fail("shop/a", true)
	f.pass(1500 * time.Millisecond)
	accepted := f.now
	options := delivery.StatusOptions{
		Receiver: "receiver-0", Ready: func(context.Context) error { return errors.New("no routes have been loaded yet") },
		Reports: func() delivery.ReportStatus {
			return delivery.ReportStatus{LastAcceptedAt: &accepted, Failure: "the operator answered with status 503"}
		},
	}
	want := `{
  "receiver": "receiver-0",
  "version": "v1",
  "startedAt": "2026-07-01T12:00:01.5Z",
  "at": "2026-07-01T12:00:01.5Z",
  "ready": false,
  "notReady": "no routes have been loaded yet",
  "reports": {
    "lastAcceptedAt": "2026-07-01T12:00:01.5Z",
    "failure": "the operator answered with status 503"
  },
  "webhooks": [
    {
      "name": "shop/a",
      "delivers": true,
      "waitingEvents": 2,
      "waitingBytes": 64,
      "oldestWaitingAge": 61.5,
      "receivedEvents": 3,
      "deliveredEvents": 1,
      "lastReceivedAge": 1.5,
      "lastDeliveredAge": 1.5,
      "failingFor": 1.5,
      "circuitOpen": true,
      "lastBadSignatureAge": 1.5,
      "oldestWaitingAt": "2026-07-01T11:59:00Z",
      "lastReceivedAt": "2026-07-01T12:00:00Z",
      "lastDeliveredAt": "2026-07-01T12:00:00Z",
      "lastBadSignatureAt": "2026-07-01T12:00:00Z",
      "failingSince": "2026-07-01T12:00:00Z",
      "failure": {
        "reason": "Status",
        "status": 500,
        "age": 1.5,
        "at": "2026-07-01T12:00:00Z"
      }
    }
  ]
}
`
	if diff := cmp.Diff(want, f.status(t, options, "/status?webhook=shop/a")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	all := f.status(t, delivery.StatusOptions{Receiver: "x", Ready: func(context.Context) error { return nil }}, "/status")
	for _, part := range []string{`"ready": true`, `"name": "shop/a"`, `"name": "shop/b"`} {
		if !strings.Contains(all, part) {
			t.Errorf("%s is missing:\n%s", part, all)
		}
	}
	for _, part := range []string{"notReady", "reports", "buffer"} {
		if strings.Contains(all, part) {
			t.Errorf("%s is there without a cause:\n%s", part, all)
		}
	}
	none := f.status(t, delivery.StatusOptions{Receiver: "x", Ready: func(context.Context) error { return nil }}, "/status?webhook=shop/none")
	if !strings.Contains(none, `"webhooks": []`) {
		t.Errorf("an unknown webhook gives:\n%s", none)
	}
}

// With thousands of webhooks a report and a scrape stay cheap.
func BenchmarkSnapshot(b *testing.B) {
	f := newFixture(webhookNames(5000)...)
	for b.Loop() {
		f.Snapshot()
	}
}
