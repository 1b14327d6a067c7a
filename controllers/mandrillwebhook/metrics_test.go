package mandrillwebhook_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func (f *fixture) wantMetrics(want map[string]float64) {
	f.t.Helper()
	for metric, value := range want {
		parts := strings.Fields(metric)
		if got := f.metric("mandrill_operator_"+parts[0], parts[1:]...); got != value {
			f.t.Errorf("%s is %v, want %v", metric, got, value)
		}
	}
}

func TestReconcilesAndCallsAreCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.wantMetrics(map[string]float64{"webhooks registered": 0, "webhooks degraded": 0, "poll_age_seconds": 0})
	f.emulator.Fail("webhooks/list", mandrilltest.Fault{Status: 502}, mandrilltest.Fault{Status: 400, Name: "s3ntinel", Message: "x"})
	f.apply()
	for range 2 {
		_, _ = f.reconcile() // refused in two ways
	}
	f.wantMetrics(map[string]float64{
		"reconciles_total Retrying retrying": 1, "reconciles_total Refused stalled": 1,
		"api_requests_total webhooks/list other": 2, "api_request_duration_seconds webhooks/list": 2, "webhooks degraded": 1,
	})
	f.mustReconcile()
	f.wantMetrics(map[string]float64{
		"reconciles_total Succeeded succeeded": 1, "api_requests_total webhooks/list ok": 1, "api_requests_total webhooks/add ok": 1,
		"webhooks registered": 1, "webhooks degraded": 0, "webhooks orphaned": 0,
	})
	f.mu.Lock()
	f.now = f.now.Add(7 * time.Minute)
	f.mu.Unlock()
	f.wantMetrics(map[string]float64{"poll_age_seconds": 420})
	if n := f.metric("mandrill_operator_drift_repairs_total", "deleted"); n != 0 {
		t.Errorf("the creation counts for a repair")
	}
	f.account.Revoke(true)
	_, _ = f.hourLater().reconcile()
	f.wantMetrics(map[string]float64{"api_requests_total webhooks/list Invalid_Key": 1, "reconciles_total InvalidAPIKey stalled": 1})
}

// Repairs are counted by cause, and changes of the spec are not repairs.
func TestDriftIsCountedByCause(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.edit(subscribed("click"))
	f.mustReconcile()
	id := f.account.Webhooks()[0].ID
	edit := func(change func(*mandrill.WebhookSpec)) func() {
		return func() { f.account.Edit(id, change) }
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
			if _, err := f.account.ResetKey(id); err != nil {
				t.Fatal(err)
			}
		}},
		{"secret", func() {
			if err := f.client.Delete(t.Context(), f.secret(keySecret)); err != nil {
				t.Fatal(err)
			}
		}},
		{"deleted", func() { callWithID(t, f, "webhooks/delete", id) }},
	} {
		drift.do()
		f.hourLater().mustReconcile()
		f.wantMetrics(map[string]float64{"drift_repairs_total " + drift.cause: 1})
	}
	total := 0.0
	for _, cause := range []string{"events", "description", "url", "disabled", "key", "secret", "deleted", "inbound"} {
		total += f.metric("mandrill_operator_drift_repairs_total", cause)
	}
	if total != 8 { // a webhook that is made again has another key
		t.Errorf("%v repairs in all, want 8", total)
	}
}

// An orphan counts until Mandrill no longer lists it, or an object has it again.
func TestOrphansAreCounted(t *testing.T) {
	t.Parallel()
	orphan := func(t *testing.T) *fixture {
		t.Helper()
		f := newFixture(t)
		f.apply()
		f.mustReconcile()
		if err := f.client.Delete(t.Context(), f.get()); err != nil {
			t.Fatal(err)
		}
		f.account.Revoke(true)
		for _, now := range []time.Time{time.Now(), time.Now().Add(11 * time.Minute)} {
			f.mu.Lock()
			f.now = now
			f.mu.Unlock()
			if _, err := f.reconcile(); err != nil {
				t.Fatal(err)
			}
		}
		f.account.Revoke(false)
		f.advance(time.Minute)
		f.wantMetrics(map[string]float64{"webhooks orphaned": 1, "webhooks registered": 0, "reconciles_total Deleting waiting": 1})
		return f
	}
	t.Run("taken over", func(t *testing.T) {
		t.Parallel()
		f := orphan(t)
		f.apply()
		f.mustReconcile()
		f.wantMetrics(map[string]float64{"webhooks orphaned": 0})
		if calls := f.emulator.Calls(); slices.Index(calls, "webhooks/add") != len(calls)-1-slices.Index(reversed(calls), "webhooks/add") {
			t.Errorf("the orphan was not taken over: %v", calls)
		}
	})
	t.Run("deleted by hand", func(t *testing.T) {
		t.Parallel()
		f := orphan(t)
		callWithID(t, f, "webhooks/delete", f.account.Webhooks()[0].ID)
		f.apply()
		f.mustReconcile()
		f.wantMetrics(map[string]float64{"webhooks orphaned": 0})
	})
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}
