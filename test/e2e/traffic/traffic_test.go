package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func issued(l *ledger) (serials []int, raw [][]byte) {
	return l.issue([]string{"one-0"}, map[string]int{}, 3, "")
}

// A ledger that overlooks something proves nothing.
func TestLedgerSeesFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arrivals []int // of three accepted events, in this order
		want     report
	}{
		"all":          {[]int{0, 1, 2}, report{Accepted: 3}},
		"one lost":     {[]int{0, 2}, report{Accepted: 3, Missing: 1}},
		"one twice":    {[]int{0, 1, 1, 2}, report{Accepted: 3, Duplicates: 1}},
		"out of order": {[]int{1, 0, 2}, report{Accepted: 3, Unordered: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &ledger{messages: "one-", highest: map[string]int{}}
			serials, raw := issued(l)
			l.arrived(raw[c.arrivals[0]]) // before the batch is accepted
			l.accept(serials)
			for _, i := range c.arrivals[1:] {
				l.arrived(raw[i])
			}
			got := l.report(newFlow(t.Context(), settings{}))
			got.Failed = nil
			if have, want := mustJSON(t, got), mustJSON(t, c.want); have != want {
				t.Errorf("got %s, want %s", have, want)
			}
		})
	}
}

// Events of an earlier flow do not count.
func TestLedgerKnowsItsEvents(t *testing.T) {
	t.Parallel()
	l := &ledger{messages: "two-", highest: map[string]int{}}
	_, raw := issued(&ledger{messages: "one-", highest: map[string]int{}})
	serials, _ := l.issue([]string{"two-0"}, map[string]int{}, 3, "")
	l.accept(serials)
	l.arrived(raw[0])
	if l.missing != 3 || l.unknown != 1 {
		t.Errorf("missing %d, unknown %d, want 3 and 1", l.missing, l.unknown)
	}
}

// A batch that is refused is posted again, and the refusals are counted.
func TestFlowPostsUntilAccepted(t *testing.T) {
	t.Parallel()
	posts, second := 0, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts++
		if r.Host != "hooks.example.com" || r.URL.Path != "/a" {
			t.Errorf("posted to %s%s", r.Host, r.URL.Path)
		}
		switch posts {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			close(second)
		}
	}))
	defer server.Close()
	f := newFlow(t.Context(), settings{Name: "one", Target: server.URL, URL: "https://hooks.example.com/a", Key: "key", Lanes: 1, IntervalMS: int(time.Hour.Milliseconds())})
	f.start()
	<-second
	f.stop()
	got := f.ledger.report(f)
	if got.Posts != 2 || got.Failed["503"] != 1 || got.Accepted != 15 || got.Missing != 15 {
		t.Errorf("%+v", got)
	}
}

func mustJSON(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}
