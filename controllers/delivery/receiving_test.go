package delivery_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

func expecting(within string) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) {
		o.Spec.ExpectEvents = &v1alpha1.ExpectEvents{Within: within}
		o.Status.URL = "https://hooks.example.com/shop/x"
		sent := metav1.NewTime(start.Add(-time.Minute))
		o.Status.Upstream = &v1alpha1.Upstream{LastSentAt: &sent, BatchesSent: 10}
	}
}

func TestSilenceIsReported(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keepReporting(time.Minute, shared, nil, working())
	f.assert("Receiving", "", "", "")
	f.edit(expecting("PT6H"))
	webhook := older(working(), time.Minute)
	f.keepReporting(5*time.Hour+58*time.Minute, shared, nil, webhook)
	f.assert("Receiving", "True", "Succeeded", "within PT6H")
	f.wantEvents()
	f.keepReporting(3*time.Minute, shared, nil, older(webhook, 5*time.Hour+58*time.Minute))
	f.assert("Receiving", "False", "Silent", "Nothing was received since 2026-01-01T11:59:57Z, which is longer than PT6H, and Mandrill says that it sent nothing")
	f.wantEvents("Warning Silent Nothing was received")
	f.keepReporting(time.Hour, shared, nil, older(webhook, 6*time.Hour+time.Minute))
	f.wantEvents()
	f.keepReporting(time.Minute, shared, nil, working())
	f.assert("Receiving", "True", "Succeeded", "")
	f.wantEvents("Normal EventsResumed")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.ExpectEvents = nil })
	f.keepReporting(5*time.Minute, shared, nil, working())
	f.assert("Receiving", "", "", "")
}

// Mandrill says that it sends, and nothing arrives: that does not wait until the time is over.
func TestWhatDoesNotArriveIsLouder(t *testing.T) {
	t.Parallel()
	for name, sends := range map[string]func(*v1alpha1.Upstream, time.Time){
		"the time of the last batch": func(u *v1alpha1.Upstream, at time.Time) { sent := metav1.NewTime(at); u.LastSentAt = &sent },
		"the count of batches":       func(u *v1alpha1.Upstream, _ time.Time) { u.BatchesSent++ },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.edit(expecting("PT6H"))
			f.keepReporting(40*time.Minute, shared, nil, working())
			f.assert("Receiving", "True", "Succeeded", "")
			f.edit(func(o *v1alpha1.MandrillWebhook) {
				upstream := *o.Status.Upstream
				sends(&upstream, f.now)
				o.Status.Upstream = &upstream
			})
			f.keepReporting(25*time.Minute, shared, nil, older(working(), 40*time.Minute))
			f.assert("Receiving", "False", "NotArriving", "no receiver has accepted events since 2026-01-01T11:59:57Z: check that https://hooks.example.com/shop/x leads to the receiver")
			f.wantEvents("Warning NotArriving Mandrill sent batches until")
			f.keepReporting(6*time.Hour, shared, nil, older(working(), 65*time.Minute))
			f.assert("Receiving", "False", "NotArriving", "")
			f.keepReporting(time.Minute, shared, nil, working())
			f.assert("Receiving", "True", "Succeeded", "")
			f.wantEvents("Normal EventsResumed")
		})
	}
}

// Batches that arrive are counted at Mandrill a little later, or earlier, than they are here.
func TestCountersThatFollowAreNoAlarm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(expecting("PT6H"))
	for range 30 {
		f.keepReporting(4*time.Minute, shared, nil, working())
		f.edit(func(o *v1alpha1.MandrillWebhook) {
			sent := metav1.NewTime(f.now)
			o.Status.Upstream = &v1alpha1.Upstream{LastSentAt: &sent, BatchesSent: o.Status.Upstream.BatchesSent + 3}
		})
		f.keepReporting(time.Minute, shared, nil, older(working(), 4*time.Minute))
		f.assert("Receiving", "True", "Succeeded", "")
	}
	f.keepReporting(5*time.Hour, shared, nil, older(working(), 5*time.Minute))
	f.assert("Receiving", "True", "Succeeded", "")
	f.wantEvents()
}

// The first events after a long silence may be in Mandrill's counters before a receiver reports them.
func TestTheFirstEventsAfterSilenceAreNoAlarm(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]form.Webhook{"after events": older(working(), 3*time.Hour), "the first at all": {Name: "shop/x"}} {
		t.Log(name)
		f := newFixture(t)
		f.edit(expecting("PT1H"))
		f.edit(func(o *v1alpha1.MandrillWebhook) { o.Status.Upstream = &v1alpha1.Upstream{BatchesSent: 10} })
		f.keepReporting(2*time.Hour, shared, nil, before)
		f.assert("Receiving", "False", "Silent", "")
		f.wantEvents("Warning Silent")
		f.edit(func(o *v1alpha1.MandrillWebhook) {
			o.Status.Upstream = &v1alpha1.Upstream{BatchesSent: o.Status.Upstream.BatchesSent + 1}
		})
		f.keepReporting(40*time.Second, shared, nil, before)
		f.assert("Receiving", "False", "Silent", "")
		f.keepReporting(time.Minute, shared, nil, older(working(), 50*time.Second))
		f.assert("Receiving", "True", "Succeeded", "")
		f.wantEvents("Normal EventsResumed")
	}
}

func TestSilenceFromTheBeginning(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.ExpectEvents = &v1alpha1.ExpectEvents{Within: "PT1H"} })
	idle := form.Webhook{Name: "shop/x"}
	f.keepReporting(58*time.Minute, shared, nil, idle)
	f.assert("Receiving", "Unknown", "NothingReceived", "PT1H is not over")
	f.keepReporting(5*time.Minute, shared, nil, idle)
	f.assert("Receiving", "False", "Silent", "Nothing was received yet, which is longer than PT1H")
	f.wantEvents("Warning Silent")
}

// Without reports nobody knows whether something is received; while suspended, nothing is.
func TestSilenceIsNotGuessed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(expecting("PT1H"))
	f.keepReporting(5*time.Minute, shared, nil, working())
	f.advance(3 * time.Hour)
	f.assert("Receiving", "Unknown", "NoReports", "")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = true })
	f.keepReporting(5*time.Minute, shared, nil, older(working(), 3*time.Hour))
	f.assert("Receiving", "Unknown", "Suspended", "")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = false })
	f.keepReporting(50*time.Minute, shared, nil, older(working(), 3*time.Hour+5*time.Minute))
	f.assert("Receiving", "True", "Succeeded", "") // the hour begins now
	f.keepReporting(15*time.Minute, shared, nil, older(working(), 4*time.Hour))
	f.assert("Receiving", "False", "Silent", "")
}

// After a restart of everything, silence counts from what the status says.
func TestSilenceSurvivesRestarts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(expecting("PT6H"))
	f.keepReporting(10*time.Minute, shared, nil, working())
	f.restart()
	f.instances["r-0"] = "2"
	idle := form.Webhook{Name: "shop/x"}
	f.keepReporting(5*time.Hour+40*time.Minute, shared, nil, idle)
	f.assert("Receiving", "True", "Succeeded", "")
	f.keepReporting(20*time.Minute, shared, nil, idle)
	f.assert("Receiving", "False", "Silent", "")
}
