package mandrillwebhook_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/receiver"
)

func TestHintsRefuseBadRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	elected, waiting := make(chan struct{}), make(chan struct{})
	close(elected)
	for name, test := range map[string]struct {
		method, path, body string
		elected            chan struct{}
		want               int
	}{
		"good":               {http.MethodPost, "/signature-hints", `{"routes":["shop/unknown","nonsense",""]}`, elected, http.StatusAccepted},
		"none":               {http.MethodPost, "/signature-hints", `{}`, elected, http.StatusAccepted},
		"not the leader":     {http.MethodPost, "/signature-hints", `{"routes":["shop/unknown"]}`, waiting, http.StatusServiceUnavailable},
		"no JSON":            {http.MethodPost, "/signature-hints", `shop`, elected, http.StatusBadRequest},
		"another type":       {http.MethodPost, "/signature-hints", `{"routes":"shop/x"}`, elected, http.StatusBadRequest},
		"too large":          {http.MethodPost, "/signature-hints", `{"routes":["` + strings.Repeat("x", 1<<20) + `"]}`, elected, http.StatusBadRequest},
		"another method":     {http.MethodGet, "/signature-hints", ``, elected, http.StatusMethodNotAllowed},
		"something else":     {http.MethodPost, "/", `{}`, elected, http.StatusNotFound},
		"nothing in the way": {http.MethodPost, "/metrics", ``, elected, http.StatusNotFound},
	} {
		response := httptest.NewRecorder()
		f.reconciler.Hints(test.elected).ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), test.method, test.path, strings.NewReader(test.body)))
		if response.Code != test.want {
			t.Errorf("%s: status %d, want %d", name, response.Code, test.want)
		}
	}
}

// After a reset of the key the first batch with the new one makes the receiver get it, before the interval is over.
func TestHintBringsTheNewKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.Now, o.PollGap = time.Now, time.Millisecond })
	f.apply()
	f.mustReconcile()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	elected := make(chan struct{})
	close(elected)
	operator := httptest.NewServer(f.reconciler.Hints(elected))
	t.Cleanup(operator.Close)
	hinter := receiver.NewHintReporter(receiver.HintReporterOptions{URL: operator.URL, Metrics: receiver.NewMetrics(prometheus.NewRegistry())})
	go hinter.Run(ctx)
	polled := make(chan error, 1)
	go func() { polled <- f.reconciler.Poll(ctx) }()
	f.signatures.Store(hinter)

	hook := f.account.Webhooks()[0]
	key, err := f.account.ResetKey(hook.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.post(hook.URL, key); got != http.StatusForbidden {
		t.Fatalf("the receiver answers %d, want 403", got)
	}
	select {
	case changed := <-f.reconciler.Changed():
		if changed.Object.GetName() != webhookKey.Name {
			t.Errorf("%s is said to be changed", changed.Object.GetName())
		}
	case <-time.After(3 * time.Minute):
		t.Fatal("nobody looked")
	}
	f.mustReconcile()
	if got := f.post(hook.URL, key); got != http.StatusOK {
		t.Errorf("the receiver answers %d, want 200", got)
	}
	cancel()
	if err := <-polled; err != nil {
		t.Error(err)
	}
}
