package overview_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/cli/overview"
	"github.com/mandrill-operator/mandrill-operator/receiver/page/site"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// fake is the page of a receiver with some dead letters.
type fake struct {
	name, buffer string
	api          int
	server       *httptest.Server
	letters      int
	broken       bool
	starting     atomic.Pointer[context.Context] // until it ends there is no answer
	asked        chan string
	events       chan string // as JSON
}

func newFake(t *testing.T, name, buffer string, letters int) *fake {
	t.Helper()
	f := &fake{name: name, buffer: buffer, letters: letters, api: site.API, asked: make(chan string, 1000), events: make(chan string, 100)}
	f.server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) receiver() overview.Receiver {
	address := f.server.Listener.Addr().String()
	return overview.Receiver{Name: f.name, Buffer: f.buffer, Client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.asked <- strings.TrimSpace(r.Method + " " + r.URL.Path + " " + string(body))
	if starting := f.starting.Load(); starting != nil {
		<-(*starting).Done()
	}
	switch {
	case f.broken:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"error": "the buffer is not available"}`)
	case r.Method == http.MethodPost:
		_, _ = io.WriteString(w, `{"count": 1}`)
	case r.URL.Path == "/api/dead-letters":
		f.serveLetters(w, r.URL.Query())
	case r.URL.Path == "/api/stream":
		f.serveStream(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (f *fake) serveLetters(w http.ResponseWriter, query url.Values) {
	after, _ := strconv.Atoi(query.Get("after"))
	limit, _ := strconv.Atoi(query.Get("limit"))
	page := []map[string]any{}
	for seq := after + 1; seq <= f.letters && len(page) < limit; seq++ {
		page = append(page, map[string]any{"seq": seq})
	}
	next := after + len(page)
	if next >= f.letters {
		next = 0
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"deadLetters": page, "next": next})
}

func (f *fake) serveStream(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "event: events\ndata: {\"events\": [], \"reset\": true}\n\n")
	_, _ = fmt.Fprintf(w, "event: state\ndata: {\"api\": %d, \"version\": \"v9.9.9\", \"at\": \"2026-01-01T00:00:00Z\"}\n\n", f.api)
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case event := <-f.events:
			_, _ = fmt.Fprintf(w, "event: events\ndata: {\"events\": [%s]}\n\n", event)
		}
	}
}

func newPage(t *testing.T, receivers func() []overview.Receiver) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(overview.New(overview.Options{Receivers: receivers, Version: "v1.0.0", Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(func() {
		server.CloseClientConnections() // streams have no end
		server.Close()
	})
	return server
}

type letters struct {
	DeadLetters []struct {
		Seq      int
		Receiver string
	}
	Next     string
	Problems []string
}

func list(t *testing.T, server *httptest.Server, query string) (answer letters) {
	t.Helper()
	response, err := http.Get(server.URL + "/api/dead-letters?" + query)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err)
	}
	return answer
}

// A list goes on from page to page over all buffers: each dead letter comes once, and no page is too long. Receivers that share a buffer
// have the same dead letters, so one of them is asked.
func TestListsGoOnOverAllBuffers(t *testing.T) {
	t.Parallel()
	receivers := []overview.Receiver{
		newFake(t, "s/a", "A", 7).receiver(), newFake(t, "s/b", "", 0).receiver(), newFake(t, "s/c", "C", 5).receiver(), newFake(t, "s/d", "C", 5).receiver(),
		newFake(t, "s/e", "E", 10).receiver(),
	}
	server := newPage(t, func() []overview.Receiver { return receivers })
	for _, limit := range []int{1, 3, 5, 7, 12, 22, 100} {
		var found []string
		for after := ""; ; {
			page := list(t, server, fmt.Sprintf("limit=%d&after=%s", limit, url.QueryEscape(after)))
			if len(page.DeadLetters) > limit || len(page.Problems) > 0 {
				t.Fatalf("limit %d: a page has %d, %v", limit, len(page.DeadLetters), page.Problems)
			}
			for _, letter := range page.DeadLetters {
				found = append(found, fmt.Sprintf("%s %d", letter.Receiver, letter.Seq))
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if len(found) != 22 || len(slices.Compact(slices.Sorted(slices.Values(found)))) != 22 {
			t.Errorf("limit %d: got %d: %v", limit, len(found), found)
		}
	}
}

// A receiver that fails is named, and another one with its buffer is asked instead, or the list goes on without it.
func TestAListGoesOnWithoutAReceiver(t *testing.T) {
	t.Parallel()
	broken := newFake(t, "s/a", "A", 3)
	broken.broken = true
	receivers := []overview.Receiver{
		broken.receiver(), newFake(t, "s/b", "A", 3).receiver(), {Name: "s/c", Buffer: "C", Problem: "it waits: CrashLoopBackOff"}, newFake(t, "s/d", "D", 2).receiver(),
	}
	server := newPage(t, func() []overview.Receiver { return receivers })
	answer := list(t, server, "limit=10")
	want := []string{"s/a: the buffer is not available", "s/c: it waits: CrashLoopBackOff"}
	if len(answer.DeadLetters) != 5 || answer.DeadLetters[0].Receiver != "s/b" || !slices.Equal(answer.Problems, want) {
		t.Errorf("got %+v", answer)
	}
	// The cursor of a receiver that is gone meanwhile leads to those behind it.
	if answer := list(t, server, "limit=10&after="+url.QueryEscape("s/bb/2")); len(answer.DeadLetters) != 2 {
		t.Errorf("after a receiver that is gone: got %+v", answer)
	}
}

// A change goes to the receiver that has the dead letter and to no other one, or to one with the same buffer if that one is away.
func TestAChangeReachesTheReceiverThatHasTheDeadLetter(t *testing.T) {
	t.Parallel()
	first, second, third := newFake(t, "s/a", "A", 0), newFake(t, "s/b", "B", 0), newFake(t, "s/c", "B", 0)
	for _, test := range []struct {
		away bool
		want *fake
	}{{false, second}, {true, third}} {
		receivers := []overview.Receiver{first.receiver(), second.receiver(), third.receiver()}
		if test.away {
			receivers[1].Client = nil
		}
		server := newPage(t, func() []overview.Receiver { return receivers })
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/dead-letters/redrive?receiver=s/b", strings.NewReader(`{"seqs":[7]}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(site.ScriptHeader, "1")
		response, err := loopback.Client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("away %v: status %d", test.away, response.StatusCode)
		}
		for _, each := range []*fake{first, second, third} {
			if asked := drained(each.asked); each == test.want && !slices.Equal(asked, []string{`POST /api/dead-letters/redrive {"seqs":[7]}`}) || each != test.want && len(asked) > 0 {
				t.Errorf("away %v: %s was asked %q", test.away, each.name, asked)
			}
		}
	}
}

func drained(asked chan string) (all []string) {
	for {
		select {
		case one := <-asked:
			all = append(all, one)
		default:
			return all
		}
	}
}

// messages reads the stream of a page, and returns a function that waits until a message fulfils a condition.
func messages(t *testing.T, server *httptest.Server) (until func(name string, fulfils func(data []byte) bool)) {
	t.Helper()
	response, err := http.Get(server.URL + "/api/stream")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	deadline := time.AfterFunc(time.Minute, func() { _ = response.Body.Close() })
	t.Cleanup(func() { deadline.Stop() })
	return func(name string, fulfils func(data []byte) bool) {
		t.Helper()
		at := ""
		for lines.Scan() {
			if value, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				at = value
			} else if value, ok := strings.CutPrefix(lines.Text(), "data: "); ok && at == name && fulfils([]byte(value)) {
				return
			}
		}
		t.Fatal("no such message came: ", name)
	}
}

// Receivers that cannot be shown are named with the reason, also those of another version, and the others go on. Those that come later are
// shown, and those that are gone are not.
func TestTheStateNamesReceiversThatCannotBeShown(t *testing.T) {
	t.Parallel()
	newer, older, good, late := newFake(t, "s/newer", "", 0), newFake(t, "s/older", "", 0), newFake(t, "s/good", "", 0), newFake(t, "s/late", "", 0)
	newer.api = site.API + 1
	older.server.Config.Handler = http.NotFoundHandler()
	var mu sync.Mutex
	receivers := []overview.Receiver{newer.receiver(), older.receiver(), good.receiver(), {Name: "s/away", Problem: "it waits: CrashLoopBackOff"}}
	until := messages(t, newPage(t, func() []overview.Receiver {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(receivers)
	}))
	problems := func(data []byte) map[string]string {
		var state overview.State
		if err := json.Unmarshal(data, &state); err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, part := range state.Receivers {
			found[part.Name] = part.Problem
		}
		return found
	}
	until("state", func(data []byte) bool {
		got := problems(data)
		return strings.Contains(got["s/newer"], `it has version "v9.9.9", which kubectl-mandrill v1.0.0 cannot show`) &&
			strings.Contains(got["s/older"], "kubectl-mandrill v1.0.0 can show") && got["s/away"] == "it waits: CrashLoopBackOff" && got["s/good"] == ""
	})
	mu.Lock()
	receivers = []overview.Receiver{good.receiver(), late.receiver()}
	mu.Unlock()
	until("state", func(data []byte) bool {
		got := problems(data)
		return len(got) == 2 && got["s/good"] == "" && got["s/late"] == ""
	})
	starting, started := context.WithCancel(t.Context())
	defer started()
	good.starting.Store(&starting)
	good.server.CloseClientConnections() // as when it restarts
	until("state", func(data []byte) bool { return strings.Contains(problems(data)["s/good"], "trying again") })
	started()
	until("state", func(data []byte) bool { return problems(data)["s/good"] == "" })
}

// Events of all receivers come in the order of their times, with the name of the receiver.
func TestEventsComeByTimeWithTheirReceiver(t *testing.T) {
	t.Parallel()
	a, b := newFake(t, "s/a", "", 0), newFake(t, "s/b", "", 0)
	receivers := []overview.Receiver{a.receiver(), b.receiver()}
	until := messages(t, newPage(t, func() []overview.Receiver { return receivers }))
	until("events", func(data []byte) bool { return strings.Contains(string(data), `"reset":true`) })
	var got []string
	for _, each := range []struct {
		receiver *fake
		at       string
	}{{b, "02"}, {a, "03"}, {a, "01"}} {
		each.receiver.events <- fmt.Sprintf(`{"id": %q, "time": "2026-01-01T00:00:%sZ", "unknown": {"kept": true}}`, each.at, each.at)
	}
	until("events", func(data []byte) bool {
		var message struct {
			Events []struct {
				ID, Receiver string
				Unknown      struct{ Kept bool }
			}
		}
		if err := json.Unmarshal(data, &message); err != nil {
			t.Fatal(err)
		}
		times := []string{}
		for _, event := range message.Events {
			if !event.Unknown.Kept {
				t.Errorf("a field is lost: %s", data)
			}
			got, times = append(got, event.ID+" "+event.Receiver), append(times, event.ID)
		}
		if !slices.IsSorted(times) {
			t.Errorf("not by time: %v", times)
		}
		return len(got) == 3
	})
	slices.Sort(got)
	if want := []string{"01 s/a", "02 s/b", "03 s/a"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
