package mandrilltest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// recorder is a webhook endpoint that records its requests.
type recorder struct {
	*httptest.Server
	mu      sync.Mutex
	handle  func(http.ResponseWriter, *http.Request, mandrill.Form) // default: 200
	batches []batch
}

type batch struct {
	path, signature string
	form            mandrill.Form
	events          [][]byte
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// escaped returns a URL of the recorder as PHP's json_encode writes it.
func (r *recorder) escaped(path string) string { return strings.ReplaceAll(r.URL+path, "/", `\/`) }

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	form, formErr := mandrill.ParseForm(body)
	events, batchErr := mandrill.SplitBatch(form.Get(mandrill.EventsField))
	if request.Method == http.MethodPost && errors.Join(err, formErr, batchErr) != nil {
		panic(errors.Join(err, formErr, batchErr))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(events) > 0 {
		r.batches = append(r.batches, batch{request.URL.Path, request.Header.Get(mandrill.SignatureHeader), form, events})
	}
	if r.handle != nil {
		r.handle(w, request, form)
	}
}

func (r *recorder) take() []batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.batches
	r.batches = nil
	return taken
}

func (r *recorder) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handle = func(w http.ResponseWriter, _ *http.Request, _ mandrill.Form) { w.WriteHeader(status) }
}

func (a api) add(t *testing.T, path string, events ...string) mandrill.Webhook {
	t.Helper()
	body, err := json.Marshal(map[string]any{"key": key, "url": a.hook.URL + path, "events": events})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := a.post(t, "/api/1.0/webhooks/add", string(body))
	var added mandrill.Webhook
	if err := json.Unmarshal([]byte(answer), &added); err != nil || status != http.StatusOK {
		t.Fatalf("adding a webhook: %d %s", status, answer)
	}
	return added
}

func (a api) flush(t *testing.T) {
	t.Helper()
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (a api) emit(t *testing.T, kinds ...string) [][]byte {
	t.Helper()
	events, err := a.Account(key).Emit(kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestSenderPostsSignedBatches(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	all := a.add(t, "/all", "send", "deferral", "hard_bounce", "soft_bounce", "delivered", "open", "click", "spam", "unsub", "reject", "blacklist", "whitelist")
	opens := a.add(t, "/opens", "open")
	for _, body := range []string{`{"key":"md-test","domain":"in.shop.example"}`} {
		a.post(t, "/api/1.0/inbound/add-domain", body)
	}
	a.post(t, "/api/1.0/inbound/add-route", `{"key":"md-test","domain":"in.shop.example","pattern":"*","url":"`+all.URL+`"}`)
	sent := a.emit(t)
	a.flush(t)
	got := a.hook.take()
	slices.SortFunc(got, func(x, y batch) int { return strings.Compare(x.path, y.path) })
	if len(got) != 2 || got[0].path != "/all" || got[1].path != "/opens" {
		t.Fatalf("got %d batches", len(got))
	}
	if !slices.EqualFunc(got[0].events, sent, bytes.Equal) {
		t.Error("the batch is not what Emit returned")
	}
	if !mandrill.Verify(got[0].signature, all.URL, got[0].form, all.AuthKey) || !mandrill.Verify(got[1].signature, opens.URL, got[1].form, opens.AuthKey) {
		t.Error("a batch is not signed with its webhook's key")
	}
	if len(got[1].events) != 1 || mandrill.ParseEvent(got[1].events[0]).Name != "open" {
		t.Error("a webhook got what it did not ask for")
	}
	for i, kind := range mandrilltest.Kinds() {
		event := mandrill.ParseEvent(sent[i])
		if event.Kind == mandrill.KindUnknown || time.Since(event.Time) > time.Minute || time.Until(event.Time) > time.Minute {
			t.Errorf("%s: generated event is of kind %d at %s", kind, event.Kind, event.Time)
		}
		if !json.Valid(sent[i]) || bytes.ContainsFunc(sent[i], func(r rune) bool { return r > 0x7f }) || bytes.Contains(bytes.ReplaceAll(sent[i], []byte(`\/`), nil), []byte("/")) {
			t.Errorf("%s: not written as PHP writes JSON: %s", kind, sent[i])
		}
	}
	hook := a.Account(key).Webhooks()[0]
	if hook.BatchesSent != 1 || hook.EventsSent != 16 || hook.LastSentAt.IsZero() || hook.LastError != "" {
		t.Errorf("counters are %+v", hook)
	}
}

func TestSenderBatchSize(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	a.add(t, "/", "open")
	for range 2001 {
		a.Account(key).EmitRaw("open", []byte(`{"event":"open"}`))
	}
	a.flush(t)
	var sizes []int
	for _, b := range a.hook.take() {
		sizes = append(sizes, len(b.events))
	}
	if !slices.Equal(sizes, []int{1000, 1000, 1}) {
		t.Errorf("batches have %v events", sizes)
	}
}

func TestSenderRetriesBlocksAndGivesUp(t *testing.T) {
	t.Parallel()
	var attempts []string
	a := newAPI(t, mandrilltest.Options{
		MaxAttempts: 3, DisableAfter: 5,
		OnDelivery: func(d mandrilltest.Delivery) { attempts = append(attempts, fmt.Sprint(d.Attempt, " ", d.Status)) },
	})
	blocked := a.add(t, "/blocked", "open")
	a.hook.answer(http.StatusAccepted) // 202 is not 200
	first := a.emit(t, "open")
	a.flush(t)
	second := a.emit(t, "open")
	a.flush(t)
	for _, b := range a.hook.take() {
		if len(b.events) != 1 || !bytes.Equal(b.events[0], first[0]) {
			t.Error("a later event was posted while the first batch fails")
		}
	}
	if waiting := a.Account(key).Waiting(); waiting != 2 {
		t.Errorf("%d events wait, want 2", waiting)
	}
	if hook := a.Account(key).Webhooks()[0]; !strings.Contains(hook.LastError, "202") || hook.BatchesSent != 0 || len(hook.Events) != 1 {
		t.Errorf("after two failures: %+v", hook)
	}
	// A retry is signed with the current key.
	newKey, err := a.Account(key).ResetKey(blocked.ID)
	if err != nil {
		t.Fatal(err)
	}
	a.flush(t) // the third attempt is the last: the first batch is dropped, the second is tried and fails
	got := a.hook.take()
	if len(got) != 2 || !bytes.Equal(got[1].events[0], second[0]) || !mandrill.Verify(got[0].signature, blocked.URL, got[0].form, newKey) {
		t.Fatalf("after giving up: %d batches", len(got))
	}
	a.flush(t)
	if hook := a.Account(key).Webhooks()[0]; len(hook.Events) != 0 {
		t.Errorf("five failures in a row left the events %v", hook.Events)
	}
	a.emit(t, "open") // without subscribers
	a.hook.answer(http.StatusOK)
	a.hook.take()
	a.flush(t)
	if got := a.hook.take(); len(got) != 1 || !bytes.Equal(got[0].events[0], second[0]) {
		t.Errorf("what waited was not replayed: %d batches", len(got))
	}
	if want := []string{"1 202", "2 202", "3 202", "1 202", "2 202", "3 200"}; !slices.Equal(attempts, want) {
		t.Errorf("attempts are %v, want %v", attempts, want)
	}
}

// Without Flush the sender follows the intervals of the options.
func TestSenderIntervals(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	var once sync.Once
	a := newAPI(t, mandrilltest.Options{
		BatchInterval: 5 * time.Millisecond, RetryInterval: 5 * time.Millisecond,
		OnDelivery: func(d mandrilltest.Delivery) {
			if d.Status == http.StatusOK {
				once.Do(func() { close(done) })
			}
		},
	})
	a.add(t, "/", "open")
	posts := 0
	a.hook.mu.Lock()
	a.hook.handle = func(w http.ResponseWriter, _ *http.Request, _ mandrill.Form) {
		if posts++; posts < 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	a.hook.mu.Unlock()
	a.emit(t, "open")
	select {
	case <-done:
	case <-time.After(3 * time.Minute): // far longer than it takes on a busy machine
		t.Fatal("the batch was not delivered")
	}
}

func TestSenderDropsEventsOfDeletedWebhooks(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	hook := a.add(t, "/", "open")
	a.emit(t, "open")
	a.post(t, "/api/1.0/webhooks/delete", fmt.Sprintf(`{"key":"md-test","id":%d}`, hook.ID))
	a.flush(t)
	if got := a.hook.take(); len(got) != 0 {
		t.Errorf("%d batches for a deleted webhook", len(got))
	}
}

func TestSendTest(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	one := a.add(t, "/one", "click")
	a.add(t, "/three", "click", "open", "blacklist")
	for i, want := range []int{2, 3} {
		events, err := a.Account(key).SendTest(one.ID + int64(i))
		if err != nil || len(events) != want {
			t.Errorf("got %d test events and error %v, want %d", len(events), err, want)
		}
	}
	if _, err := a.Account(key).SendTest(1); err == nil {
		t.Error("a test of no webhook was sent")
	}
}

// A batch has up to 1,000 events, also when its URL is posted to all the time while they are generated.
func TestEventsOfOneRequestAreOneBatch(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{BatchInterval: time.Millisecond})
	a.add(t, "/clicks", "click")
	for round := range 3 {
		a.control(t, "events", `{"kinds":["click"],"count":1001}`)
		a.flush(t)
		var sizes []int
		for _, batch := range a.hook.take() {
			sizes = append(sizes, len(batch.events))
		}
		if !slices.Equal(sizes, []int{1000, 1}) {
			t.Fatalf("round %d: got batches of %d events", round, sizes)
		}
	}
	if _, err := a.Account(key).Emit("click", "clack"); err == nil || a.Account(key).Waiting() > 0 {
		t.Errorf("an unknown kind: %v, and %d events wait", err, a.Account(key).Waiting())
	}
}

func TestControls(t *testing.T) {
	t.Parallel()
	emulator := mandrilltest.New(mandrilltest.Options{BatchInterval: time.Hour})
	t.Cleanup(emulator.Close)
	server := httptest.NewServer(emulator)
	t.Cleanup(server.Close)
	a := api{emulator, server.URL, newRecorder(t)}
	a.post(t, "/api/1.0/webhooks/add", `{"key":"test-key","url":"`+a.hook.URL+`","events":["open"]}`)
	for _, test := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"events", `{"kinds":["open"],"count":2}`, 200, `"events":["{`},
		{"flush", `{}`, 200, "{}"},
		{"webhooks", `{}`, 200, `"events_sent":2`},
		{"reset-key", `{"id":101}`, 200, `"auth_key":"`},
		{"send-test", `{"id":101}`, 200, `"events":["{`},
		{"events", `{"kinds":["opened"]}`, 400, "no kind of event"},
		{"reset-key", `{"id":1}`, 400, "Unknown_Webhook"},
		{"events", `{"kind":"open"}`, 400, "kind"},
		{"events", ``, 400, "JSON"},
		{"events", `{"key":"nobody"}`, 400, "API key"},
		{"nothing", `{}`, 404, ""},
	} {
		if status, body := a.post(t, "/emulator/"+test.path, test.body); status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s %s: got %d %s, want %d with %q", test.path, test.body, status, body, test.status, test.want)
		}
	}
}
