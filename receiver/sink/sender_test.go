package sink_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// fakePoster answers for all sinks. It records the requests and when they were made.
type fakePoster struct {
	answer  func(host, id string) error // default: accepted
	latency time.Duration

	mu       sync.Mutex
	begin    time.Time
	sent     []string // seconds since the first request, host, event
	headers  []map[string]string
	inflight int
	most     int // in flight
}

func (f *fakePoster) Post(ctx context.Context, target sink.Target, payload sink.Payload) (int, error) {
	f.mu.Lock()
	if f.begin.IsZero() {
		f.begin = time.Now()
	}
	header := cloudevent.Header(payload.Fields)
	id := header.Get("Ce-Id")
	f.sent = append(f.sent, fmt.Sprintf("%g %s %s", time.Since(f.begin).Seconds(), target.URI, id))
	headers := map[string]string{}
	for name, values := range header {
		headers[name] = values[0]
	}
	f.headers = append(f.headers, headers)
	f.inflight++
	f.most = max(f.most, f.inflight)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.inflight--
		f.mu.Unlock()
	}()
	if f.latency > 0 {
		ctx, cancel := context.WithTimeout(ctx, target.Timeout)
		defer cancel()
		select {
		case <-time.After(f.latency):
		case <-ctx.Done():
			return 0, &sink.Error{Err: ctx.Err()}
		}
	}
	f.mu.Lock()
	answer := f.answer
	f.mu.Unlock()
	if answer == nil {
		return 0, nil
	}
	return 0, answer(target.URI, id)
}

func (f *fakePoster) set(answer func(host, id string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakePoster) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.sent
	f.sent, f.headers = nil, nil
	return taken
}

func failWith(status int) func(string, string) error {
	return func(string, string) error { return &sink.Error{Status: status} }
}

func deliveryTo(uri string) sink.Delivery {
	return sink.Delivery{Target: sink.Target{URI: uri, Timeout: 10 * time.Second}, Mode: sink.Binary}
}

// itemsNamed returns an item per name. A name is an order key and a number.
func itemsNamed(names ...string) []*sink.Item {
	list := make([]*sink.Item, len(names))
	for i, name := range names {
		event := newEvent()
		event.ID = name
		list[i] = &sink.Item{Event: event, OrderKey: strings.TrimRight(name, "0123456789")}
	}
	return list
}

// unorderedItems returns items without order keys.
func unorderedItems(n int) []*sink.Item {
	list := make([]*sink.Item, n)
	for i := range list {
		event := newEvent()
		event.ID = strconv.Itoa(i)
		list[i] = &sink.Item{Event: event}
	}
	return list
}

func states(list []*sink.Item) string {
	var out []string
	for _, item := range list {
		name := map[sink.State]string{sink.Pending: "pending", sink.Refused: "refused", sink.Exhausted: "exhausted", sink.Accepted: "accepted", sink.DeadLettered: "dead"}[item.State]
		out = append(out, fmt.Sprintf("%s %s %d", item.Event.ID, name, item.Attempts))
	}
	return strings.Join(out, ", ")
}

// failOnly fails some events.
func failOnly(err error, ids ...string) func(string, string) error {
	return func(_, id string) error {
		if slices.Contains(ids, id) {
			return err
		}
		return nil
	}
}

func TestSendOnceStates(t *testing.T) {
	t.Parallel()
	unavailable, gone := &sink.Error{Status: 500}, &sink.Error{Status: 410}
	dead := &sink.Target{URI: "dead", Timeout: time.Second}
	for _, test := range []struct {
		name     string
		delivery func(*sink.Delivery)
		answer   func(host, id string) error
		want     string
	}{
		{"accepted", nil, nil, "a1 accepted 1, a2 accepted 1, b1 accepted 1"},
		{"temporary", nil, failOnly(unavailable, "a1"), "a1 pending 1, a2 pending 0, b1 accepted 1"},
		{"no_answer", nil, failOnly(errors.New("down"), "a1"), "a1 pending 1, a2 pending 0, b1 accepted 1"},
		{"permanent", nil, failOnly(gone, "a1"), "a1 refused 1, a2 accepted 1, b1 accepted 1"},
		{"permanent, with a dead letter sink", func(d *sink.Delivery) { d.DeadLetter = dead }, func(host, id string) error {
			if host == "dead" {
				return nil
			}
			return failOnly(gone, "a1")(host, id)
		}, "a1 dead 1, a2 accepted 1, b1 accepted 1"},
		{"permanent, and the dead letter sink refuses too", func(d *sink.Delivery) { d.DeadLetter = dead }, failOnly(gone, "a1"), "a1 refused 1, a2 accepted 1, b1 accepted 1"},
		{"temporary, with a dead letter sink, without Retry", func(d *sink.Delivery) { d.DeadLetter = dead }, failOnly(unavailable, "a1"), "a1 pending 1, a2 pending 0, b1 accepted 1"},
		{"no retry left", func(d *sink.Delivery) { d.DeadLetter, d.Retry = dead, &sink.Retry{} }, func(host, id string) error {
			if host == "dead" {
				return nil
			}
			return failOnly(unavailable, "a1")(host, id)
		}, "a1 dead 1, a2 accepted 1, b1 accepted 1"},
		{"no retry left, and the dead letter sink fails", func(d *sink.Delivery) { d.DeadLetter, d.Retry = dead, &sink.Retry{} }, failOnly(unavailable, "a1"), "a1 exhausted 1, a2 pending 0, b1 accepted 1"},
		{"a retry left", func(d *sink.Delivery) { d.DeadLetter, d.Retry = dead, &sink.Retry{Max: 1} }, failOnly(unavailable, "a1"), "a1 pending 1, a2 pending 0, b1 accepted 1"},
	} {
		delivery := deliveryTo("sink")
		if test.delivery != nil {
			test.delivery(&delivery)
		}
		list := itemsNamed("a1", "a2", "b1")
		sink.NewSender(sink.Options{Poster: &fakePoster{answer: test.answer}}).SendOnce(t.Context(), delivery, list)
		if got := states(list); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// After onDone has returned false no request is started. Each item is reported at most once.
func TestSendUntilStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{latency: time.Second, answer: failOnly(&sink.Error{Status: 500}, "b1")}
		list := append(itemsNamed("a1", "a2", "a3", "b1", "b2"), unorderedItems(100)...)
		var mu sync.Mutex
		reported := map[*sink.Item]int{}
		sink.NewSender(sink.Options{Poster: network}).SendUntil(t.Context(), deliveryTo("sink"), list, func(done []*sink.Item) bool {
			mu.Lock()
			defer mu.Unlock()
			for _, item := range done {
				reported[item]++
			}
			return time.Since(network.begin) < 2*time.Second
		})
		if took := time.Since(network.begin); took != 2*time.Second {
			t.Errorf("it took %s", took)
		}
		for i, item := range list {
			heldBack := item.Event.ID == "b2"
			if reported[item] > 1 || (reported[item] == 1) != (item.Attempts == 1 || heldBack) {
				t.Errorf("item %d: reported %d times, %d attempts", i, reported[item], item.Attempts)
			}
		}
		if sent := len(network.take()); sent != 2*32 || reported[list[1]] != 1 || reported[list[2]] != 0 || reported[list[4]] != 1 {
			t.Errorf("%d requests were made, and a1, a2, a3, b2 were reported %d, %d, %d, %d times",
				sent, reported[list[0]], reported[list[1]], reported[list[2]], reported[list[4]])
		}
	})
}

// A refused item is not sent to the sink again, only to the dead letter sink.
func TestRefusedItemsGoOnlyToTheDeadLetterSink(t *testing.T) {
	t.Parallel()
	for _, mode := range []sink.ContentMode{sink.Binary, sink.Batched} {
		network := &fakePoster{answer: failWith(410)}
		delivery := deliveryTo("sink")
		delivery.Mode, delivery.DeadLetter = mode, &sink.Target{URI: "dead", Timeout: time.Second}
		list := itemsNamed("a1", "b1")
		sender := sink.NewSender(sink.Options{Poster: network})
		sender.SendOnce(t.Context(), delivery, list)
		if list[0].DeadLetterErr == nil || list[0].Settled() {
			t.Errorf("%s: the dead letter sink refused, and the error is %v", mode, list[0].DeadLetterErr)
		}
		network.take()
		network.set(nil)
		sender.SendOnce(t.Context(), delivery, list)
		sent := strings.Join(network.take(), ",")
		if strings.Count(sent, "dead") != 2 || !strings.Contains(sent, "dead a1") || !strings.Contains(sent, "dead b1") || states(list) != "a1 dead 1, b1 dead 1" {
			t.Errorf("%s: sent %v, %s", mode, sent, states(list))
		}
		sender.SendOnce(t.Context(), delivery, list)
		if sent := network.take(); len(sent) != 0 {
			t.Errorf("%s: %v was sent though all was settled", mode, sent)
		}
	}
}

func TestDeadLetterExtensions(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", sink.MaxAnswer)
	for name, test := range map[string]struct {
		err  error
		want map[string]string
	}{
		"status": {&sink.Error{Status: 422, Answer: "no such order"}, map[string]string{"Ce-Knativeerrorcode": "422", "Ce-Knativeerrordata": "no such order"}},
		"silent": {&sink.Error{Status: 422}, map[string]string{"Ce-Knativeerrorcode": "422"}},
		"down":   {errors.New("dial tcp s3ntinel: refused"), map[string]string{"Ce-Knativeerrordata": "no_answer"}},
		"slow":   {&sink.Error{Err: context.DeadlineExceeded}, map[string]string{"Ce-Knativeerrordata": "timeout"}},
		"quotes": {&sink.Error{Status: 400, Answer: `"é%"`}, map[string]string{"Ce-Knativeerrorcode": "400", "Ce-Knativeerrordata": "%22%C3%A9%25%22"}},
		"long":   {&sink.Error{Status: 400, Answer: long}, map[string]string{"Ce-Knativeerrorcode": "400", "Ce-Knativeerrordata": strings.Repeat("%C3%A9", sink.MaxAnswer)}},
	} {
		registry := prometheus.NewRegistry()
		network := &fakePoster{answer: func(host, _ string) error {
			if host == "dead" {
				return nil
			}
			return test.err
		}}
		delivery := deliveryTo("https://robot:s3ntinel@sink.example:8443/a/b?key=s3ntinel#s3ntinel")
		delivery.Retry, delivery.DeadLetter = &sink.Retry{}, &sink.Target{URI: "dead", Timeout: time.Second}
		list := itemsNamed("a1")
		list[0].Event.Set("knativeerrordest", "forged")
		sink.NewSender(sink.Options{Poster: network, Metrics: sink.NewMetrics(registry)}).SendOnce(t.Context(), delivery, list)
		if len(network.headers) != 2 {
			t.Fatalf("%s: %d requests, want 2", name, len(network.headers))
		}
		got := network.headers[1]
		maps.DeleteFunc(got, func(name, _ string) bool { return !strings.HasPrefix(name, "Ce-Knative") })
		test.want["Ce-Knativeerrordest"] = "https://sink.example:8443/a/b"
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if list[0].Event.Extension("knativeerrorcode") != "" {
			t.Errorf("%s: the event itself was changed", name)
		}
		if diff := cmp.Diff(map[string]float64{"accepted": 1}, counted(t, registry, "mandrill_receiver_dead_letter_sink_events_total")); diff != "" {
			t.Errorf("%s: events sent to dead letter sinks (-want +got):\n%s", name, diff)
		}
	}
}

// counted returns the series of a counter that are not zero, by the values of their labels.
func counted(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var values []string
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			if value := metric.GetCounter().GetValue(); family.GetName() == name && value != 0 {
				counts[strings.Join(values, " ")] = value
			}
		}
	}
	return counts
}

func TestRequestOutcomes(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"accepted": nil, "refused": &sink.Error{Status: 400}, "failed": &sink.Error{Status: 500}, "overloaded": &sink.Error{Status: 429},
		"timeout": &sink.Error{Err: context.DeadlineExceeded}, "no_answer": errors.New("down"),
	} {
		registry := prometheus.NewRegistry()
		network := &fakePoster{answer: func(string, string) error { return err }}
		sink.NewSender(sink.Options{Poster: network, Metrics: sink.NewMetrics(registry)}).SendOnce(t.Context(), deliveryTo("sink"), itemsNamed("a1"))
		if diff := cmp.Diff(map[string]float64{"Binary " + want: 1}, counted(t, registry, "mandrill_receiver_sink_requests_total")); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if n := testutil.CollectAndCount(registry, "mandrill_receiver_sink_request_duration_seconds"); n != 1 {
			t.Errorf("%d series of the duration", n)
		}
	}
}

// When the client goes away the requests end, and they do not count as failures of the sink.
func TestCanceledContextIsNoFailureOfTheSink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &fakePoster{latency: 5 * time.Second}
		sender := sink.NewSender(sink.Options{Poster: network})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		list := unorderedItems(100)
		sender.SendOnce(ctx, deliveryTo("sink"), list)
		cancel()
		if sent := len(network.take()); sent != 32 {
			t.Errorf("%d were sent, want the 32 that one call may send at once", sent)
		}
		network.latency = 0
		sender.SendOnce(t.Context(), deliveryTo("sink"), list)
		for _, item := range list {
			if item.State != sink.Accepted {
				t.Fatalf("got %s, want all accepted", states(list))
			}
		}
	})
}
