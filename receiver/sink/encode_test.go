package sink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// recordingSink is an HTTP sink that records the bodies of its requests.
type recordingSink struct {
	*httptest.Server
	mu    sync.Mutex
	list  []string
	types map[string]int // requests by content type
}

func newRecordingSink(t *testing.T) *recordingSink {
	t.Helper()
	b := &recordingSink{types: map[string]int{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.list = append(b.list, string(body))
		b.types[r.Header.Get("Content-Type")]++
	}))
	t.Cleanup(b.Close)
	return b
}

// unusualJSON changes when it is decoded and encoded again.
const unusualJSON = "{\"n\": 12345678901234567890.10e+2,\t\"s\":\"<\\/\\u00e9&>\\ud800\", \"s\": 1.0 , \"b\":\"\xff\"}"

func TestStructuredModeKeepsData(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ contentType, data, want string }{
		"JSON":   {"application/json", unusualJSON, `"data":` + unusualJSON + `}`},
		"null":   {"application/json", `null`, `"data":null}`},
		"a text": {"application/octet-stream", `{"event":`, `"data_base64":"eyJldmVudCI6"}`},
	} {
		b := newRecordingSink(t)
		event := newEvent()
		event.Subject = "é \"quoted\"\x01"
		event.Time = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
		event.Set("env", "prod")
		event.ContentType, event.Data = test.contentType, []byte(test.data)
		delivery := deliveryTo(b.URL)
		delivery.Mode = sink.Structured
		list := []*sink.Item{{Event: event}}
		if sink.NewSender(sink.Options{}).SendOnce(t.Context(), delivery, list); !list[0].Settled() || len(b.list) != 1 {
			t.Fatalf("%s: %v", name, list[0].Err)
		}
		if !strings.HasSuffix(b.list[0], test.want) && !strings.Contains(b.list[0], strings.TrimSuffix(test.want, "}")+",") {
			t.Errorf("%s: sent %s, want it to have %s", name, b.list[0], test.want)
		}
		if b.types["application/cloudevents+json"] != 1 {
			t.Errorf("%s: content types %v", name, b.types)
		}
		if name == "JSON" {
			continue // encoding/json replaces its lone surrogates
		}
		var decoded cloudevents.Event
		if err := json.Unmarshal([]byte(b.list[0]), &decoded); err != nil || !bytes.Equal(decoded.Data(), []byte(test.data)) || decoded.Subject() != event.Subject || decoded.Extensions()["env"] != "prod" {
			t.Errorf("%s: decoded %v, %v", name, decoded, err)
		}
	}
}

// batchOf reads a request in Batched mode.
func batchOf(t *testing.T, body string) (ids []string) {
	t.Helper()
	var events []struct {
		ID   string          `json:"id"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &events); err != nil {
		t.Fatalf("%.200s: %v", body, err)
	}
	for _, event := range events {
		ids = append(ids, event.ID)
	}
	return ids
}

func TestBatchedModeLimitsAndOrder(t *testing.T) {
	t.Parallel()
	const full = 1 << 20
	for name, test := range map[string]struct {
		sizes []int
		keys  int // order keys; 0: events have none
		want  []int
	}{
		"one":                  {[]int{10}, 0, []int{1}},
		"many":                 {repeat(250, 10), 0, []int{50, 100, 100}},
		"one of one MiB":       {[]int{full}, 0, []int{1}},
		"one that is too big":  {[]int{10, 3 * full, 10}, 0, []int{1, 1, 1}},
		"half and half":        {repeat(4, full/2-400), 0, []int{2, 2}},
		"a little over":        {repeat(4, full/2), 0, []int{1, 1, 1, 1}},
		"two messages":         {repeat(60, 10), 2, []int{60}},
		"long messages":        {repeat(240, 10), 2, []int{100, 100, 20, 20}},
		"messages that fit":    {repeat(240, 10), 4, []int{60, 60, 60, 60}},
		"message of big mails": {repeat(4, full/2), 1, []int{1, 1, 1, 1}},
	} {
		b := newRecordingSink(t)
		var list []*sink.Item
		for i, size := range test.sizes {
			event := newEvent()
			event.ID = strconv.Itoa(i)
			event.Data = []byte(`"` + strings.Repeat("x", size-2) + `"`)
			item := &sink.Item{Event: event}
			if test.keys > 0 {
				item.OrderKey = fmt.Sprint("key", i%test.keys)
			}
			list = append(list, item)
		}
		delivery := deliveryTo(b.URL)
		delivery.Mode = sink.Batched
		sink.NewSender(sink.Options{}).SendOnce(t.Context(), delivery, list)
		got := map[int]int{}
		seen := map[string]bool{}
		last := make([]int, max(test.keys, 1))
		for _, body := range b.list {
			ids := batchOf(t, body)
			got[len(ids)]++
			if len(body) > full && len(ids) > 1 {
				t.Errorf("%s: a body of %d bytes with %d events", name, len(body), len(ids))
			}
			for _, id := range ids {
				seen[id] = true
				var n int
				if _, err := fmt.Sscan(id, &n); err != nil {
					t.Fatal(err)
				}
				if test.keys > 0 && n < last[n%test.keys] {
					t.Errorf("%s: event %d after %d of its message", name, n, last[n%test.keys])
				} else if test.keys > 0 {
					last[n%test.keys] = n
				}
			}
		}
		want := map[int]int{}
		for _, n := range test.want {
			want[n]++
		}
		if diff := cmp.Diff(want, got); diff != "" || len(seen) != len(test.sizes) {
			t.Errorf("%s: %d events in requests of (-want +got):\n%s", name, len(seen), diff)
		}
		if len(b.types) != 1 || b.types["application/cloudevents-batch+json"] == 0 {
			t.Errorf("%s: content types %v", name, b.types)
		}
	}
}

func repeat(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// Data stays as it is, byte for byte, and data that is not JSON does not invalidate the batch.
func TestBatchedModeKeepsData(t *testing.T) {
	t.Parallel()
	b := newRecordingSink(t)
	list := itemsNamed("a1", "b1", "c1")
	list[0].Event.Data = []byte(unusualJSON)
	list[1].Event.ContentType, list[1].Event.Data = "application/octet-stream", []byte(`]]}`)
	delivery := deliveryTo(b.URL)
	delivery.Mode = sink.Batched
	sink.NewSender(sink.Options{}).SendOnce(t.Context(), delivery, list)
	if len(b.list) != 1 || !strings.Contains(b.list[0], `"data":`+unusualJSON) || !strings.Contains(b.list[0], `"data_base64":"XV19"`) {
		t.Errorf("sent %s", b.list)
	}
	if diff := cmp.Diff([]string{"a1", "b1", "c1"}, batchOf(t, b.list[0])); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// The outcome of a request is that of all its events. After a temporary failure later events of the message wait.
func TestBatchedOutcomeIsThatOfAllEvents(t *testing.T) {
	t.Parallel()
	for status, want := range map[int][2]sink.State{503: {sink.Pending, sink.Pending}, 413: {sink.Refused, sink.Accepted}} {
		requests := 0
		sender := sink.NewSender(sink.Options{Poster: posterFunc(func() error {
			if requests++; requests == 1 {
				return &sink.Error{Status: status}
			}
			return nil
		})})
		list := unorderedItems(150)
		for _, item := range list {
			item.OrderKey = "one"
		}
		delivery := deliveryTo("sink")
		delivery.Mode = sink.Batched
		sender.SendOnce(t.Context(), delivery, list)
		for i, item := range list {
			if state := want[i/100]; item.State != state || item.Attempts != 1 && state != sink.Pending {
				t.Fatalf("%d: event %d is %d after %d attempts, want %d", status, i, item.State, item.Attempts, state)
			}
		}
		if list[149].Attempts != map[int]int{503: 0, 413: 1}[status] {
			t.Errorf("%d: the last event was sent %d times", status, list[149].Attempts)
		}
	}
}

// posterFunc answers without looking at the request.
type posterFunc func() error

func (p posterFunc) Post(context.Context, sink.Target, sink.Payload) (int, error) { return 0, p() }

// The answer of a sink can be used in a header, whatever its bytes.
func TestAnswerIsSanitized(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"": "", "no such order\r\n": "no such order", "a\x00b\tc\n\nd\u0085e": "a b c d e", "\xffé": "?é",
		strings.Repeat("x", 5000): strings.Repeat("x", 1024), "x" + strings.Repeat("é", 600): "x" + strings.Repeat("é", 511),
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, body)
		}))
		list := itemsNamed("a1")
		sink.NewSender(sink.Options{}).SendOnce(t.Context(), deliveryTo(server.URL), list)
		server.Close()
		refusal, ok := list[0].Err.(*sink.Error) //nolint:errorlint // it must not be wrapped
		if !ok || refusal.Answer != want || refusal.After != 7*time.Second || refusal.Status != http.StatusTooManyRequests {
			t.Errorf("%.40q: got %+v, want %.40q", body, list[0].Err, want)
		}
		if strings.Contains(refusal.Error(), "order") {
			t.Errorf("the error contains the answer: %v", refusal)
		}
	}
}
