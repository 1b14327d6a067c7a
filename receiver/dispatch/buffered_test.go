package dispatch_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

func TestBufferedBatchIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.post("a", "send 1", "send 2", "open 1")
	b.sinks.expectAccepted(t, "a send 1", "a send 2", "a open 1")
	b.post("a", "send 1", "send 2", "open 1") // Mandrill has not seen the answer and repeats the batch
	b.post("a", "send 3")
	b.sinks.expectAccepted(t, "a send 1", "a send 2", "a open 1", "a send 3")
	b.waitEmpty()
	b.stop()
	b.start()
	b.post("a", "send 1", "send 2", "open 1")
	b.post("a", "send 4")
	b.sinks.expectAccepted(t, "a send 1", "a send 2", "a open 1", "a send 3", "a send 4")
	if got := b.metric("mandrill_receiver_buffer_duplicates_total"); got != 1 {
		t.Errorf("%v duplicates were counted, want 1", got)
	}
}

// Mandrill gets 200 whatever the sink does, and the backlog survives a restart.
func TestBacklogSurvivesARestart(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(failHosts("a"))
	var want []string
	for i := range 20 {
		b.post("a", fmt.Sprintf("send %d", i), fmt.Sprintf("open %d", i))
		want = append(want, fmt.Sprintf("a send %d", i), fmt.Sprintf("a open %d", i))
	}
	b.sinks.waitFor(t, "an attempt", func(_ []string, attempts map[string]int) bool { return len(attempts) > 0 })
	eventually(t, "all events in the backlog", func() bool { return b.metric("mandrill_receiver_backlog_events", "shop/a") == 40 })
	b.stop()
	b.start()
	eventually(t, "the backlog after the restart", func() bool { return b.metric("mandrill_receiver_backlog_events", "shop/a") == 40 })
	b.sinks.setAnswer(nil)
	b.sinks.expectAccepted(t, want...)
	b.waitEmpty()
}

// While an event fails, events of other messages are delivered. Those of its message wait for it, in later batches too.
func TestFailedEventHoldsUpLaterBatchesOfItsMessage(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(func(_, event string, attempt int) error {
		if event == "a send 1" && attempt < 5 {
			return errSinkDown
		}
		return nil
	})
	b.post("a", "send 1", "open 1", "send 2")
	b.post("a", "click 1", "open 2")
	b.post("a", "send 3", "spam 1")
	b.sinks.expectAccepted(t, "a send 1", "a open 1", "a click 1", "a spam 1", "a send 2", "a open 2", "a send 3")
	var ofMessage []string
	for _, event := range b.sinks.accepted {
		if strings.HasSuffix(event, " 1") {
			ofMessage = append(ofMessage, event)
		}
	}
	if diff := cmp.Diff([]string{"a send 1", "a open 1", "a click 1", "a spam 1"}, ofMessage); diff != "" {
		t.Errorf("order of one message (-want +got):\n%s", diff)
	}
	b.waitEmpty()
}

// A consumer that mirrors a list, or follows a conversation, gets the changes of an address in order, although the sink fails now and
// then and the receiver restarts.
func TestEventsOfAnAddressArriveInOrder(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.webhooks = map[string]routes.Delivery{"a": {BackoffDelay: "PT0.002S", Retry: new(100)}}
	})
	var posts atomic.Int64
	b.sinks.setAnswer(func(string, string, int) error {
		if posts.Add(1)%3 == 0 {
			return errSinkDown
		}
		return nil
	})
	const addresses, changes = 20, 6
	actions := []string{"add", "change", "remove"}
	want := map[string][]string{}
	for n := range changes {
		var batch [][]byte
		for i := range addresses {
			email := fmt.Sprintf("u%d@shop.example", i)
			batch = append(batch, fmt.Appendf(nil, `{"type":"blacklist","action":%q,"reject":{"email":%q},"ts":1767225606,"n":%d}`, actions[n%3], email, n))
			want[email] = append(want[email], "a com.mandrill.sync.denylist."+actions[n%3]+" "+email)
		}
		if status := b.postRaw("a", batch...); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		if n == changes/2 {
			b.stop()
			b.start()
		}
	}
	b.sinks.waitFor(t, "all changes", func(accepted []string, _ map[string]int) bool { return len(accepted) >= addresses*changes })
	b.waitEmpty()
	b.stop()
	got := map[string][]string{}
	for _, event := range b.sinks.accepted {
		email := event[strings.LastIndexByte(event, ' ')+1:]
		got[email] = append(got[email], event)
	}
	for email := range want {
		got[email] = slices.Compact(got[email]) // a stop may repeat the last one
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes by address (-want +got):\n%s", diff)
	}
}

// A restart keeps the remaining events of a batch, their attempts, their due times and their order.
func TestRemainderSurvivesARestart(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) { b.webhooks["a"] = routes.Delivery{BackoffDelay: "PT0.3S"} })
	b.sinks.setAnswer(func(_, event string, _ int) error {
		if event == "a send 1" {
			return errSinkDown
		}
		return nil
	})
	b.post("a", "send 1", "open 1", "send 2")
	b.sinks.waitFor(t, "a second attempt", func(_ []string, attempts map[string]int) bool { return attempts["a send 1"] >= 2 })
	b.post("a", "click 1", "open 2")
	b.sinks.expectAccepted(t, "a send 2", "a open 2")
	b.stop()
	b.sinks.setAnswer(nil)
	b.start()
	b.sinks.expectAccepted(t, "a send 2", "a open 2", "a send 1", "a open 1", "a click 1")
	if diff := cmp.Diff([]string{"a send 1", "a open 1", "a click 1"}, b.sinks.accepted[2:]); diff != "" {
		t.Errorf("order of one message (-want +got):\n%s", diff)
	}
	b.waitEmpty()
}

func TestRefusedAndExhaustedEventsBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	retry := 2
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.webhooks["a"] = routes.Delivery{BackoffDelay: "PT0.01S", Retry: &retry}
		b.webhooks["b"] = routes.Delivery{BackoffDelay: "PT0.01S", Retry: &retry, DeadLetterSink: &routes.Sink{URI: "http://dead.example/"}}
	})
	deadLetterSinkFails := true
	b.sinks.setAnswer(func(host, event string, attempt int) error {
		switch {
		case strings.HasSuffix(event, "reject 1"):
			return &sink.Error{Status: http.StatusBadRequest, Answer: "no"}
		case strings.HasSuffix(event, "spam 2"):
			return errSinkDown
		case host == "dead" && deadLetterSinkFails && attempt < 2:
			return errSinkDown
		}
		return nil
	})
	b.post("a", "reject 1", "open 1", "spam 2", "open 2")
	b.sinks.expectAccepted(t, "a open 1", "a open 2")
	b.waitEmpty()
	for reason, want := range map[string]float64{journal.ReasonRefused: 1, journal.ReasonExhausted: 1} {
		if got := b.metric("mandrill_receiver_dead_lettered_total", reason); got != want {
			t.Errorf("%v dead letters for the reason %s, want %v", got, reason, want)
		}
	}
	if got := b.sinks.attempts["a spam 2"]; got != 3 {
		t.Errorf("%d attempts, want one and two retries", got)
	}
	b.sinks.mu.Lock()
	b.sinks.accepted = nil
	b.sinks.mu.Unlock()
	b.sinks.setAnswer(func(host, event string, attempt int) error {
		switch {
		case host == "dead" && attempt < 2:
			return errSinkDown
		case host == "b" && strings.HasSuffix(event, "reject 1"):
			return &sink.Error{Status: http.StatusBadRequest, Answer: "no"}
		case host == "b" && strings.HasSuffix(event, "spam 2"):
			return errSinkDown
		}
		return nil
	})
	b.post("b", "reject 1", "open 1", "spam 2", "open 2")
	b.sinks.expectAccepted(t, "dead reject 1", "dead spam 2", "b open 1", "b open 2")
	b.waitEmpty()
	if got := b.metric("mandrill_receiver_dead_lettered_total"); got != 2 {
		t.Errorf("%v dead letters, want 2: the dead letter sink accepted the others", got)
	}
}

// The memory for batches is shared: a sink that is down, or hangs, must not hold up other webhooks.
func TestFailingSinkHoldsUpNoOtherWebhook(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.webhooks["b"], b.webhooks["c"] = routes.Delivery{}, routes.Delivery{}
		b.options.Memory = 64 << 10
	})
	defer close(hang)
	b.sinks.setAnswer(func(host, _ string, _ int) error {
		switch host {
		case "a":
			return errSinkDown
		case "b":
			<-hang
		}
		return nil
	})
	var want []string
	for i := range 50 {
		for _, webhook := range []string{"a", "b", "c"} {
			b.post(webhook, fmt.Sprintf("send %d", i), fmt.Sprintf("open %d", i))
		}
		want = append(want, fmt.Sprintf("c send %d", i), fmt.Sprintf("c open %d", i))
	}
	b.sinks.expectAccepted(t, want...)
}

// An event that hangs holds up later events of its message and the rest of its cycle, not the other events of its webhook.
func TestHangingEventHoldsUpOnlyItsMessage(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(func(_, event string, _ int) error {
		if event == "a send 1" {
			<-hang
		}
		return nil
	})
	b.post("a", "send 1", "send 2")
	b.sinks.expectAccepted(t, "a send 2")
	b.post("a", "open 1", "send 3")
	b.sinks.expectAccepted(t, "a send 2", "a send 3")
	b.post("a", "open 3")
	b.sinks.expectAccepted(t, "a send 2", "a send 3", "a open 3")
	close(hang)
	b.sinks.expectAccepted(t, "a send 2", "a send 3", "a open 3", "a send 1", "a open 1")
	b.waitEmpty()
}

// Waiting events are sent to the current sink of their route. A suspended route sends nothing.
func TestBacklogFollowsItsRoute(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(failHosts("a"))
	b.post("a", "send 1")
	b.sinks.waitFor(t, "an attempt", func(_ []string, attempts map[string]int) bool { return len(attempts) > 0 })
	load := func(route routes.Route) {
		route.Name, route.URL, route.Keys, route.Source = "shop/a", hookURL("a"), []string{signingKey}, "/s"
		data, err := (&routes.Document{Routes: []routes.Route{route}}).Encode()
		if err == nil {
			err = b.routes.Load("routes", data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	load(routes.Route{Sink: routes.Sink{URI: "http://b.example"}, Suspend: true})
	if status := b.postStatus("a", "send 2"); status != http.StatusServiceUnavailable {
		t.Errorf("suspended: status %d, want 503", status)
	}
	b.sinks.mu.Lock()
	attempts := maps.Clone(b.sinks.attempts)
	b.sinks.mu.Unlock()
	if attempts["b send 1"] != 0 {
		t.Error("a suspended route has sent an event")
	}
	load(routes.Route{Sink: routes.Sink{URI: "http://b.example"}})
	b.sinks.expectAccepted(t, "b send 1")
	b.waitEmpty()
}

// The age of the oldest event must drop when old events are delivered, though newer ones have been waiting all the time.
func TestOldestAgeIgnoresDeliveredBatches(t *testing.T) {
	t.Parallel()
	var hours atomic.Int64
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.now = func() time.Time { return time.Now().Add(time.Duration(hours.Load()) * time.Hour) }
		b.options.Memory = 64 << 10
	})
	hang := make(chan struct{})
	b.sinks.setAnswer(func(_, event string, _ int) error {
		if strings.HasPrefix(event, "a send") {
			<-hang
			return nil
		}
		return errSinkDown
	})
	hours.Store(-10)
	for i := range 30 {
		b.post("a", fmt.Sprintf("send %d", i), fmt.Sprintf("send %d.", i))
	}
	hours.Store(0)
	const queueLimit = 10_000 // with as many events pending no other batch is read
	events := make([]string, queueLimit)
	for i := range events {
		events[i] = fmt.Sprintf("open %d", i)
	}
	b.post("a", events...)
	b.post("a", "open 0")
	close(hang)
	eventually(t, "delivery of the old events", func() bool { return b.metric("mandrill_receiver_backlog_events") == queueLimit+1 })
	eventually(t, "an age of seconds", func() bool { return b.metric("mandrill_receiver_backlog_oldest_age_seconds") < 3600 })
}

// Events are sent later, maybe by another process. Their spans still belong to the trace of their batch.
func TestEventSpansBelongToTheTraceOfTheirBatch(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) { b.options.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)) })
	b.sinks.setAnswer(failHosts("a"))
	b.post("a", "send 1")
	b.sinks.waitFor(t, "an attempt", func(_ []string, attempts map[string]int) bool { return len(attempts) > 0 })
	b.stop()
	b.sinks.setAnswer(nil)
	b.start()
	b.sinks.expectAccepted(t, "a send 1")
	b.stop()
	outcomes := map[string]string{}
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID() != spans.GetSpans()[0].SpanContext.TraceID() {
			t.Errorf("the span %q is of another trace", span.Name)
		}
		outcomes[span.Name] += attributesOfSpan(span)["mandrill.outcome"] + " "
	}
	trace, lines := spans.GetSpans()[0].SpanContext.TraceID().String(), logLines(t, b)
	for _, message := range []string{"Answered a request", "Delivered a batch"} {
		if line := lines[message]; line["trace_id"] != trace || line["batch"] == nil || line["batch"] != lines["Answered a request"]["batch"] {
			t.Errorf("the log line %q is %v, want the trace %s", message, line, trace)
		}
	}
	if got := outcomes["send com.mandrill.message.send"]; outcomes["receive batch"] != "accepted " || !strings.HasPrefix(got, "failed ") || !strings.HasSuffix(got, " accepted ") {
		t.Errorf("got outcomes %q", outcomes)
	}
}

// logLines returns the last line of the log with each message.
func logLines(t *testing.T, b *bufferedReceiver) map[string]map[string]any {
	t.Helper()
	last := map[string]map[string]any{}
	for line := range strings.SplitSeq(strings.TrimSpace(b.log.String()), "\n") {
		fields := map[string]any{}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		last[fmt.Sprint(fields["msg"])] = fields
	}
	return last
}

// A traceparent that a proxy sends does not become the trace of the batch, which anybody could choose. Without a tracer there is none.
func TestLogLinesHaveTheTraceOfTheBatch(t *testing.T) {
	t.Parallel()
	const foreign = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, traced := range []bool{true, false} {
		spans := tracetest.NewInMemoryExporter()
		b := newBufferedReceiver(t, func(b *bufferedReceiver) {
			b.header = http.Header{"Traceparent": {"00-" + foreign + "-00f067aa0ba902b7-01"}}
			if traced {
				b.options.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
			}
		})
		b.post("a", "send 1")
		b.sinks.expectAccepted(t, "a send 1")
		b.stop()
		want := any(nil)
		if traced {
			want = spans.GetSpans()[0].SpanContext.TraceID().String()
		}
		for _, message := range []string{"Answered a request", "Delivered a batch"} {
			line := logLines(t, b)[message]
			if line == nil || line["trace_id"] != want {
				t.Errorf("with a tracer %t: the log line %q is %v, want the trace %v", traced, message, line, want)
			}
		}
		if strings.Contains(b.log.String(), foreign) {
			t.Error("the log has the trace of the sender")
		}
	}
}

func TestEventOlderThanMaxAgeExpires(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) { b.options.MaxAge = 200 * time.Millisecond })
	b.sinks.setAnswer(failHosts("a"))
	b.post("a", "send 1")
	eventually(t, "a dead letter", func() bool { return b.metric("mandrill_receiver_dead_lettered_total", journal.ReasonExpired) == 1 })
	b.waitEmpty()
}

// A route in mode Buffered is not served without a buffer. One in mode Direct does not need it.
func TestBufferedModeNeedsABuffer(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.webhooks = map[string]routes.Delivery{"direct": {Mode: routes.ModeDirect}, "buffered": {Mode: routes.ModeBuffered}, "either": {}}
	})
	b.sinks.setAnswer(failHosts("direct", "buffered", "either"))
	without := *b
	without.handler = receiver.NewHandler(receiver.Options{
		Routes: b.routes, Sender: sink.NewSender(sink.Options{Poster: b.sinks}), Metrics: b.metrics, Logger: slog.New(slog.DiscardHandler),
	})
	for name, test := range map[string]struct {
		receiver *bufferedReceiver
		want     map[string]int
	}{
		"with":    {b, map[string]int{"direct": 502, "buffered": 200, "either": 200}},
		"without": {&without, map[string]int{"direct": 502, "buffered": 503, "either": 502}},
	} {
		for webhook, want := range test.want {
			if got := test.receiver.postStatus(webhook, "send 1"); got != want {
				t.Errorf("%s a buffer: %s: status %d, want %d", name, webhook, got, want)
			}
			for _, method := range []string{http.MethodHead, http.MethodGet} {
				response := httptest.NewRecorder()
				test.receiver.handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), method, hookURL(webhook), nil))
				want := http.StatusOK
				if name == "without" && webhook == "buffered" {
					want = http.StatusServiceUnavailable
				}
				if response.Code != want {
					t.Errorf("%s a buffer: %s %s: status %d, want %d", name, method, webhook, response.Code, want)
				}
			}
		}
	}
}
