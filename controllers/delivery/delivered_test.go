package delivery_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/reports"
)

// The whole course of an outage: nothing for a minute, False, hourly Events, True at the first success.
func TestASinkThatFailsIsShownAfterAMinute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keepReporting(2*time.Minute, shared, nil, working())
	f.assert("Delivered", "True", "Succeeded", "accepts the events")
	f.wantEvents()
	f.keepReporting(50*time.Second, shared, nil, failing(0))
	f.assert("Delivered", "True", "Succeeded", "")
	f.keepReporting(30*time.Second, shared, nil, failing(50))
	f.assert("Delivered", "False", "SinkFailing", "has accepted nothing since 2026-01-01T12:02:00Z: it answers with status 500; look at its log")
	if got := f.delivery(); got.WaitingEvents != 7 || got.OldestWaitingAt == nil || got.LastFailure == nil || got.LastFailure.Status != 500 || got.LastFailure.Reason != "Status" {
		t.Errorf("status.delivery is %+v", got)
	}
	f.wantEvents("Warning SinkFailing The sink has accepted nothing since")
	f.keepReporting(2*time.Hour, shared, nil, failing(80))
	f.wantEvents("Warning SinkFailing", "Warning SinkFailing")
	f.keepReporting(time.Second, shared, nil, working())
	f.assert("Delivered", "True", "Succeeded", "")
	f.wantEvents("Normal SinkRecovered The sink accepts events again; it had failed for 2h0m")
	if got := f.delivery(); got.WaitingEvents != 0 || got.OldestWaitingAt != nil || got.LastFailure == nil {
		t.Errorf("status.delivery is %+v", got)
	}
}

func TestReasonsOfDelivered(t *testing.T) {
	t.Parallel()
	refused := failing(90)
	refused.Failure = &form.Failure{Reason: form.ReasonRefused, Status: 422, Age: 1}
	open := failing(90)
	open.CircuitOpen = true
	strange := failing(90)
	strange.Failure = &form.Failure{Reason: "Cosmic", Age: 1}
	buffer := func(state form.BufferState) func(*form.Report) {
		return func(r *form.Report) { r.Buffer = &form.Buffer{ID: "b", State: state, Delivers: true} }
	}
	for name, test := range map[string]struct {
		webhook                 form.Webhook
		report                  func(*form.Report)
		object                  func(*v1alpha1.MandrillWebhook)
		status, reason, message string
	}{
		"works":              {working(), nil, nil, "True", "Succeeded", ""},
		"never used":         {form.Webhook{Name: "shop/x"}, nil, nil, "Unknown", "NothingSent", "nothing to do"},
		"fails":              {failing(90), nil, nil, "False", "SinkFailing", "status 500"},
		"refuses":            {refused, nil, nil, "False", "SinkRefusing", "refuses the events with status 422"},
		"an open circuit":    {open, nil, nil, "False", "CircuitOpen", "one request at a time"},
		"an unknown reason":  {strange, nil, nil, "False", "SinkFailing", "requests fail"},
		"a full buffer":      {working(), buffer(form.BufferFull), nil, "False", "BufferFull", "make the buffer larger"},
		"no buffer":          {working(), buffer(form.BufferUnavailable), nil, "False", "BufferUnavailable", "/readyz"},
		"a buffer that does": {working(), buffer(form.BufferAvailable), nil, "True", "Succeeded", ""},
		"a state of later":   {working(), buffer("Dreaming"), nil, "True", "Succeeded", ""},
		"a full buffer that Direct mode does not need": {working(), buffer(form.BufferFull), func(o *v1alpha1.MandrillWebhook) {
			o.Spec.Delivery = &v1alpha1.Delivery{Mode: v1alpha1.ModeDirect}
		}, "True", "Succeeded", ""},
		"suspended": {failing(90), nil, func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = true }, "Unknown", "Suspended", "spec.suspend is true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			if test.object != nil {
				f.edit(test.object)
			}
			f.keepReporting(3*time.Minute, shared, test.report, test.webhook)
			f.assert("Delivered", test.status, test.reason, test.message)
		})
	}
}

// Every failure that a receiver can report has words, and none of them is cut off.
func TestEveryFailureHasWords(t *testing.T) {
	t.Parallel()
	for _, reason := range []form.Reason{
		form.ReasonUnresolved, form.ReasonUnreachable, form.ReasonTLS, form.ReasonTimeout, form.ReasonNoAnswer, form.ReasonStatus,
		form.ReasonOverloaded, form.ReasonRefused, form.ReasonForbidden, form.ReasonToken, form.ReasonOther,
	} {
		for _, status := range []int{0, 503} {
			f := newFixture(t)
			webhook := failing(90)
			webhook.Failure = &form.Failure{Reason: reason, Status: status, Age: 1}
			f.keepReporting(2*time.Minute, shared, nil, webhook)
			message := f.get().Status.Conditions[0].Message
			if strings.Contains(message, "%!") || strings.Contains(message, ": ; ") || strings.Contains(message, "; . ") {
				t.Errorf("%s with status %d: %s", reason, status, message)
			}
		}
	}
}

func TestNothingIsWrittenAtRest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	backlogged := failing(100)
	for name, webhook := range map[string]form.Webhook{"idle": {Name: "shop/x"}, "worked": working(), "failing": backlogged} {
		f.keepReporting(5*time.Minute, shared, nil, webhook)
		f.writes = 0
		f.keepReporting(3*time.Hour, shared, nil, older(webhook, 5*time.Minute))
		if f.writes != 0 {
			t.Errorf("%s: %d writes in three hours", name, f.writes)
		}
	}
}

// A webhook with events all the time, some of them always on their way, is written for the time of the last one only.
func TestABusyWebhookIsSeldomWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keepReporting(5*time.Minute, shared, nil, working())
	f.writes = 0
	for i := range 120 { // an hour
		webhook := working()
		webhook.WaitingEvents, webhook.OldestWaitingAge = int64(i*37%500), seconds(float64(i%20))
		if i%7 == 0 { // a failure that passes
			webhook.Failure = &form.Failure{Reason: form.ReasonTimeout, Age: 4}
		}
		if err := f.send(shared, nil, webhook); err != nil {
			t.Fatal(err)
		}
		f.advance(30 * time.Second)
	}
	if f.writes > 13 {
		t.Errorf("%d writes in an hour", f.writes)
	}
	if last := f.delivery().LastReceivedAt; f.now.Sub(last.Time) > 6*time.Minute {
		t.Errorf("at %s the last event is said to be of %s", f.now, last)
	}
	f.assert("Delivered", "True", "Succeeded", "")
}

// One sink of 5,000 objects fails: each is written once, no more than 50 a second.
func TestASharedSinkThatFailsIsWrittenOncePerObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const objects = 5000
	for i := range objects - 1 {
		f.add("shop", fmt.Sprint("o", i), nil)
	}
	names := []string{"shop/x"}
	for i := range objects - 1 {
		names = append(names, fmt.Sprint("shop/o", i))
	}
	report := func(webhook form.Webhook) {
		for chunk := range slices.Chunk(names, form.MaxWebhooks) {
			var list []form.Webhook
			for _, name := range chunk {
				webhook.Name = name
				list = append(list, webhook)
			}
			if err := f.send(shared, nil, list...); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(passes int, webhook form.Webhook) (writes, most int) {
		f.writes = 0
		began := f.now
		for pass := range passes {
			if pass%6 == 0 {
				report(older(webhook, f.now.Sub(began)))
			}
			before := f.writes
			f.advance(5 * time.Second)
			most = max(most, f.writes-before)
		}
		return f.writes, most
	}
	run(48, working()) // 4 minutes
	if rest, _ := run(24, older(working(), 4*time.Minute)); rest != 0 {
		t.Errorf("%d writes in two minutes at rest", rest)
	}
	failed, most := run(60, failing(0)) // 5 minutes
	if failed != objects || most > 250 {
		t.Errorf("%d writes for %d objects, up to %d in 5 s", failed, objects, most)
	}
	f.assert("Delivered", "False", "SinkFailing", "")
	if got := len(f.events()); got != objects {
		t.Errorf("%d Events", got)
	}
}

func TestAnOperatorThatRestartsMakesNothingWorse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keepReporting(2*time.Minute, shared, nil, working())
	f.restart()
	f.advance(70 * time.Second) // no receiver reports yet
	f.assert("Delivered", "True", "Succeeded", "")
	f.advance(10 * time.Second)
	f.assert("Delivered", "Unknown", "NoReports", "--operator-url")
	f.keepReporting(time.Minute, shared, nil, working())
	f.assert("Delivered", "True", "Succeeded", "")

	f.keepReporting(2*time.Minute, shared, nil, failing(0))
	f.assert("Delivered", "False", "SinkFailing", "")
	f.events()
	f.restart()
	f.keepReporting(5*time.Minute, shared, nil, failing(120))
	f.assert("Delivered", "False", "SinkFailing", "")
	f.wantEvents() // it was said
	f.restart()
	f.keepReporting(10*time.Second, shared, nil, working())
	f.assert("Delivered", "True", "Succeeded", "") // good news does not wait
}

// A receiver that restarts knows nothing of what was sent before: what the object says counts.
func TestAReceiverThatRestartsChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keepReporting(2*time.Minute, shared, nil, working())
	f.instances["r-0"] = "2"
	f.keepReporting(5*time.Minute, shared, nil, form.Webhook{Name: "shop/x"})
	f.assert("Delivered", "True", "Succeeded", "")
	if f.delivery().LastDeliveredAt == nil || f.delivery().LastReceivedAt == nil {
		t.Errorf("status.delivery is %+v", f.delivery())
	}
	f.keepReporting(2*time.Minute, shared, nil, failing(90))
	f.instances["r-0"] = "3"
	f.keepReporting(5*time.Minute, shared, nil, form.Webhook{Name: "shop/x"})
	f.assert("Delivered", "False", "SinkFailing", "")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Generation++ }) // maybe another sink
	f.keepReporting(5*time.Minute, shared, nil, form.Webhook{Name: "shop/x"})
	f.assert("Delivered", "Unknown", "NothingSent", "")
}

func TestReceiversAreAddedUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	own := func(id string, delivers bool) func(*form.Report) {
		return func(r *form.Report) {
			r.Buffer = &form.Buffer{ID: id, State: form.BufferAvailable, Delivers: delivers}
		}
	}
	webhook := failing(200)
	webhook.DeadLetters = 3
	report := func(first, second func(*form.Report)) {
		for range 12 {
			if err := errors.Join(f.send(shared, first, webhook), f.send(shared1, second, webhook)); err != nil {
				t.Fatal(err)
			}
			f.advance(30 * time.Second)
		}
	}
	report(own("a", true), own("b", true))
	if got := f.delivery(); got.WaitingEvents != 14 || got.DeadLetters != 6 || len(got.Receivers) != 2 {
		t.Errorf("of two buffers: %+v", got)
	}
	report(own("a", false), own("a", true))
	if got := f.delivery(); got.WaitingEvents != 7 || got.DeadLetters != 3 || len(got.Receivers) != 2 {
		t.Errorf("of a shared buffer: %+v", got)
	}
}

// Receivers that share a buffer deliver some webhooks each. What waits is counted once, also while a webhook moves from one to the other.
func TestWebhookThatMovesBetweenReceiversIsCountedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sharing := func(r *form.Report) { r.Buffer = &form.Buffer{ID: "a", State: form.BufferAvailable, Delivers: true} }
	holds, other := failing(200), form.Webhook{Name: "shop/x", DeadLetters: 3}
	holds.Delivers, holds.DeadLetters = true, 3
	report := func(what string, first, second form.Webhook) {
		for range 12 {
			if err := errors.Join(f.send(shared, sharing, first), f.send(shared1, sharing, second)); err != nil {
				t.Fatal(err)
			}
			f.advance(30 * time.Second)
		}
		if got := f.delivery(); got.WaitingEvents != 7 || got.DeadLetters != 3 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	report("delivered by the first", holds, other)
	report("both reports say so, of which one is older", holds, holds)
	report("delivered by the second", other, holds)
}

// A receiver whose last attempt failed matters only while no other delivers, or while events wait for it.
func TestOneReceiverThatDeliversIsEnough(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	full := func(r *form.Report) { r.Buffer = &form.Buffer{ID: "b", State: form.BufferFull, Delivers: true} }
	failed := failing(300)
	failed.Failure.Age, failed.WaitingEvents = 100, 0
	for range 10 {
		if err := errors.Join(f.send(shared1, full, failed), f.send(shared, nil, working())); err != nil {
			t.Fatal(err)
		}
		f.advance(30 * time.Second)
	}
	f.assert("Delivered", "True", "Succeeded", "")
	failed.WaitingEvents = 1
	if err := errors.Join(f.send(shared1, full, failed), f.send(shared, nil, working())); err != nil {
		t.Fatal(err)
	}
	f.advance(30 * time.Second)
	f.assert("Delivered", "False", "SinkFailing", "")
}

func TestASilentReceiverIsNamedAndForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.send(shared1, nil, working()); err != nil {
		t.Fatal(err)
	}
	f.keepReporting(70*time.Second, shared, nil, working())
	if got := f.delivery().Receivers; len(got) != 2 || got[1].Silent {
		t.Errorf("before two intervals: %+v", got)
	}
	f.keepReporting(4*time.Minute, shared, nil, working())
	got := f.delivery().Receivers
	if len(got) != 2 || got[0].Silent || got[0].LastReportAt != nil || !got[1].Silent || got[1].Name != "r-1" || !got[1].LastReportAt.Equal(&metav1.Time{Time: start}) {
		t.Errorf("after two intervals: %+v", got)
	}
	if reporting, silent := f.store.Count(); reporting != 1 || silent != 1 {
		t.Errorf("%d receivers report, %d are silent", reporting, silent)
	}
	f.keepReporting(20*time.Minute, shared, nil, working())
	if got := f.delivery().Receivers; len(got) != 1 || got[0].Name != "r-0" {
		t.Errorf("later: %+v", got)
	}
	f.assert("Delivered", "True", "Succeeded", "")
}

// A receiver that stops in order is not waited for.
func TestAReceiverThatStopsIsNotSilent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := errors.Join(f.send(shared, nil, working()), f.send(shared1, nil, working())); err != nil {
		t.Fatal(err)
	}
	if err := f.send(shared1, func(r *form.Report) { r.Stopping = true }); err != nil {
		t.Fatal(err)
	}
	f.keepReporting(3*time.Minute, shared, nil, working())
	if got := f.delivery().Receivers; len(got) != 1 || got[0].Silent {
		t.Errorf("got %+v", got)
	}
	if reporting, silent := f.store.Count(); reporting != 1 || silent != 0 {
		t.Errorf("%d receivers report, %d are silent", reporting, silent)
	}
}

func TestReportsOutOfOrderDoNotCount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	take := func(instance string, sequence uint64, webhook form.Webhook) error {
		return f.store.Take(shared, &form.Report{Version: 1, Receiver: "r-0", Instance: instance, Sequence: sequence, Webhooks: []form.Webhook{webhook}})
	}
	for i, test := range []struct {
		instance string
		sequence uint64
		want     error
	}{{"a", 5, nil}, {"a", 4, reports.ErrOutOfOrder}, {"a", 5, reports.ErrOutOfOrder}, {"a", 6, nil}, {"b", 1, nil}, {"a", 7, reports.ErrOutOfOrder}, {"b", 2, nil}} {
		webhook := working()
		if test.want != nil {
			webhook = failing(500)
		}
		if err := take(test.instance, test.sequence, webhook); !errors.Is(err, test.want) {
			t.Errorf("report %d: got %v, want %v", i, err, test.want)
		}
	}
	f.advance(10 * time.Second)
	f.assert("Delivered", "True", "Succeeded", "")
}

// What a reporter may not report is ignored, and counted.
func TestForeignObjectsAreIgnored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add("crm", "sidecar", func(o *v1alpha1.MandrillWebhook) { o.Spec.Receiver = v1alpha1.ReceiverSidecar })
	f.add("crm", "shared", nil)
	f.add("crm", "other", func(o *v1alpha1.MandrillWebhook) { o.Spec.Installation = "blue" })
	impossible := form.Webhook{Name: "shop/x", WaitingEvents: -1}
	for name, test := range map[string]struct {
		from    reports.Reporter
		webhook form.Webhook
		reason  string // empty if it is believed
	}{
		"the shared receiver of its object":      {shared, form.Webhook{Name: "shop/x"}, ""},
		"the shared receiver of a sidecar":       {shared, form.Webhook{Name: "crm/sidecar"}, "not_allowed"},
		"a sidecar of its object":                {stranger, form.Webhook{Name: "crm/sidecar"}, ""},
		"a sidecar of a shared one":              {stranger, form.Webhook{Name: "crm/shared"}, "not_allowed"},
		"a sidecar of another namespace":         {stranger, form.Webhook{Name: "shop/x"}, "not_allowed"},
		"another account of the namespace":       {reports.Reporter{Namespace: "system", ServiceAccount: "default"}, form.Webhook{Name: "shop/x"}, "not_allowed"},
		"an object that does not exist":          {shared, form.Webhook{Name: "shop/none"}, "unknown"},
		"another installation's":                 {shared, form.Webhook{Name: "crm/other"}, "unknown"},
		"no name":                                {shared, form.Webhook{}, "unknown"},
		"a name without a namespace":             {shared, form.Webhook{Name: "x"}, "unknown"},
		"a name with a route's number":           {shared, form.Webhook{Name: "shop/x/1"}, "unknown"},
		"something impossible about its object":  {shared, impossible, "invalid"},
		"a long name":                            {shared, form.Webhook{Name: strings.Repeat("shop/", 10000)}, "unknown"},
		"a name that is another object's prefix": {shared, form.Webhook{Name: "shop/"}, "unknown"},
	} {
		before := map[string]float64{}
		reasons := []string{"not_allowed", "unknown", "invalid", "too_many"}
		for _, reason := range reasons {
			before[reason] = f.ignored(reason)
		}
		test.from.Pod = name
		if err := f.send(test.from, nil, test.webhook); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, reason := range reasons {
			want := before[reason]
			if reason == test.reason {
				want++
			}
			if got := f.ignored(reason); got != want {
				t.Errorf("%s: %s was counted %v times", name, reason, got-before[reason])
			}
		}
	}
}

func (f *fixture) ignored(reason string) float64 {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "mandrill_operator_report_webhooks_ignored_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == reason {
				return metric.GetCounter().GetValue()
			}
		}
	}
	f.t.Fatalf("no count of %s", reason)
	return 0
}

// Receivers that claim to be many are bounded, for an object and in total.
func TestReceiversAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 30000 {
		from := reports.Reporter{Namespace: "system", ServiceAccount: "mandrill-receiver"} // not bound to a pod
		report := &form.Report{Version: 1, Receiver: fmt.Sprint("r-", i), Instance: "a", Sequence: 1, Webhooks: []form.Webhook{working()}}
		if err := f.store.Take(from, report); err != nil {
			t.Fatal(err)
		}
	}
	if reporting, _ := f.store.Count(); reporting > 20000 {
		t.Errorf("%d receivers are remembered", reporting)
	}
	f.advance(10 * time.Second)
	if got := len(f.delivery().Receivers); got > 64 {
		t.Errorf("the object has %d receivers", got)
	}
	if got := f.ignored("too_many"); got < 29900 {
		t.Errorf("%v were ignored", got)
	}
}

// The name of the pod that the API server knows counts, whatever a report claims.
func TestAReceiverCannotClaimAnotherName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 5 {
		report := &form.Report{Version: 1, Receiver: fmt.Sprint("forged-", i), Instance: "a", Sequence: uint64(i + 1), Webhooks: []form.Webhook{working()}}
		if err := f.store.Take(shared, report); err != nil {
			t.Fatal(err)
		}
	}
	f.advance(10 * time.Second)
	if got := f.delivery().Receivers; len(got) != 1 || got[0].Name != "r-0" {
		t.Errorf("got %+v", got)
	}
}

// The clock of a receiver does not matter, because reports have ages. One that counts from before the object existed is about
// another object of its name.
func TestTimesAreTheOperators(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.CreationTimestamp = metav1.NewTime(start.Add(-time.Minute)) })
	f.keepReporting(2*time.Minute, shared, nil, form.Webhook{Name: "shop/x", LastReceivedAge: seconds(30), LastDeliveredAge: seconds(86400)})
	got := f.delivery()
	if !got.LastReceivedAt.Equal(&metav1.Time{Time: start.Add(-30 * time.Second)}) || got.LastDeliveredAt != nil {
		t.Errorf("got %+v", got)
	}
}

func TestAWriteThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.fault = errors.New("down")
	f.keepReporting(2*time.Minute, shared, nil, working())
	if f.writes < 2 || f.writes > 5 {
		t.Errorf("%d attempts in two minutes", f.writes)
	}
	f.assert("Delivered", "", "", "")
	f.fault = nil
	f.keepReporting(time.Minute, shared, nil, working())
	f.assert("Delivered", "True", "Succeeded", "")
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(""), "no_such_metric"); err != nil {
		t.Error(err)
	}
}

// A batch with a bad signature is passed on once, not with each report that still has it.
func TestABadSignatureIsPassedOnOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	webhook := working()
	webhook.LastBadSignatureAge = seconds(1)
	f.keepReporting(5*time.Minute, shared, nil, webhook)
	if len(f.hints) != 1 || f.hints[0] != "shop/x" {
		t.Errorf("passed on: %v", f.hints)
	}
	f.keepReporting(time.Minute, shared, nil, webhook)
	if len(f.hints) != 2 {
		t.Errorf("another one: %v", f.hints)
	}
}

// What another writer makes of the conditions meanwhile is put right, and what this one wrote last is given to others.
func TestOthersKeepTheWritersConditions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keepReporting(time.Minute, shared, nil, working())
	stale := []metav1.Condition{{Type: "Ready", Status: "True"}, {Type: "Delivered", Status: "Unknown", Reason: "NothingSent"}}
	release := f.writer.Hold(f.get().UID, &stale)
	release()
	if len(stale) != 2 || stale[0].Type != "Ready" || stale[1].Status != "True" || stale[1].Reason != "Succeeded" {
		t.Errorf("the list is %+v", stale)
	}
	other := []metav1.Condition{{Type: "Ready"}, {Type: "Delivered", Status: "Unknown"}}
	f.writer.Hold("unknown", &other)()
	if len(other) != 2 || other[1].Status != "Unknown" {
		t.Errorf("of an object that was never written: %+v", other)
	}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Status.Conditions = nil })
	f.keepReporting(time.Minute, shared, nil, working())
	f.assert("Delivered", "True", "Succeeded", "")
}

// pager says what a test wants of all alert sinks.
type pager struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func (p *pager) Condition(*v1alpha1.MandrillWebhook) (metav1.ConditionStatus, string, string) {
	return p.status, p.reason, p.message
}

// Whether the alert sink is ready is a condition of objects that have one, with a warning when it is not. It stays while it is not known.
func TestAnAlertSinkIsShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	p := &pager{}
	f.alerts = p
	f.restart()
	f.edit(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.AlertSink = &v1alpha1.Destination{URI: "http://pager.example/"}
	})
	condition := func() metav1.Condition {
		if found := meta.FindStatusCondition(f.get().Status.Conditions, v1alpha1.ConditionAlertSinkReady); found != nil {
			return *found
		}
		return metav1.Condition{}
	}
	f.advance(2 * time.Minute)
	if got := condition(); got.Type != "" {
		t.Errorf("the condition is %+v before it is known", got)
	}
	p.status, p.reason, p.message = metav1.ConditionTrue, "Succeeded", "Alerts are sent"
	f.advance(time.Minute)
	if got := condition(); got.Status != metav1.ConditionTrue {
		t.Errorf("the condition is %+v", got)
	}
	writes := f.writes
	f.advance(time.Hour)
	if f.writes != writes {
		t.Errorf("%d writes at rest", f.writes-writes)
	}
	p.status, p.reason, p.message = metav1.ConditionFalse, v1alpha1.ReasonAlertsFailing, "it answers with status 503"
	f.advance(time.Minute)
	p.status = "" // such as after a restart
	f.advance(time.Minute)
	if got := condition(); got.Status != metav1.ConditionFalse || got.Message != "it answers with status 503" {
		t.Errorf("the condition is %+v", got)
	}
	if got := strings.Count(strings.Join(f.events(), "\n"), v1alpha1.ReasonAlertsFailing); got != 1 {
		t.Errorf("%d Events were recorded", got)
	}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.AlertSink = nil })
	f.advance(5 * time.Minute)
	if got := condition(); got.Type != "" {
		t.Errorf("the condition is %+v without an alert sink", got)
	}
}
