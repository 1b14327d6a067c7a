package page_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/cloudevent"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/page"
	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
	"github.com/mandrill-operator/mandrill-operator/receiver/recent"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// fixture is a page with what it shows.
type fixture struct {
	state  *delivery.State
	recent *recent.Ring
	ready  error
	asked  []string // of the admin socket
	page   http.Handler
}

func newFixture(t *testing.T, change func(*page.Options)) *fixture {
	t.Helper()
	f := &fixture{state: delivery.New(delivery.Options{Logger: slog.New(slog.DiscardHandler)}), recent: recent.New(recent.Options{})}
	f.state.SetWebhooks(slices.Values([]string{"shop/a", "shop/b"}))
	options := page.Options{
		State: f.state, Recent: f.recent, Ready: func(context.Context) error { return f.ready }, Receiver: "receiver-7", Logger: slog.New(slog.DiscardHandler),
		Admin: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.asked = append(f.asked, r.Method+" "+r.URL.Path)
			_, _ = io.WriteString(w, "{}")
		}),
	}
	if change != nil {
		change(&options)
	}
	f.page = page.New(options)
	return f
}

// ask makes a request as a browser would, and returns the status.
func (f *fixture) ask(t *testing.T, method, target string, headers map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader("{}"))
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response := httptest.NewRecorder()
	f.page.ServeHTTP(response, request)
	return response
}

// A name that leads to the loopback address does not lead to the page: DNS rebinding.
func TestUnknownHostsAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *page.Options) { o.Hosts = []string{"mandrill.example.com"} })
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8089": 200, "127.0.0.1:8089": 200, "[::1]:8089": 200, "[::1]": 200, "LocalHost.:1": 200, "mandrill.example.com": 200,
		"mandrill.example.com:443": 200, "evil.example": 421, "evil.example:8089": 421, "localhost.evil.example": 421, "10.0.0.7:8089": 421, "0.0.0.0:8089": 421,
		"mandrill.example.com.evil.example": 421,
	} {
		for _, path := range []string{"/", "/api/dead-letters"} {
			if got := f.ask(t, http.MethodGet, "http://"+host+path, nil).Code; got != want {
				t.Errorf("%s%s: status %d, want %d", host, path, got, want)
			}
		}
	}
}

// Only the page's own script can change something: another site cannot make a browser do it.
func TestChangesComeFromThePageOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const purge = "http://127.0.0.1:8089/api/dead-letters/purge"
	script := map[string]string{"X-Mandrill-Page": "1"}
	with := func(name, value string) map[string]string {
		all := maps.Clone(script)
		all[name] = value
		return all
	}
	for name, test := range map[string]struct {
		headers map[string]string
		want    int
	}{
		"the page":             {with("Sec-Fetch-Site", "same-origin"), 200},
		"an old browser":       {with("Origin", "http://127.0.0.1:8089"), 200},
		"a form":               {map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"a form without marks": {nil, 403},
		"another site":         {with("Sec-Fetch-Site", "cross-site"), 403},
		"a site beside it":     {with("Sec-Fetch-Site", "same-site"), 403},
		"another origin":       {with("Origin", "http://evil.example"), 403},
		"another port":         {with("Origin", "http://127.0.0.1:9999"), 403},
	} {
		f.asked = nil
		if got := f.ask(t, http.MethodPost, purge, test.headers).Code; got != test.want || (len(f.asked) > 0) != (test.want == 200) {
			t.Errorf("%s: status %d, want %d; it did %v", name, got, test.want, f.asked)
		}
	}
	for _, target := range []string{"/api/events", "/api/dead-letters", "/api/stream"} {
		if got := f.ask(t, http.MethodGet, "http://127.0.0.1:8089"+target, map[string]string{"Sec-Fetch-Site": "cross-site"}).Code; got != http.StatusForbidden {
			t.Errorf("%s for another site: status %d", target, got)
		}
	}
}

// The page reaches a part of the admin socket only, and events only where they are switched on.
func TestThePageShowsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	script := map[string]string{"X-Mandrill-Page": "1"}
	for _, payloads := range []bool{false, true} {
		f := newFixture(t, func(o *page.Options) { o.Payloads = payloads })
		shown := http.StatusForbidden
		if payloads {
			shown = http.StatusOK
		}
		for request, want := range map[string]int{
			"GET /api/dead-letters": 200, "GET /api/dead-letters?reason=refused": 200, "POST /api/dead-letters/redrive": 200, "GET /api/backlog": 200,
			"GET /api/dead-letters/17": shown, "GET /api/events": 200, "GET /api/events?id=1": 200, "GET /api/events?payload=true": shown,
			"POST /api/erasures": 404, "GET /api/erasures/1": 404, "GET /api/backlog/batch:17": 404, "POST /api/backlog/drop": 404, "GET /api/events/stream": 404,
			"GET /metrics": 404, "GET /static/page.js": 404, "GET /page.js": 200, "GET /api/stream?payload=true": 400,
		} {
			method, path, _ := strings.Cut(request, " ")
			got := f.ask(t, method, "http://localhost"+path, script).Code
			if want == 404 && got == http.StatusMethodNotAllowed { // no other method is there either
				got = 404
			}
			if got != want {
				t.Errorf("%s, payloads %t: status %d, want %d", request, payloads, got, want)
			}
		}
	}
	direct := newFixture(t, func(o *page.Options) { o.Admin = nil })
	if got := direct.ask(t, http.MethodGet, "http://localhost/api/dead-letters", nil).Code; got != http.StatusNotFound {
		t.Errorf("dead letters without a buffer: status %d", got)
	}
}

// The policy allows nothing from elsewhere, and the files need no more.
func TestThePageLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	policy := f.ask(t, http.MethodGet, "http://localhost/", nil).Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("the policy is loose: %s", policy)
	}
	var compressed bytes.Buffer
	zip := gzip.NewWriter(&compressed)
	elsewhere := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]`)
	err := fs.WalkDir(os.DirFS("site/static"), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile("site/static/" + path)
		if err != nil {
			return err
		}
		_, _ = zip.Write(data)
		if got := elsewhere.FindString(strings.ReplaceAll(string(data), "http://www.w3.org/2000/svg", "")); got != "" {
			t.Errorf("%s names %s", path, got)
		}
		if strings.Contains(string(data), "innerHTML") || regexp.MustCompile(` (style|on[a-z]+)="`).Match(data) {
			t.Errorf("%s has what the policy forbids", path)
		}
		return nil
	})
	if err = errors.Join(err, zip.Close()); err != nil {
		t.Fatal(err)
	}
	if compressed.Len() > 150<<10 {
		t.Errorf("the page has %d bytes compressed, want at most 150 kB", compressed.Len())
	}
	t.Logf("%d bytes compressed", compressed.Len())
}

// message is one of a stream.
type message struct {
	name string
	data []byte
}

// open opens the stream of a page.
func (f *fixture) open(t *testing.T, query string) (next func(name string) []byte) {
	t.Helper()
	server := httptest.NewServer(f.page)
	t.Cleanup(server.Close)
	t.Cleanup(f.recent.Close) // before the server waits for its streams
	response, err := http.Get(server.URL + "/api/stream?" + query)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	messages := make(chan message, 100)
	go func() {
		defer close(messages)
		defer response.Body.Close()
		name := ""
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if value, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = value
			} else if value, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				messages <- message{name, []byte(value)}
			}
		}
	}()
	return func(name string) []byte {
		t.Helper()
		timeout := time.After(time.Minute)
		for {
			select {
			case got, open := <-messages:
				if !open {
					t.Fatal("the stream ended")
				}
				if got.name == name {
					return got.data
				}
			case <-timeout:
				t.Fatal("no message came: ", name)
			}
		}
	}
}

func (f *fixture) attempt(webhook, id string, outcome string) {
	event := cloudevent.Event{Shared: cloudevent.NewShared("/shop", nil), ID: id, Type: "com.mandrill.message.open"}
	f.recent.Attempted(sink.Request{Webhook: webhook, Items: []*sink.Item{{Event: &event}}, Outcome: outcome})
}

func TestAStreamHasTheStateAndEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.state.Webhook("shop/b").Arrived()
	f.state.Attempted("shop/b", "Status", 503, true)
	f.attempt("shop/b", "past", "failed")
	next := f.open(t, "webhook=shop/b")
	var events page.Events
	if err := json.Unmarshal(next("events"), &events); err != nil || !events.Reset || len(events.Events) != 1 || events.Events[0].ID != "past" {
		t.Errorf("got %+v, %v", events, err)
	}
	var state site.State
	if err := json.Unmarshal(next("state"), &state); err != nil {
		t.Fatal(err)
	}
	if state.Receiver != "receiver-7" || state.Totals.Webhooks != 2 || state.Totals.Failing != 1 || state.Totals.LastReceivedAge == nil || state.Webhooks[0].Name != "shop/b" ||
		state.Webhooks[0].Failure.Status != 503 {
		t.Errorf("got %+v", state)
	}
	f.attempt("shop/a", "other", "accepted")
	f.attempt("shop/b", "new", "accepted")
	events = page.Events{}
	if err := json.Unmarshal(next("events"), &events); err != nil || events.Reset || len(events.Events) != 1 || events.Events[0].ID != "new" {
		t.Errorf("got %+v, %v", events, err)
	}
}

// However many events there are, a page gets few messages of bounded size, and learns how many it does not see.
func TestAFloodOfEventsIsThinnedOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	next := f.open(t, "")
	next("state")
	const flood = 20_000
	for range flood {
		f.attempt("shop/a", "id", "accepted")
	}
	shown, omitted, messages := 0, uint64(0), 0
	for shown+int(omitted) < flood {
		var events page.Events
		if err := json.Unmarshal(next("events"), &events); err != nil {
			t.Fatal(err)
		}
		messages++
		shown, omitted = shown+len(events.Events), omitted+events.Omitted
		if len(events.Events) > 50 {
			t.Errorf("a message has %d events", len(events.Events))
		}
	}
	if shown+int(omitted) != flood {
		t.Errorf("%d events are shown and %d left out, of %d", shown, omitted, flood)
	}
	t.Logf("%d messages, %d events shown", messages, shown)
}

func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	server := httptest.NewServer(f.page)
	defer server.Close()
	defer f.recent.Close()
	for i := range 17 {
		response, err := http.Get(server.URL + "/api/stream")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		want := http.StatusOK
		if i == 16 {
			want = http.StatusServiceUnavailable
		}
		if response.StatusCode != want {
			t.Errorf("page %d: status %d", i, response.StatusCode)
		}
	}
}
