package mandrilltest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// withKey adds the key of the account to an object.
func withKey(body string) string {
	return strings.Replace(`{"key":"md-test",`+body[1:], ",}", "}", 1)
}

// control calls a control of the account, and returns its answer.
func (a api) control(t *testing.T, name, body string) (answer map[string]any) {
	t.Helper()
	status, text := a.post(t, "/emulator/"+name, withKey(body))
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", name, body, status, text)
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s %s: %s: %v", name, body, text, err)
	}
	return answer
}

// get reads by a control.
func (a api) get(t *testing.T, path string) string {
	t.Helper()
	response, err := http.Get(a.url + "/emulator/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", path, response.StatusCode, body)
	}
	return string(body)
}

// The events that a test asks for are about the recipient, the tags and the metadata that it names.
func TestEventsOfAChosenMessage(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	a.add(t, "/", "open", "blacklist", "whitelist")
	a.control(t, "events", `{"kinds":["open","denylist_add","allowlist_add"],"_id":"m1","email":"bo@shop.example","subject":"Hej","sender":"s@mail.example","tags":["x","y"],"metadata":{"order":7},"subaccount":"blue","template":"t"}`)
	_, bodies := a.events(t)
	message := bodies[0]["msg"].(map[string]any)
	want := map[string]any{"_id": "m1", "email": "bo@shop.example", "subject": "Hej", "sender": "s@mail.example", "tags": []any{"x", "y"}, "metadata": map[string]any{"order": 7.}, "subaccount": "blue", "template": "t"}
	got := map[string]any{}
	for name := range want {
		got[name] = message[name]
	}
	if diff := cmp.Diff(want, got); diff != "" || bodies[0]["_id"] != "m1" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	if bodies[1]["reject"].(map[string]any)["email"] != "bo@shop.example" || bodies[2]["entry"].(map[string]any)["email"] != "bo@shop.example" {
		t.Errorf("entries are %v", bodies[1:])
	}
	a.control(t, "events", `{"kinds":["open"],"metadata":{},"tags":[]}`)
	if _, bodies = a.events(t); bodies[0]["msg"].(map[string]any)["metadata"] == nil || len(bodies[0]["msg"].(map[string]any)["metadata"].([]any)) != 0 {
		t.Errorf("metadata without values are %v, want PHP's empty map", bodies[0])
	}
}

// Whatever a test injects is posted byte for byte, to those who would get it.
func TestInjectedEventsAreUnchanged(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	opens, clicks := a.add(t, "/opens", "open"), a.add(t, "/clicks", "click", "blacklist")
	for _, test := range []struct {
		body, want string
		paths      []string
	}{
		{`{"event":{ "event" : "open", "new":[1.50] }}`, `{ "event" : "open", "new":[1.50] }`, []string{"/opens"}},
		{`{"event":{"type":"blacklist","action":"add"}}`, `{"type":"blacklist","action":"add"}`, []string{"/clicks"}},
		{`{"event":{"event":"tomorrow"}}`, `{"event":"tomorrow"}`, []string{"/clicks", "/opens"}},
		{`{"event":null,"text":"null"}`, "", nil},
		{`{"text":"7"}`, "7", []string{"/clicks", "/opens"}},
		{`{"base64":"eyJldmVudCI6Im9wZW4iLCJzIjoi6SJ9"}`, "{\"event\":\"open\",\"s\":\"\xe9\"}", []string{"/opens"}},
		{`{"event":{"event":"click"},"id":` + jsonOf(t, opens.ID) + `}`, `{"event":"click"}`, []string{"/opens"}},
	} {
		if test.paths == nil {
			if status, _ := a.post(t, "/emulator/inject", withKey(test.body)); status != http.StatusBadRequest {
				t.Errorf("%s: %d", test.body, status)
			}
			continue
		}
		a.control(t, "inject", test.body)
		a.flush(t)
		var paths []string
		for _, b := range a.hook.take() {
			paths = append(paths, b.path)
			if string(b.events[0]) != test.want {
				t.Errorf("%s came as %q", test.body, b.events[0])
			}
		}
		if diff := cmp.Diff(test.paths, slices.Sorted(slices.Values(paths))); diff != "" {
			t.Errorf("%s went to (-want +got):\n%s", test.body, diff)
		}
	}
	a.control(t, "inject", `{"sample":"open-degraded"}`)
	a.flush(t)
	if got := a.hook.take(); len(got) != 1 || mandrill.ParseEvent(got[0].events[0]).Name != "open" {
		t.Errorf("the sample went to %d webhooks", len(got))
	}
	for _, body := range []string{`{}`, `{"sample":"nope"}`, `{"text":"a","sample":"open"}`, `{"id":1,"text":"a"}`} {
		if status, answer := a.post(t, "/emulator/inject", withKey(body)); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if clicks.ID == opens.ID {
		t.Error("two webhooks have one id")
	}
}

func jsonOf(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Posts that fail are retried, and one whose answer is lost arrives twice. Setting the same again changes nothing.
func TestPostsFailAsTold(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	a.add(t, "/", "open")
	a.hook.mu.Lock()
	a.hook.handle = func(w http.ResponseWriter, _ *http.Request, _ mandrill.Form) { _, _ = io.WriteString(w, "thanks") }
	a.hook.mu.Unlock()
	for range 2 {
		a.control(t, "fail", `{"call":"posts","count":2}`)
	}
	a.emit(t, "open")
	a.flush(t)
	a.flush(t)
	if got := a.hook.take(); len(got) != 0 {
		t.Errorf("%d batches were posted", len(got))
	}
	a.control(t, "fail", `{"call":"posts","after":true,"status":504,"message":"late"}`)
	a.flush(t)
	a.flush(t)
	if got := a.hook.take(); len(got) != 2 {
		t.Errorf("%d batches were posted, want the one whose answer was lost twice", len(got))
	}
	answer := a.get(t, "deliveries?key=md-test&since=1")
	var list struct {
		Deliveries []struct {
			Number, Attempt, Events, Status int
			Answer, Error                   string
		}
		Waiting int
	}
	if err := json.Unmarshal([]byte(answer), &list); err != nil || len(list.Deliveries) != 3 || list.Waiting != 0 {
		t.Fatalf("%s: %v", answer, err)
	}
	if d := list.Deliveries; d[0].Status != 0 || d[0].Error == "" || d[1].Status != 504 || d[1].Answer != "late" || d[2].Status != 200 || d[2].Answer != "thanks" || d[2].Attempt != 4 || d[2].Events != 1 {
		t.Errorf("deliveries are %s", answer)
	}
	a.control(t, "fail", `{"call":"messages/send","count":5,"status":503}`)
	a.control(t, "fail", `{"call":"messages/send","count":0}`)
	if got := a.send(t, `{"key":"md-test","message":{"to":[{"email":"a@b.example"}]}}`); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	for _, body := range []string{`{"call":"nothing"}`, `{"call":"*"}`, `{"call":"messages/send","status":200}`, `{"call":"posts","count":-1}`} {
		if status, answer := a.post(t, "/emulator/fail", withKey(body)); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
}

// A request with the ref of an earlier one changes nothing, and gets the same answer.
func TestControlsWithARefActOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{Start: start, Speed: 0.001})
	a.add(t, "/", "open")
	first := a.control(t, "events", `{"kinds":["open"],"ref":"a"}`)
	if diff := cmp.Diff(first, a.control(t, "events", `{"kinds":["open"],"ref":"a"}`)); diff != "" {
		t.Errorf("answers differ:\n%s", diff)
	}
	a.control(t, "events", `{"kinds":["open"],"ref":"b"}`)
	if waiting := a.Account(key).Waiting(); waiting != 2 {
		t.Errorf("%d events wait, want 2", waiting)
	}
	for range 3 {
		a.control(t, "clock", `{"advance":"1h","ref":"c"}`)
	}
	if now := a.control(t, "clock", `{"now":"2025-01-01T00:00:00Z"}`)["now"]; now != "2026-01-01T01:00:00Z" {
		t.Errorf("the clock says %s: it must advance once, and never go back", now)
	}
}

// With the same seed and start, everything is the same again, also after a reset.
func TestASeedMakesEverythingTheSame(t *testing.T) {
	t.Parallel()
	once := func(a api) (story []string) {
		hook := a.add(t, "/", allEvents...)
		story = append(story, hook.AuthKey)
		story = append(story, a.send(t, `{"key":"md-test","message":{"from_email":"o@mail.example","to":[{"email":"ana@shop.example"}],"html":"x"}}`)[0].ID)
		a.control(t, "events", `{"kinds":["open"]}`)
		if err := a.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, b := range a.hook.take() {
			for _, event := range b.events {
				story = append(story, string(event))
			}
		}
		return story
	}
	options := mandrilltest.Options{Start: start, Speed: 0.001, Seed: 7}
	a := newAPI(t, options)
	first := once(a)
	if len(first) != 6 {
		t.Errorf("got %q", first)
	}
	a.control(t, "fail", `{"call":"webhooks/add","status":500}`)
	a.control(t, "account", `{"denylist":{"ana@shop.example":"spam"}}`)
	a.control(t, "reset", `{}`)
	a.control(t, "reset", `{}`)
	if hooks := a.Account(key).Webhooks(); len(hooks) != 0 || len(a.Account(key).Deliveries()) != 0 || a.get(t, "messages?key=md-test") != `{"messages":[]}` {
		t.Errorf("a reset left %v", hooks)
	}
	if diff := cmp.Diff(first, once(a)); diff != "" {
		t.Errorf("after a reset:\n%s", diff)
	}
	options.Seed = 8
	if other := once(newAPI(t, options)); other[0] == first[0] || other[1] == first[1] {
		t.Error("another seed gives the same")
	}
}

// A fast clock makes minutes pass in a moment, and what was planned happens by itself.
func TestAFastClockMakesThingsHappen(t *testing.T) {
	t.Parallel()
	delivered := make(chan struct{}, 100)
	a := newAPI(t, mandrilltest.Options{Speed: 10_000, BatchInterval: time.Minute, OnDelivery: func(d mandrilltest.Delivery) {
		for range d.Events {
			delivered <- struct{}{}
		}
	}})
	a.add(t, "/", "send", "delivered", "open")
	a.send(t, `{"key":"md-test","message":{"from_email":"o@mail.example","to":[{"email":"ana@shop.example"}],"html":"x"}}`)
	for range 3 {
		select {
		case <-delivered:
		case <-time.After(3 * time.Minute): // far longer than it takes on a busy machine
			t.Fatal("an event was not posted")
		}
	}
	messages := a.get(t, "messages?key=md-test")
	if !strings.Contains(messages, `"ahead":0`) || !strings.Contains(messages, `"events":["send","delivered","open"]`) {
		t.Errorf("messages are %s", messages)
	}
	if status, _ := a.post(t, "/emulator/clock", `{"key":"md-test","speed":20000}`); status != http.StatusBadRequest {
		t.Error("a clock may be too fast")
	}
}

// What a test in Go needs, as docs/emulator.md shows it.
func TestStart(t *testing.T) {
	t.Parallel()
	consumer := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(consumer.Close)
	mail, baseURL := mandrilltest.Start(t, mandrilltest.Options{})
	hook, err := mail.AddWebhook(t.Context(), consumer.URL, "open", "hard_bounce")
	if err != nil || hook.AuthKey == "" || !strings.HasSuffix(baseURL, "/api/1.0") {
		t.Fatalf("%+v at %s, %v", hook, baseURL, err)
	}
	if _, err := mail.Emit("open"); err != nil {
		t.Fatal(err)
	}
	if err := mail.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if posted := mail.Deliveries(); len(posted) != 1 || posted[0].Status != http.StatusOK || posted[0].Webhook != hook.ID {
		t.Errorf("deliveries are %+v", posted)
	}
	if _, err := mail.AddWebhook(t.Context(), consumer.URL, "opened"); err == nil {
		t.Error("an event that does not exist was taken")
	}
}
