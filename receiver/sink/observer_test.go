package sink_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// recorder is an observer that records what it is told.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) Attempted(webhook string, reason reports.Reason, status int, circuitOpen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%s %s %d %t", webhook, reason, status, circuitOpen))
}

func TestReasonsOfAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want reports.Reason
	}{
		{nil, ""},
		{&sink.Error{Status: 500}, reports.ReasonStatus},
		{&sink.Error{Status: 503}, reports.ReasonStatus},
		{&sink.Error{Status: 503, After: time.Second}, reports.ReasonOverloaded},
		{&sink.Error{Status: 429}, reports.ReasonOverloaded},
		{&sink.Error{Status: 404}, reports.ReasonStatus}, // sent again, as in Knative
		{&sink.Error{Status: 400}, reports.ReasonRefused},
		{&sink.Error{Status: 302}, reports.ReasonRefused},
		{errors.New("something"), reports.ReasonOther},
	} {
		if got := sink.ReasonOf(test.err); got != test.want {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
}

// What the receiver refuses by itself is told from what the sink does.
func TestReasonsWithoutARequest(t *testing.T) {
	t.Parallel()
	client := &sink.Client{Proxy: noProxy, Refuse: func(netip.Addr) bool { return true }}
	for _, test := range []struct {
		target sink.Target
		want   reports.Reason
	}{
		{sink.Target{URI: "http://127.0.0.1:1", Timeout: time.Second}, reports.ReasonForbidden},
		{sink.Target{URI: "http://127.0.0.1:1", Timeout: time.Second, Audience: "x"}, reports.ReasonToken},
		{sink.Target{URI: "https://127.0.0.1:1", Timeout: time.Second, CACerts: "x"}, reports.ReasonTLS},
		{sink.Target{URI: ":", Timeout: time.Second}, reports.ReasonOther},
	} {
		if got := sink.ReasonOf(client.Send(t.Context(), test.target, newEvent())); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.target, got, test.want)
		}
	}
}

// Requests to dead letter sinks say nothing about the sink, nor do those that the receiver gave up.
func TestObserverIsToldOfAttemptsAtTheSink(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want []string
	}{
		{nil, []string{"shop/a  0 false"}},
		{&sink.Error{Status: http.StatusBadRequest}, []string{"shop/a Refused 400 false"}},
	} {
		seen := &recorder{}
		delivery := deliveryTo("sink")
		delivery.Webhook, delivery.DeadLetter, delivery.Retry = "shop/a", &sink.Target{URI: "dead", Timeout: time.Second, Webhook: "shop/a"}, &sink.Retry{}
		network := &fakePoster{answer: func(string, string) error { return test.err }}
		sink.NewSender(sink.Options{Poster: network, Observer: seen}).SendOnce(t.Context(), delivery, itemsNamed("a1"))
		if diff := cmp.Diff(test.want, seen.lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		seen := &recorder{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sink.NewSender(sink.Options{Poster: &fakePoster{latency: 5 * time.Second}, Observer: seen}).SendOnce(ctx, deliveryTo("sink"), itemsNamed("a1"))
		if len(seen.lines) > 0 {
			t.Errorf("got %q, want nothing", seen.lines)
		}
	})
}

func TestObserverIsToldOfTheCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := &recorder{}
		var err error = &sink.Error{Status: http.StatusInternalServerError}
		sender := sink.NewSender(sink.Options{Poster: &fakePoster{answer: func(string, string) error { return err }}, Observer: seen})
		delivery := deliveryTo("sink")
		delivery.Webhook = "shop/a"
		for range 12 { // the last two are not sent
			sender.SendOnce(t.Context(), delivery, unorderedItems(1))
		}
		<-time.After(time.Second)
		err = nil
		sender.SendOnce(t.Context(), delivery, unorderedItems(1))
		want := append(slices.Repeat([]string{"shop/a Status 500 false"}, 9), "shop/a Status 500 true", "shop/a  0 false")
		if diff := cmp.Diff(want, seen.lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
