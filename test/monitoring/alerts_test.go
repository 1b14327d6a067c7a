package monitoring_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A real Prometheus that watches the real operator and receiver raises exactly the right alerts when the sink is down, when it refuses an
// event, when the key is reset in Mandrill while the operator is down, when the certificate of the public URL is about to expire, and when
// the receiver's reports are refused; and ends them afterwards. Alerts are 60 times faster than in production, as is Mandrill.
func TestAlertsFireAndResolve(t *testing.T) {
	s := startStack(t)
	s.deliver(t)
	p := startPrometheus(t, s.operator, s.receiver)
	p.await()

	before := s.sink.accepted.Load()
	s.sink.failure.Store(http.StatusInternalServerError)
	s.emit(t)
	p.await("MandrillDeliveryDelayed "+webhook, "MandrillSinkFailing "+webhook)
	s.sink.failure.Store(0)
	grows(t, "events that the sink accepts again", &s.sink.accepted, before)
	p.await()

	before = s.sink.answered.Load()
	s.sink.failure.Store(http.StatusBadRequest)
	s.emit(t)
	grows(t, "events that the sink answers", &s.sink.answered, before)
	s.sink.failure.Store(0)
	s.deliver(t)
	p.await("MandrillDeadLetters " + webhook)
	p.await()

	// An operator that runs takes over a new key within seconds. Without it, the receiver refuses what is signed with it.
	s.running.stop()
	before = s.sink.accepted.Load()
	if _, err := s.account.ResetKey(s.object.Status.WebhookID); err != nil {
		t.Fatal(err)
	}
	s.emit(t)
	p.await("MandrillOperatorAbsent", "MandrillSignaturesFailing "+webhook)
	s.front.present(t, time.Hour) // whose end the new operator sees
	s.running = s.startOperator()
	grows(t, "events that the sink accepts with the new key", &s.sink.accepted, before)
	p.await("MandrillCertificateExpiring")
	s.front.present(t, 90*24*time.Hour)
	s.running.stop()
	s.running = s.startOperator()
	p.await()

	// Reports are not believed without a good token. Delivery goes on. The new operator knows the receivers that have reported to it.
	eventually(t, "a receiver that reports", func() error {
		reporting, err := p.query(`mandrill_operator_receivers{state="reporting"}`)
		if err != nil || len(reporting) != 1 || reporting[0].value() != "1" {
			return fmt.Errorf("got %v: %w", reporting, err)
		}
		return nil
	})
	token, err := os.ReadFile(s.token)
	if err != nil {
		t.Fatal(err)
	}
	s.writeToken(t, "forged")
	p.await("MandrillReceiverSilent")
	s.deliver(t)
	s.writeToken(t, string(token))
	p.await()

	fired, err := p.everFired()
	if failed, err := p.query(`min_over_time(max_over_time(up{job="receiver"}[6s])[1h:1s]) == 0`); err == nil && len(failed) > 0 { // three scrapes failed: the machine stalled
		fired = slices.DeleteFunc(fired, func(name string) bool { return name == "MandrillReceiverAbsent" })
	}
	want := []string{
		"MandrillCertificateExpiring", "MandrillDeadLetters " + webhook, "MandrillDeliveryDelayed " + webhook, "MandrillOperatorAbsent",
		"MandrillReceiverSilent", "MandrillSignaturesFailing " + webhook, "MandrillSinkFailing " + webhook,
	}
	if err != nil || !slices.Equal(fired, want) {
		t.Errorf("the alerts that have fired are %q, want %q: %v", fired, want, err)
	}
	checkPanels(t, p)
}

// emptyPanels are panels that may show nothing in this test, and why.
var emptyPanels = map[string]string{
	"operator: Repairs":          "nobody works against the operator",
	"operator: Failed API calls": "all calls succeed",
	"operator: Webhooks ignored": "the receiver reports its own webhooks only",
}

// checkPanels checks that each panel of each dashboard has shown something of what the programs did.
func checkPanels(t *testing.T, p *prometheus) {
	t.Helper()
	paths, err := filepath.Glob(root + "/charts/mandrill-operator/files/dashboards/*.json")
	if err != nil || len(paths) < 4 {
		t.Fatalf("%d dashboards: %v", len(paths), err)
	}
	variables := strings.NewReplacer("$namespace", ".*", "$webhook", webhook, "$__rate_interval", "10s")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &dashboard); err != nil {
			t.Fatal(err)
		}
		for _, panel := range dashboard.Panels {
			shown := len(panel.Targets) == 0
			for _, target := range panel.Targets {
				series, err := p.series(variables.Replace(target.Expr))
				if err != nil {
					t.Errorf("%s, %s: %v", filepath.Base(path), panel.Title, err)
				}
				shown = shown || series > 0
			}
			name := strings.TrimSuffix(filepath.Base(path), ".json") + ": " + panel.Title
			if _, mayBeEmpty := emptyPanels[name]; !shown && !mayBeEmpty {
				t.Errorf("%s shows nothing", name)
			}
		}
	}
}
