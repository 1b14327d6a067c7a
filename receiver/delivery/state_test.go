package delivery_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// fixture is a state with a clock that the test moves.
type fixture struct {
	*delivery.State
	log *logbuffer.Buffer

	mu  sync.Mutex
	now time.Time
}

func newFixture(webhooks ...string) *fixture {
	f := &fixture{log: &logbuffer.Buffer{}, now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	f.State = delivery.New(delivery.Options{Logger: slog.New(slog.NewJSONHandler(f.log, nil)), Now: func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.now
	}})
	f.SetWebhooks(slices.Values(webhooks))
	f.Changes()
	return f
}

func (f *fixture) pass(duration time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(duration)
}

// fail makes an attempt fail with status 500.
func (f *fixture) fail(webhook string, circuitOpen bool) {
	f.Attempted(webhook, reports.ReasonStatus, http.StatusInternalServerError, circuitOpen)
}

func (f *fixture) succeed(webhook string) { f.Attempted(webhook, "", 0, false) }

// changes returns the names of the webhooks that changed.
func (f *fixture) changes() (names []string) {
	for _, webhook := range f.Changes() {
		names = append(names, webhook.Name)
	}
	return names
}

// backlog is what waits in a buffer that this process delivers from.
type backlog map[string]delivery.Waiting

func (b backlog) Waiting(yield func(string, delivery.Waiting)) {
	for webhook, waiting := range b {
		yield(webhook, waiting)
	}
}

func (b backlog) Leading() bool { return true }

func (b backlog) Delivers(string) bool { return true }

func seconds(value float64) *float64 { return &value }

func TestSnapshotHasWhatHappened(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/b", "shop/a")
	f.SetBacklog(backlog{"shop/a": {Events: 7, Bytes: 700, Oldest: f.now.Add(-time.Hour)}, "shop/deleted": {Events: 1}})
	a := f.Webhook("shop/a")
	a.Arrived()
	a.Received(10)
	f.pass(time.Second)
	f.fail("shop/a", false)
	f.pass(time.Second)
	f.Attempted("shop/a", reports.ReasonTimeout, 0, true)
	f.pass(time.Second)
	a.Delivered(3, 2*time.Second)
	a.BadSignature()
	a.Lost(2)
	f.DeadLettered("shop/a", "expired", 4)
	f.pass(500 * time.Millisecond)
	want := []reports.Webhook{{
		Name: "shop/a", Delivers: true, WaitingEvents: 7, WaitingBytes: 700, OldestWaitingAge: seconds(3603.5), ReceivedEvents: 10, DeliveredEvents: 3,
		LastReceivedAge: seconds(3.5), LastDeliveredAge: seconds(0.5), Failure: &reports.Failure{Reason: reports.ReasonTimeout, Age: 1.5},
		FailingFor: seconds(2.5), CircuitOpen: true, DeadLetters: 4, LostMessages: 2, LastBadSignatureAge: seconds(0.5),
	}, {Name: "shop/b", Delivers: true}}
	if diff := cmp.Diff(want, f.Snapshot()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.succeed("shop/a")
	want[0].CircuitOpen, want[0].FailingFor = false, nil // the last failure stays
	if diff := cmp.Diff(want, f.Snapshot()); diff != "" {
		t.Errorf("after a success (-want +got):\n%s", diff)
	}
}

// A circuit that nothing is sent through is forgotten, as the sender forgets it.
func TestCircuitIsForgottenWithoutAttempts(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/a")
	f.fail("shop/a", true)
	f.pass(9 * time.Minute)
	if !f.Snapshot()[0].CircuitOpen {
		t.Error("the circuit is closed after 9 minutes")
	}
	f.pass(time.Minute)
	if f.Snapshot()[0].CircuitOpen {
		t.Error("the circuit is open after 10 minutes")
	}
}

// A clock that is set back makes no age negative.
func TestAgesAreNeverNegative(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/a")
	f.Webhook("shop/a").Arrived()
	f.fail("shop/a", false)
	f.pass(-24 * time.Hour)
	if got := f.Snapshot()[0]; *got.LastReceivedAge != 0 || *got.FailingFor != 0 || got.Failure.Age != 0 {
		t.Errorf("got %+v, want ages of 0", got)
	}
}

func TestChangesAreThoseThatMatter(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/a", "shop/b")
	a := f.Webhook("shop/a")
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"a batch arrives", func() { a.Arrived(); a.Received(1) }, false},
		{"the sink accepts", func() { f.succeed("shop/a"); a.Delivered(1, 0) }, false},
		{"it starts failing", func() { f.fail("shop/a", false) }, true},
		{"it fails again", func() { f.fail("shop/a", false) }, false},
		{"for another reason", func() { f.Attempted("shop/a", reports.ReasonTimeout, 0, false) }, true},
		{"the circuit opens", func() { f.Attempted("shop/a", reports.ReasonTimeout, 0, true) }, true},
		{"a probe fails", func() { f.Attempted("shop/a", reports.ReasonTimeout, 0, true) }, false},
		{"it recovers", func() { f.succeed("shop/a") }, true},
		{"the first dead letter", func() { f.DeadLettered("shop/a", "refused", 1) }, true},
		{"another one", func() { f.DeadLettered("shop/a", "refused", 1) }, false},
		{"a bad signature", a.BadSignature, true},
		{"another one at once", a.BadSignature, false},
		{"another one after a minute", func() { f.pass(time.Minute); a.BadSignature() }, true},
		{"a message is lost", func() { a.Lost(1) }, true},
		{"the routes are the same", func() { f.SetWebhooks(slices.Values([]string{"shop/a", "shop/b"})) }, false},
		{"it is created again", func() {
			f.SetWebhooks(slices.Values([]string{"shop/b"}))
			f.SetWebhooks(slices.Values([]string{"shop/a", "shop/b"}))
		}, true},
	} {
		step.do()
		woken := len(f.Changed()) == 1
		if got := f.changes(); woken != step.want || step.want != slices.Equal(got, []string{"shop/a"}) {
			t.Errorf("%s: woken %t, changes %q; want %t", step.what, woken, got, step.want)
		}
	}
}

// What has no route takes no memory, and what is told about it changes nothing.
func TestStateIsForgottenWithTheRoute(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/a", "shop/b")
	registry := prometheus.NewRegistry()
	registry.MustRegister(f.State)
	gone := f.Webhook("shop/b")
	f.fail("shop/a", false)
	f.fail("shop/b", false)
	f.SetWebhooks(slices.Values([]string{"shop/a", "shop/c", "shop/c"}))
	gone.Received(1) // a request in flight
	gone.BadSignature()
	f.fail("shop/b", false)
	f.DeadLettered("shop/b", "webhook_deleted", 3)
	f.Webhook("shop/b").Delivered(1, time.Second)
	var names []string
	for _, webhook := range f.Snapshot() {
		names = append(names, webhook.Name)
	}
	if want := []string{"shop/a", "shop/c"}; !slices.Equal(names, want) || f.Snapshot()[0].FailingFor == nil {
		t.Errorf("got %q, want %q, the first one failing", names, want)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(families); strings.Contains(text, "shop/b") || !strings.Contains(text, "shop/c") {
		t.Errorf("the metrics have other webhooks:\n%s", text)
	}
	var want strings.Builder
	want.WriteString("# HELP mandrill_receiver_dead_lettered_total Events that were given up and kept as dead letters in the buffer, by webhook and reason. Those of deleted webhooks have no webhook.\n" +
		"# TYPE mandrill_receiver_dead_lettered_total counter\n")
	for _, line := range []string{`reason="webhook_deleted",webhook=""} 3`, `reason="exhausted",webhook="shop/a"} 0`, `reason="expired",webhook="shop/a"} 0`,
		`reason="refused",webhook="shop/a"} 0`, `reason="exhausted",webhook="shop/c"} 0`, `reason="expired",webhook="shop/c"} 0`, `reason="refused",webhook="shop/c"} 0`} {
		want.WriteString("mandrill_receiver_dead_lettered_total{" + line + "\n")
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want.String()), "mandrill_receiver_dead_lettered_total"); err != nil {
		t.Error(err)
	}
}

// Every reason has its series from the start, so that rate() sees the first failure.
func TestSeriesOfFailuresAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/a")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(f.State)
	if n := testutil.CollectAndCount(f.State, "mandrill_receiver_failed_attempts_total"); n != 11 {
		t.Errorf("%d series, want 11", n)
	}
	for _, reason := range []reports.Reason{
		reports.ReasonUnresolved, reports.ReasonUnreachable, reports.ReasonTLS, reports.ReasonTimeout, reports.ReasonNoAnswer, reports.ReasonStatus,
		reports.ReasonOverloaded, reports.ReasonRefused, reports.ReasonForbidden, reports.ReasonToken, reports.ReasonOther,
	} {
		f.Attempted("shop/a", reason, 0, false)
	}
	f.Webhook("shop/a").Delivered(2, 3*time.Second)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "mandrill_receiver_failed_attempts_total" && metric.GetCounter().GetValue() != 1 {
				t.Errorf("%s", metric)
			}
			if h := metric.GetHistogram(); h != nil && (h.GetSampleCount() != 2 || h.GetSampleSum() != 6 || h.GetBucket()[1].GetCumulativeCount() != 0 || h.GetBucket()[2].GetCumulativeCount() != 2) {
				t.Errorf("%s, want two observations between 1 and 5 seconds", metric)
			}
		}
	}
}

func (f *fixture) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(f.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		delete(entry, "time")
		lines = append(lines, entry)
	}
	return lines
}

// A sink that fails for long, or often, gives few lines: when it starts failing and when it has recovered, at most once a minute.
func TestFailingSinkIsLoggedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture("shop/a")
	for range 100 {
		f.fail("shop/a", false)
		f.pass(time.Second)
	}
	f.succeed("shop/a")
	for range 10 { // it flaps
		f.fail("shop/a", false)
		f.succeed("shop/a")
	}
	failing := map[string]any{"level": "WARN", "msg": "A sink started failing", "webhook": "shop/a", "reason": "Status", "status": 500.0, "failedAttempts": 1.0, "failingSeconds": 0.0, "circuitOpen": false}
	recovered := map[string]any{"level": "INFO", "msg": "A sink recovered", "webhook": "shop/a", "reason": "Status", "status": 500.0, "failedAttempts": 100.0, "failingSeconds": 100.0}
	again, recoveredAgain := map[string]any{}, map[string]any{}
	for key, value := range failing {
		again[key] = value
	}
	for key, value := range recovered {
		recoveredAgain[key] = value
	}
	recoveredAgain["failedAttempts"], recoveredAgain["failingSeconds"] = 1.0, 0.0
	if diff := cmp.Diff([]map[string]any{failing, recovered, again, recoveredAgain}, f.lines(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Thousands of webhooks with one sink do not fill the log.
func TestManyFailingSinksAreLoggedInPart(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 5000 {
		names = append(names, fmt.Sprintf("shop/%04d", i))
	}
	f := newFixture(names...)
	for _, name := range names {
		f.fail(name, false)
	}
	lines := f.lines(t)
	if last := lines[len(lines)-1]["msg"]; len(lines) != 101 || last != "Many sinks fail; only the first are logged for a minute" {
		t.Errorf("%d lines, the last is %q; want 101", len(lines), last)
	}
	for _, name := range names {
		f.succeed(name)
	}
	if n := len(f.lines(t)); n != 201 {
		t.Errorf("%d lines after the recovery, want 201", n)
	}
}

// The way of a batch costs a map lookup and some counters.
func TestHotPathDoesNotAllocate(t *testing.T) {
	f := newFixture("shop/a", "shop/b")
	if allocations := testing.AllocsPerRun(1000, func() {
		webhook := f.Webhook("shop/a")
		webhook.Arrived()
		webhook.Received(10)
		f.succeed("shop/a")
		webhook.Delivered(10, time.Second)
		f.Webhook("shop/unknown").Delivered(1, time.Second)
	}); allocations != 0 {
		t.Errorf("%g allocations for each batch, want none", allocations)
	}
}
