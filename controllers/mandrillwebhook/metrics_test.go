package mandrillwebhook_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func (w *world) wantMetrics(want map[string]float64) {
	w.t.Helper()
	for metric, value := range want {
		parts := strings.Fields(metric)
		if got := w.metric("mandrill_operator_"+parts[0], parts[1:]...); got != value {
			w.t.Errorf("%s is %v, want %v", metric, got, value)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wantMetrics(map[string]float64{"webhooks registered": 0, "webhooks degraded": 0, "poll_age_seconds": 0})
	w.emulator.Fail("webhooks/list", mandrilltest.Fault{Status: 502}, mandrilltest.Fault{Status: 400, Name: "s3ntinel", Message: "x"})
	w.apply()
	for range 2 {
		_, _ = w.reconcile() // refused in two ways
	}
	w.wantMetrics(map[string]float64{
		"reconciles_total Retrying retrying": 1, "reconciles_total Refused stalled": 1,
		"api_requests_total webhooks/list other": 2, "api_request_duration_seconds webhooks/list": 2, "webhooks degraded": 1,
	})
	w.mustReconcile()
	w.wantMetrics(map[string]float64{
		"reconciles_total Succeeded succeeded": 1, "api_requests_total webhooks/list ok": 1, "api_requests_total webhooks/add ok": 1,
		"webhooks registered": 1, "webhooks degraded": 0, "webhooks orphaned": 0,
	})
	w.mu.Lock()
	w.now = w.now.Add(7 * time.Minute)
	w.mu.Unlock()
	w.wantMetrics(map[string]float64{"poll_age_seconds": 420})
	if n := w.metric("mandrill_operator_drift_repairs_total", "deleted"); n != 0 {
		t.Errorf("the creation counts for a repair")
	}
	w.account.Revoke(true)
	_, _ = w.later().reconcile()
	w.wantMetrics(map[string]float64{"api_requests_total webhooks/list Invalid_Key": 1, "reconciles_total InvalidAPIKey stalled": 1})
}

// Repairs are counted by cause; what the user changes is none.
func TestDriftMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	w.edit(subscribed("click"))
	w.mustReconcile()
	id := w.account.Webhooks()[0].ID
	edit := func(change func(*mandrill.WebhookSpec)) func() {
		return func() { w.account.Edit(id, change) }
	}
	for _, drift := range []struct {
		cause string
		do    func()
	}{
		{"events", edit(func(s *mandrill.WebhookSpec) { s.Events = []string{"open"} })},
		{"description", edit(func(s *mandrill.WebhookSpec) { s.Description = "edited" })},
		{"url", edit(func(s *mandrill.WebhookSpec) { s.URL += "/edited" })},
		{"disabled", edit(func(s *mandrill.WebhookSpec) { s.Events = nil })},
		{"key", func() {
			if _, err := w.account.ResetKey(id); err != nil {
				t.Fatal(err)
			}
		}},
		{"secret", func() {
			if err := w.client.Delete(t.Context(), w.secret(keySecret)); err != nil {
				t.Fatal(err)
			}
		}},
		{"deleted", func() { call(t, w, "webhooks/delete", id) }},
	} {
		drift.do()
		w.later().mustReconcile()
		w.wantMetrics(map[string]float64{"drift_repairs_total " + drift.cause: 1})
	}
	total := 0.0
	for _, cause := range []string{"events", "description", "url", "disabled", "key", "secret", "deleted", "inbound"} {
		total += w.metric("mandrill_operator_drift_repairs_total", cause)
	}
	if total != 8 { // a webhook that is made again has another key
		t.Errorf("%v repairs in all, want 8", total)
	}
}

// An orphan counts until Mandrill says that it is gone, or an object has it again.
func TestOrphanMetric(t *testing.T) {
	t.Parallel()
	orphan := func(t *testing.T) *world {
		t.Helper()
		w := newWorld(t)
		w.apply()
		w.mustReconcile()
		if err := w.client.Delete(t.Context(), w.get()); err != nil {
			t.Fatal(err)
		}
		w.account.Revoke(true)
		for _, now := range []time.Time{time.Now(), time.Now().Add(11 * time.Minute)} {
			w.mu.Lock()
			w.now = now
			w.mu.Unlock()
			if _, err := w.reconcile(); err != nil {
				t.Fatal(err)
			}
		}
		w.account.Revoke(false)
		w.advance(time.Minute)
		w.wantMetrics(map[string]float64{"webhooks orphaned": 1, "webhooks registered": 0, "reconciles_total Deleting waiting": 1})
		return w
	}
	t.Run("taken over", func(t *testing.T) {
		t.Parallel()
		w := orphan(t)
		w.apply()
		w.mustReconcile()
		w.wantMetrics(map[string]float64{"webhooks orphaned": 0})
		if calls := w.emulator.Calls(); slices.Index(calls, "webhooks/add") != len(calls)-1-slices.Index(reversed(calls), "webhooks/add") {
			t.Errorf("the orphan was not taken over: %v", calls)
		}
	})
	t.Run("deleted by hand", func(t *testing.T) {
		t.Parallel()
		w := orphan(t)
		call(t, w, "webhooks/delete", w.account.Webhooks()[0].ID)
		w.apply()
		w.mustReconcile()
		w.wantMetrics(map[string]float64{"webhooks orphaned": 0})
	})
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}
