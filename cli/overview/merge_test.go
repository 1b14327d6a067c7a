package overview

import (
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
)

func age(seconds float64) *float64 { return &seconds }

// stateOf is what a receiver sends.
func stateOf(buffer *reports.Buffer, webhooks ...reports.Webhook) *site.State {
	state := &site.State{API: site.API, Buffer: buffer}
	state.SetWebhooks(webhooks)
	return state
}

// Receivers that share a buffer count the same, so what it holds counts once; what they receive and deliver adds up.
func TestASharedBufferCountsOnce(t *testing.T) {
	t.Parallel()
	shared := func(delivers bool) *reports.Buffer {
		return &reports.Buffer{ID: "shared", State: reports.BufferAvailable, Delivers: delivers, UsedBytes: 10, MaxBytes: 100}
	}
	own := &reports.Buffer{ID: "own", State: reports.BufferFull, Delivers: true, UsedBytes: 100, MaxBytes: 100}
	state := State{}
	state.add([]*site.State{
		stateOf(shared(false), reports.Webhook{Name: "shop/a", ReceivedEvents: 5, WaitingEvents: 9, DeadLetters: 1}),
		stateOf(shared(true), reports.Webhook{Name: "shop/a", ReceivedEvents: 6, DeliveredEvents: 4, WaitingEvents: 7, DeadLetters: 2, OldestWaitingAge: age(30)}),
		stateOf(own, reports.Webhook{Name: "shop/a", ReceivedEvents: 100, WaitingEvents: 1, OldestWaitingAge: age(5)}, reports.Webhook{Name: "shop/b"}),
		stateOf(nil, reports.Webhook{Name: "shop/a", ReceivedEvents: 1000, DeliveredEvents: 1000}),
	})
	totals := state.Totals
	if totals.Received != 1111 || totals.Delivered != 1004 || totals.Waiting != 8 || totals.DeadLetters != 2 || *totals.OldestWaitingAge != 30 || totals.Webhooks != 2 {
		t.Errorf("got %+v", totals)
	}
	if w := state.Webhooks[0]; w.Name != "shop/a" || w.ReceivedEvents != 1111 || w.DeliveredEvents != 1004 || w.WaitingEvents != 8 || w.DeadLetters != 2 {
		t.Errorf("got %+v", w)
	}
	if b := state.Buffer; b.UsedBytes != 110 || b.MaxBytes != 200 || b.State != reports.BufferFull || !b.Delivers {
		t.Errorf("got %+v", b)
	}
}

// Each receiver of a shared buffer counts what waits of the webhooks that it delivers, and all of them count the dead letters.
func TestReceiversThatShareABufferCountTheirPartsOfIt(t *testing.T) {
	t.Parallel()
	shared := &reports.Buffer{ID: "shared", State: reports.BufferAvailable, Delivers: true, UsedBytes: 10, MaxBytes: 100}
	a, b := reports.Webhook{Name: "shop/a", DeadLetters: 2}, reports.Webhook{Name: "shop/b", DeadLetters: 3}
	mine := func(w reports.Webhook, waiting int64, oldest float64) reports.Webhook {
		w.Delivers, w.WaitingEvents, w.OldestWaitingAge = true, waiting, age(oldest)
		return w
	}
	state := State{}
	state.add([]*site.State{stateOf(shared, mine(a, 7, 30), b), stateOf(shared, a, mine(b, 4, 60)), stateOf(shared, a, b)})
	if totals := state.Totals; totals.Waiting != 11 || totals.DeadLetters != 5 || *totals.OldestWaitingAge != 60 {
		t.Errorf("got %+v", totals)
	}
	for _, w := range state.Webhooks {
		want := map[string]reports.Webhook{"shop/a": {WaitingEvents: 7, DeadLetters: 2}, "shop/b": {WaitingEvents: 4, DeadLetters: 3}}[w.Name]
		if w.WaitingEvents != want.WaitingEvents || w.DeadLetters != want.DeadLetters {
			t.Errorf("%s: got %+v", w.Name, w)
		}
	}
	if state.Buffer.UsedBytes != 10 || state.Buffer.MaxBytes != 100 {
		t.Errorf("got %+v", state.Buffer)
	}
}

// The failure that one receiver saw is over when another one has delivered since, unless events wait for the first.
func TestAFailureIsOverWhenAnotherReceiverDelivers(t *testing.T) {
	t.Parallel()
	failing := func(waiting int64) reports.Webhook {
		return reports.Webhook{Name: "shop/a", Failure: &reports.Failure{Reason: reports.ReasonStatus, Age: 60}, FailingFor: age(90), WaitingEvents: waiting}
	}
	delivering := func(ago float64) reports.Webhook { return reports.Webhook{Name: "shop/a", LastDeliveredAge: age(ago)} }
	buffer := &reports.Buffer{ID: "own", State: reports.BufferAvailable, Delivers: true}
	for name, test := range map[string]struct {
		states []*site.State
		want   int
	}{
		"alone":             {[]*site.State{stateOf(nil, failing(0))}, 1},
		"delivered since":   {[]*site.State{stateOf(nil, failing(0)), stateOf(nil, delivering(1))}, 0},
		"delivered before":  {[]*site.State{stateOf(nil, failing(0)), stateOf(nil, delivering(70))}, 1},
		"events still wait": {[]*site.State{stateOf(buffer, failing(3)), stateOf(nil, delivering(1))}, 1},
	} {
		state := State{}
		state.add(test.states)
		if state.Totals.Failing != test.want {
			t.Errorf("%s: %d webhooks fail, want %d", name, state.Totals.Failing, test.want)
		}
	}
}

// Past events come again with each connection, and the page shows each once.
func TestPastEventsShowOnce(t *testing.T) {
	t.Parallel()
	message := func(reset bool, times ...string) Events {
		message := Events{Reset: reset}
		for _, at := range times {
			message.Events = append(message.Events, []byte(`{"time": "2026-01-01T00:00:0`+at+`Z"}`))
		}
		return message
	}
	f := &feed{name: "r"}
	first := f.fresh(message(true, "1", "2"))
	f.begun = true
	again := f.fresh(message(true, "1", "2", "3"))
	if len(first) != 2 || len(again) != 1 || !again[0].at.Equal(time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)) {
		t.Errorf("got %v, then %v", first, again)
	}
	if got := string(again[0].raw); got != `{"receiver":"r","time": "2026-01-01T00:00:03Z"}` {
		t.Errorf("got %s", got)
	}
}
