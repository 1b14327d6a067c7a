package dispatch_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// What became of the events of the buffer is in the state of their webhook: nothing is counted twice.
func TestStateFollowsTheBuffer(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(func(_, event string, attempt int) error {
		switch {
		case strings.HasSuffix(event, " odd"):
			return &sink.Error{Status: http.StatusUnprocessableEntity}
		case strings.HasSuffix(event, " late") && attempt < 3:
			return errSinkDown
		}
		return nil
	})
	b.post("a", "open fine", "open odd", "open late")
	b.post("a", "open fine", "open odd", "open late") // Mandrill did not see the answer
	eventually(t, "all events are done", func() bool {
		got := b.state.Snapshot()[0]
		return got.DeliveredEvents == 2 && got.DeadLetters == 1 && got.WaitingEvents == 0
	})
	got := b.state.Snapshot()[0]
	if got.Name != "shop/a" || got.ReceivedEvents != 3 || got.DeadLetters != 1 || got.WaitingEvents != 0 || got.Failure == nil || *got.LastReceivedAge > *got.LastDeliveredAge+patience.Seconds() {
		t.Errorf("got %+v, want 3 events received, 2 delivered and a dead letter", got)
	}
	for labels, want := range map[string]float64{"status": 2, "refused": 1, "timeout": 0} {
		if failed := b.metric("mandrill_receiver_failed_attempts_total", labels, "shop/a"); failed != want {
			t.Errorf("%g failed attempts by %s, want %g", failed, labels, want)
		}
	}
}

// What waits is shown with its age, and goes with the webhook.
func TestStateHasWhatWaits(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(failHosts("a"))
	b.post("a", "open 1", "open 2")
	eventually(t, "two events wait", func() bool {
		got := b.state.Snapshot()[0]
		return got.WaitingEvents == 2 && got.WaitingBytes > 0 && got.OldestWaitingAge != nil && got.FailingFor != nil && got.Failure.Reason == reports.ReasonStatus
	})
	if age := *b.state.Snapshot()[0].OldestWaitingAge; age > patience.Seconds() {
		t.Errorf("the oldest has waited for %g s", age)
	}
	b.webhooks = map[string]routes.Delivery{"other": {}}
	b.loadRoutes()
	if got := b.state.Snapshot(); len(got) != 1 || got[0].Name != "shop/other" || got[0].WaitingEvents != 0 {
		t.Errorf("got %+v, want the other webhook alone", got)
	}
	if !b.dispatcher.Leading() {
		t.Error("it does not deliver")
	}
	b.stop()
	if b.dispatcher.Leading() {
		t.Error("it delivers after the stop")
	}
}

// The line of a batch that came and the one of its delivery have the same id.
func TestLinesOfABatchHaveItsID(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.post("a", "open 1")
	b.waitEmpty()
	eventually(t, "the delivery is logged", func() bool { return strings.Contains(b.log.String(), "Delivered a batch") })
	ids := map[string]int{}
	for line := range strings.Lines(b.log.String()) {
		if _, rest, found := strings.Cut(line, `"batch":"`); found {
			id, _, _ := strings.Cut(rest, `"`)
			ids[id]++
		}
	}
	for id, lines := range ids {
		if len(ids) != 1 || lines != 2 || len(id) != 32 {
			t.Errorf("the ids are %v, want one in two lines:\n%s", ids, b.log)
		}
	}
	if len(ids) == 0 {
		t.Errorf("no line has an id:\n%s", b.log)
	}
}
