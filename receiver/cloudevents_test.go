package receiver_test

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The golden files hold the attributes of the CloudEvent of every sample. Run with -update to rewrite them.
func TestSamplesBecomeGoldenCloudEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	document := f.document()
	document.Routes[0].CEOverrides.Extensions = map[string]string{"env": "prod"}
	f.loadRoutes(t, document)
	for name, sample := range mandrilltest.Samples() {
		f.do(t, f.request(t, string(mandrilltest.Batch(sample))))
		events := f.sink.takeEvents()
		if len(events) != 1 {
			t.Errorf("%s: %d events", name, len(events))
			continue
		}
		attributes := attributesOf(events[0])
		got, err := json.MarshalIndent(attributes, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		path := filepath.Join("testdata", "cloudevents", name+".json")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func attributesOf(event cloudevents.Event) map[string]any {
	attributes := map[string]any{
		"id": event.ID(), "source": event.Source(), "specversion": event.SpecVersion(), "type": event.Type(),
		"datacontenttype": event.DataContentType(),
	}
	if event.DataSchema() != "" {
		attributes["dataschema"] = event.DataSchema()
	}
	if event.Subject() != "" {
		attributes["subject"] = event.Subject()
	}
	if !event.Time().IsZero() {
		attributes["time"] = event.Time()
	}
	for name, value := range event.Extensions() {
		attributes[name] = value
	}
	return attributes
}

func TestEventIDsAreStable(t *testing.T) {
	t.Parallel()
	ids := func(batch string) []string {
		f := newFixture(t) // a new one each time, as another replica
		f.do(t, f.request(t, batch))
		var list []string
		for _, event := range f.sink.takeEvents() {
			list = append(list, event.ID()+" "+string(event.Data()))
		}
		return list
	}
	first := ids(`[{"event":"open","_id":"a"},{"event":"open","_id":"a"},{"event":"open","_id":"a"}]`)
	if diff := cmp.Diff(first, ids(`[{"event":"open","_id":"a"}, {"event":"open","_id":"a"}, {"event":"open","_id":"a"}]`)); diff != "" {
		t.Errorf("ids differ between replicas:\n%s", diff)
	}
	id, _, _ := strings.Cut(first[0], " ")
	// printf '%s' '{"event":"open","_id":"a"}' | sha256sum | cut -c1-32
	if id != "80ccc461c647884e7d7c23e92a6ecd22" {
		t.Errorf("id %q is not the hash of the bytes", id)
	}
	if !strings.HasPrefix(first[1], id+"-1 ") || !strings.HasPrefix(first[2], id+"-2 ") {
		t.Errorf("identical events have ids %q", first)
	}
}

// A value that CloudEvents forbid as an attribute must not keep the event from being delivered.
func TestUnusableAttributesAreLeftOut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1025)
	for name, test := range map[string]struct {
		event       string
		wantSubject string
		wantTag     any
	}{
		"long":           {`{"event":"open","_id":"` + long + `","msg":{"tags":["` + long + `"]}}`, "", nil},
		"control":        {`{"event":"open","_id":"a\u0000b","msg":{"tags":["a\r\nInjected: x"]}}`, "", nil},
		"lone surrogate": {`{"event":"open","_id":"\ud800","msg":{"tags":["\ud800"]}}`, "", nil},
		"blank":          {`{"event":"open","_id":" ","msg":{"tags":[""]}}`, "", nil},
		"spaces":         {`{"event":"open","_id":"a","msg":{"tags":["welcome mail"]}}`, "a", "welcome mail"},
		// The HTTP binding demands percent encoding, which the SDK does not decode.
		"percent and beyond ASCII": {`{"event":"open","_id":"100%","msg":{"tags":["caf\u00e9 \"x\""]}}`, "100%25", "caf%C3%A9 %22x%22"},
	} {
		f := newFixture(t)
		f.do(t, f.request(t, "["+test.event+"]"))
		events := f.sink.takeEvents()
		if len(events) != 1 || string(events[0].Data()) != test.event {
			t.Errorf("%s: delivered %v", name, events)
			continue
		}
		if got := events[0].Subject(); got != test.wantSubject {
			t.Errorf("%s: subject %q, want %q", name, got, test.wantSubject)
		}
		if got := events[0].Extensions()["tag"]; got != test.wantTag {
			t.Errorf("%s: tag %q, want %q", name, got, test.wantTag)
		}
	}
}

// eventRecorder is a sender that records events and accepts them.
type eventRecorder struct{ events []cloudevents.Event }

func (c *eventRecorder) SendOnce(_ context.Context, _ sink.Delivery, items []*sink.Item) {
	for _, item := range items {
		item.State = sink.Accepted
		c.events = append(c.events, item.Event.SDK())
	}
}

// A signed batch becomes valid CloudEvents with unchanged bytes, or is refused as a whole. The same batch becomes the same events.
func FuzzMapping(f *testing.F) {
	for _, sample := range mandrilltest.Samples() {
		f.Add(string(sample))
	}
	for _, odd := range []string{
		`null`, `{}`, `{"event":"open"},{"event":"open"}`, "{\"event\":\"\xff\"}", `{"event":"\ud800"}`, `{"event":"open","event":"click"}`, `{"ts":1e400,"event":"open"}`, `{"ts":9223372036854775808,"event":"open"}`,
		`{"event":"a b"}`, `{"event":"` + strings.Repeat("x", 5000) + `"}`, strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), `{"event":"open","msg":{"email":"a@b@c","tags":["\u0000"],"subaccount":" "}}`,
	} {
		f.Add(odd)
	}
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	logger := slog.New(slog.DiscardHandler)
	table := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	if err := table.Load("routes", []byte("routes: [{name: x, url: 'https://h.example/x', keys: [k], source: s, sink: {uri: 'http://x.example'}}]")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, elements string) {
		send := func() (int, []cloudevents.Event) {
			sent := &eventRecorder{}
			handler := receiver.NewHandler(receiver.Options{Routes: table, Sender: sent, Metrics: metrics, Logger: logger})
			request, err := mandrilltest.NewRequest(t.Context(), "http://h.example/x", "https://h.example/x", "k", []byte("["+elements+"]"))
			if err != nil {
				t.Fatal(err)
			}
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, request)
			return response.Code, sent.events
		}
		status, events := send()
		if status != http.StatusOK && (status != http.StatusBadRequest || len(events) > 0) {
			t.Fatalf("status %d with %d events", status, len(events))
		}
		ids := map[string]string{}
		for _, event := range events {
			if err := event.Validate(); err != nil {
				t.Errorf("invalid event: %v", err)
			}
			if !strings.Contains(elements, string(event.Data())) {
				t.Errorf("the data were changed: %q", event.Data())
			}
			ids[event.ID()] = string(event.Data())
		}
		if len(ids) != len(events) {
			t.Errorf("%d ids for %d events", len(ids), len(events))
		}
		_, again := send()
		for _, event := range again {
			if data, ok := ids[event.ID()]; !ok || data != string(event.Data()) {
				t.Errorf("the same batch got another event with id %s", event.ID())
			}
		}
	})
}

// A hostile element becomes a defined event with unchanged bytes, and the other events of its batch are delivered.
func TestHostileElementsBecomeValidEvents(t *testing.T) {
	t.Parallel()
	const good = `{"event":"open","_id":"good","ts":1767225600}`
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for name, test := range map[string]struct{ raw, want string }{
		"invalid UTF-8":           {"{\"event\":\"open\",\"ip\":\"\xff\xfe\"}", "com.mandrill.message.open"},
		"invalid UTF-8 as a name": {"{\"event\":\"\xff\"}", "com.mandrill.unknown"},
		"a lone surrogate":        {`{"event":"open","msg":{"subject":"\ud800"}}`, "com.mandrill.message.open"},
		"duplicate keys":          {`{"event":"open","event":"click","event":"open"}`, "com.mandrill.message.open"},
		"a string of 10 MB":       {`{"event":"open","msg":{"subject":"` + strings.Repeat("x", 10<<20) + `"}}`, "com.mandrill.message.open"},
		"a name of 10 MB":         {`{"event":"` + strings.Repeat("x", 10<<20) + `"}`, "com.mandrill.unknown"},
		"10,000 deep":             {deep, "com.mandrill.unknown"},
		"10,000 deep in an event": {`{"event":"open","msg":` + deep + `}`, "com.mandrill.message.open"},
		"beyond 2^63":             {`{"event":"open","ts":9223372036854775808,"_id":18446744073709551616}`, "com.mandrill.message.open"},
		"beyond any number":       {`{"event":"open","ts":1e999999}`, "com.mandrill.message.open"},
		"before time":             {`{"event":"open","ts":-99999999999999999}`, "com.mandrill.message.open"},
		"an empty object":         {`{}`, "com.mandrill.unknown"},
		"null":                    {`null`, "com.mandrill.unknown"},
		"a name of another type":  {`{"event":{"a":1}}`, "com.mandrill.unknown"},
	} {
		f := newFixture(t)
		sent := &eventRecorder{}
		handler := receiver.NewHandler(receiver.Options{Routes: f.routes, Sender: sent, Metrics: f.metrics, Logger: f.routes.Logger})
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, f.request(t, "["+good+","+test.raw+","+good+"]"))
		if response.Code != http.StatusOK || len(sent.events) != 3 {
			t.Errorf("%s: status %d and %d events, want 200 and 3", name, response.Code, len(sent.events))
			continue
		}
		odd := 0
		for _, event := range sent.events {
			if err := event.Validate(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if string(event.Data()) == test.raw {
				odd++
				if event.Type() != test.want {
					t.Errorf("%s: type %.100s, want %s", name, event.Type(), test.want)
				}
			}
		}
		if odd != 1 {
			t.Errorf("%s: %d events have the element's bytes, want 1", name, odd)
		}
	}
}
