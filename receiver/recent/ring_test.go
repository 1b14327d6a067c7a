package recent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// tag is what a caller of package sink hangs on an item.
type tag recent.Origin

func (t tag) Origin() recent.Origin { return recent.Origin(t) }

func item(id string, data string) *sink.Item {
	event := &cloudevent.Event{
		Shared: cloudevent.NewShared("/shop", nil), ID: id, Type: "com.mandrill.message.open", ContentType: cloudevent.ContentJSON, Data: []byte(data),
	}
	return &sink.Item{Event: event, Tag: tag{Batch: "batch", Message: "message", Recipient: "ana@example.com"}}
}

// attempt records an attempt for one event.
func attempt(r *recent.Ring, webhook, id, outcome string) {
	r.Attempted(sink.Request{Webhook: webhook, Items: []*sink.Item{item(id, `{"event":"open"}`)}, Outcome: outcome, Took: 12 * time.Millisecond, Status: 200})
}

func ids(events []recent.Event) (list []string) {
	for _, event := range events {
		list = append(list, event.ID)
	}
	return list
}

func TestAnAttemptHasWhatProgramsRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := recent.New(recent.Options{Now: func() time.Time { return now }})
	tested := item("id", `{}`)
	tested.Event.Set(mandrill.TestField, "true")
	tested.Attempts = 2
	r.Attempted(sink.Request{
		Webhook: "shop/a", Items: []*sink.Item{tested}, Outcome: "refused", Took: 1500 * time.Microsecond, Status: 422, Reason: "refused", Answer: strings.Repeat("é", 150),
	})
	got, err := json.Marshal(r.Recent(recent.Filter{}, 10))
	want := `[{"time":"2026-01-02T03:04:05Z","webhook":"shop/a","batch":"batch","id":"id","type":"com.mandrill.message.open","recipient":"ana@example.com",` +
		`"message":"message","attempt":3,"outcome":"refused","status":422,"durationMs":1,"test":true,"reason":"refused","answer":"` + strings.Repeat("é", 100) + `"}]`
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	tested.Err = &sink.Error{Status: 422, Answer: "no"}
	r.DeadLettered("shop/a", "refused", tested)
	r.Attempted(sink.Request{Webhook: "shop/a", Items: []*sink.Item{tested}, Outcome: "accepted", DeadLetterSink: true})
	var outcomes []string
	for _, event := range r.Recent(recent.Filter{Failed: true}, 10) {
		outcomes = append(outcomes, fmt.Sprint(event.Outcome, " ", event.Attempt))
	}
	if diff := cmp.Diff([]string{"refused 3", "dead_lettered 2", "dead_letter_sink 1"}, outcomes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	(*recent.Ring)(nil).Attempted(sink.Request{})
	(*recent.Ring)(nil).DeadLettered("", "", nil)
}

func TestAFilterSelects(t *testing.T) {
	t.Parallel()
	r := recent.New(recent.Options{})
	attempt(r, "shop/a", "1", "accepted")
	attempt(r, "shop/b", "2", "accepted")
	attempt(r, "shop/a", "3", "timeout")
	for query, want := range map[string][]string{
		"": {"1", "2", "3"}, "limit=2": {"2", "3"}, "webhook=shop/a": {"1", "3"}, "type=open": {"1", "2", "3"}, "type=com.mandrill.message.open": {"1", "2", "3"},
		"type=message.open": {"1", "2", "3"}, "type=opens": nil, "outcome=timeout": {"3"}, "failed=true": {"3"}, "failed=true&webhook=shop/b": nil, "id=2": {"2"}, "limit=0": nil,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		filter, limit, err := recent.ParseQuery(values, 100)
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if diff := cmp.Diff(want, ids(r.Recent(filter, limit))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for query, want := range map[string]string{
		"limit=x": `limit cannot be "x"`, "limit=-1": "limit must be a number from 0 to 4096", "failed=maybe": `failed cannot be "maybe"`, "webhok=a": "the query may have",
	} {
		values, _ := url.ParseQuery(query)
		if _, _, err := recent.ParseQuery(values, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", query, err, want)
		}
	}
}

// A flood of accepted events leaves the ring at its size, and hides no failure.
func TestAFloodHidesNoFailure(t *testing.T) {
	t.Parallel()
	r := recent.New(recent.Options{})
	attempt(r, "shop/a", "failed", "timeout")
	for i := range 10_000 {
		attempt(r, "shop/a", strconv.Itoa(i), "accepted")
	}
	if got := r.Recent(recent.Filter{}, 100_000); len(got) != 4096+1 || got[0].ID != "failed" || got[4096].ID != "9999" {
		t.Errorf("got %d events, from %v to %v", len(got), got[0].ID, got[len(got)-1].ID)
	}
	if got := ids(r.Recent(recent.Filter{Failed: true}, 10)); !cmp.Equal(got, []string{"failed"}) {
		t.Errorf("failed: %v", got)
	}
	for i := range 1000 {
		attempt(r, "shop/a", fmt.Sprint("f", i), "timeout")
	}
	for range 5000 {
		attempt(r, "shop/a", "", "accepted")
	}
	if got := r.Recent(recent.Filter{Failed: true}, 100_000); len(got) != 512 || got[511].ID != "f999" {
		t.Errorf("got %d failed events", len(got))
	}
}

// A follower gets each event once. One that does not read delays nobody, and learns how many it has missed.
func TestASlowFollowerSkips(t *testing.T) {
	t.Parallel()
	r := recent.New(recent.Options{})
	attempt(r, "shop/a", "before", "accepted")
	past, slow := r.Follow(recent.Filter{}, 10)
	_, quick := r.Follow(recent.Filter{Webhook: "shop/b"}, 10)
	defer slow.Stop()
	defer quick.Stop()
	if got := ids(past); !cmp.Equal(got, []string{"before"}) {
		t.Errorf("past: %v", got)
	}
	attempt(r, "shop/a", "other", "accepted")
	attempt(r, "shop/b", "mine", "accepted")
	if events, skipped, err := quick.Next(t.Context()); err != nil || skipped != 0 || !cmp.Equal(ids(events), []string{"mine"}) {
		t.Errorf("quick: %v, %d, %v", ids(events), skipped, err)
	}
	for range 5000 {
		attempt(r, "shop/a", "flood", "accepted")
	}
	var read, skipped uint64
	for read+skipped < 5002 {
		events, missed, err := slow.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		read, skipped = read+uint64(len(events)), skipped+missed
	}
	if read != 4096 || skipped != 5002-4096 {
		t.Errorf("read %d, skipped %d", read, skipped)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := slow.Next(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was canceled", err)
	}
	r.Close()
	if _, _, err := slow.Next(t.Context()); !errors.Is(err, recent.ErrClosed) {
		t.Errorf("got %v, want that the ring was closed", err)
	}
}

// CloudEvents are in memory only while somebody asks for them, and only so many.
func TestCloudEventsAreKeptForWhoAsks(t *testing.T) {
	t.Parallel()
	r := recent.New(recent.Options{})
	withPayload := recent.Filter{Webhook: "shop/a", Payload: true}
	attempt(r, "shop/a", "before", "accepted")
	_, follower := r.Follow(withPayload, 0)
	attempt(r, "shop/b", "other", "accepted")
	attempt(r, "shop/a", "asked", "accepted")
	events, _, err := follower.Next(t.Context())
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	want := `{"specversion":"1.0","source":"/shop","id":"asked","type":"com.mandrill.message.open","datacontenttype":"application/json","data":{"event":"open"}}`
	if diff := cmp.Diff(want, string(events[0].Event)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	follower.Stop()
	attempt(r, "shop/a", "after", "accepted")
	for _, event := range r.Recent(recent.Filter{Payload: true}, 10) {
		if (event.Event != nil) != (event.ID == "asked") {
			t.Errorf("%s has the CloudEvent %s", event.ID, event.Event)
		}
	}
	for _, event := range r.Recent(recent.Filter{}, 10) {
		if event.Event != nil {
			t.Errorf("%s has a CloudEvent that nobody asked for", event.ID)
		}
	}
}

func TestCloudEventsHaveABudget(t *testing.T) {
	t.Parallel()
	r := recent.New(recent.Options{Payloads: true})
	_, follower := r.Follow(recent.Filter{Payload: true}, 0)
	defer follower.Stop()
	large := `"` + strings.Repeat("x", 1<<20) + `"`
	for i := range 40 {
		r.Attempted(sink.Request{Webhook: "shop/a", Items: []*sink.Item{item(strconv.Itoa(i), large)}, Outcome: "accepted"})
	}
	kept := 0
	for _, event := range r.Recent(recent.Filter{Payload: true}, 100) {
		kept += len(event.Event)
	}
	if kept > 16<<20 || kept < 14<<20 {
		t.Errorf("%d bytes of CloudEvents are kept", kept)
	}
	events, skipped, err := follower.Next(t.Context())
	if err != nil || len(events) != 15 || skipped != 25 {
		t.Errorf("the follower got %d events and skipped %d, %v", len(events), skipped, err)
	}
	r.Attempted(sink.Request{Webhook: "shop/a", Items: []*sink.Item{item("huge", `"`+strings.Repeat("x", 17<<20)+`"`)}, Outcome: "accepted"})
	if events, _, err := follower.Next(t.Context()); err != nil || len(events) != 1 || len(events[0].Event) < 17<<20 {
		t.Errorf("an event that is larger than the budget: %d events, %v", len(events), err)
	}
}

func TestTheStreamHasEventsAsTheyCome(t *testing.T) {
	t.Parallel()
	r := recent.New(recent.Options{})
	server := httptest.NewServer(recent.Handler(r))
	defer server.Close()
	attempt(r, "shop/a", "past", "accepted")
	response, err := http.Get(server.URL + "/events/stream?limit=5")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	lines := bufio.NewScanner(response.Body)
	next := func() (event recent.Event) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &event); err != nil {
					t.Fatal(err)
				}
				return event
			}
		}
		t.Fatal("the stream ended: ", lines.Err())
		return event
	}
	if got := next().ID; got != "past" {
		t.Errorf("got %q first", got)
	}
	attempt(r, "shop/a", "new", "refused")
	if got := next(); got.ID != "new" || got.Outcome != "refused" {
		t.Errorf("got %+v", got)
	}
	r.Close()
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream did not end in order: %v", err)
	}
	bad, err := http.Get(server.URL + "/events?limit=a")
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Body.Close()
	if bad.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d for a wrong limit", bad.StatusCode)
	}
}

// Recording takes no memory when nobody listens. It is not parallel, because allocations of other tests would count.
func TestRecordingTakesNoAllocation(t *testing.T) {
	r := recent.New(recent.Options{})
	request := sink.Request{Webhook: "shop/a", Items: []*sink.Item{item("id", `{}`)}, Outcome: "accepted", Took: time.Millisecond, Status: 200}
	if got := testing.AllocsPerRun(1000, func() { r.Attempted(request) }); got > 0 {
		t.Errorf("%v allocations an event, want none", got)
	}
}

func BenchmarkRecording(b *testing.B) {
	r := recent.New(recent.Options{})
	request := sink.Request{Webhook: "shop/a", Items: []*sink.Item{item("id", `{}`)}, Outcome: "accepted", Took: time.Millisecond, Status: 200}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Attempted(request)
		}
	})
}
