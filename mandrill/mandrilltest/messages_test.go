package mandrilltest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// start is what the clock says at first.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var allEvents = []string{"send", "deferral", "hard_bounce", "soft_bounce", "delivered", "open", "click", "spam", "unsub", "reject", "blacklist", "whitelist"}

// result is what messages/send answers for a recipient.
type result struct {
	Email  string  `json:"email"`
	Status string  `json:"status"`
	Reason *string `json:"reject_reason"`
	Queued *string `json:"queued_reason"`
	ID     string  `json:"_id"`
}

func (a api) send(t *testing.T, body string) []result {
	t.Helper()
	status, answer := a.post(t, "/api/1.0/messages/send", body)
	var results []result
	if err := json.Unmarshal([]byte(answer), &results); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %s", body, status, answer)
	}
	return results
}

// events returns the names of the events that were posted, in order.
func (a api) events(t *testing.T) (names []string, bodies []map[string]any) {
	t.Helper()
	if err := a.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range a.hook.take() {
		for _, raw := range b.events {
			parsed := mandrill.ParseEvent(raw)
			names = append(names, strings.TrimSuffix(parsed.Name+" "+parsed.Action, " "))
			var body map[string]any
			if err := json.Unmarshal(raw, &body); err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, body)
		}
	}
	return names, bodies
}

// What happens to a message depends on the recipient's address, and on what the message has to open and to follow.
func TestMessagesHaveTheEventsOfTheirRecipients(t *testing.T) {
	t.Parallel()
	const html = `"html":"<p><a href=\"https://shop.example/track?id=7\">Track</a></p>"`
	for _, test := range []struct {
		to, content, status string
		want                []string
	}{
		{"ana@shop.example", html, "sent", []string{"send", "delivered", "open", "click"}},
		{"ANA+tag@shop.example", html + `,"track_opens":false`, "sent", []string{"send", "delivered", "click"}},
		{"ana@shop.example", html + `,"track_clicks":false`, "sent", []string{"send", "delivered", "open"}},
		{"ana@shop.example", `"html":"<p>none</p>"`, "sent", []string{"send", "delivered", "open"}},
		{"ana@shop.example", `"text":"https://shop.example"`, "sent", []string{"send", "delivered"}},
		{"quiet@shop.example", html, "sent", []string{"send", "delivered"}},
		{"bounce@shop.example", html, "sent", []string{"send", "hard_bounce", "denylist add"}},
		{"Hard-Bounce+1@shop.example", html, "sent", []string{"send", "hard_bounce", "denylist add"}},
		{"soft-bounce@shop.example", html, "sent", []string{"send", "soft_bounce"}},
		{"defer@shop.example", html, "sent", []string{"send", "deferral", "delivered", "open", "click"}},
		{"spam@shop.example", html, "sent", []string{"send", "delivered", "open", "spam", "denylist add"}},
		{"unsub@shop.example", html, "sent", []string{"send", "delivered", "open", "click", "unsub", "denylist add"}},
		{"reject@shop.example", html, "rejected", []string{"reject"}},
		{"ana@two..dots", html, "invalid", nil},
	} {
		a := newAPI(t, mandrilltest.Options{Start: start})
		a.add(t, "/", allEvents...)
		results := a.send(t, `{"key":"md-test","message":{"to":[{"email":"`+test.to+`"}],"from_email":"orders@mail.example","subject":"Hi","tags":["a"],"metadata":{"n":1},`+test.content+`}}`)
		if len(results) != 1 || results[0].Status != test.status || results[0].Email != test.to || len(results[0].ID) != 32 {
			t.Errorf("%s: got %+v", test.to, results)
			continue
		}
		names, bodies := a.events(t)
		if !slices.Equal(names, test.want) {
			t.Errorf("%s with %s: got %v, want %v", test.to, test.content, names, test.want)
		}
		for _, body := range bodies {
			message, ok := body["msg"].(map[string]any)
			if ok && (body["_id"] != results[0].ID || message["email"] != test.to || message["sender"] != "orders@mail.example" || message["subject"] != "Hi" || fmt.Sprint(message["tags"], message["metadata"]) != "[a] map[n:1]") {
				t.Errorf("%s: %v is not of the message", test.to, body)
			}
		}
	}
}

// The events of a message have its history, and happen one after the other on the emulator's clock.
func TestMessagesHaveAHistory(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{Start: start, Speed: 0.001})
	a.add(t, "/", allEvents...)
	a.send(t, `{"key":"md-test","message":{"to":[{"email":"defer@shop.example"}],"from_email":"o@mail.example","html":"<a href='https://shop.example/x'>"}}`)
	names, bodies := a.events(t)
	last := bodies[len(bodies)-1]["msg"].(map[string]any)
	if len(names) != 5 || len(last["opens"].([]any)) != 1 || len(last["clicks"].([]any)) != 1 || len(last["smtp_events"].([]any)) != 2 || bodies[4]["url"] != "https://shop.example/x" {
		t.Errorf("%v ended with %v", names, bodies[4])
	}
	if fmt.Sprint(bodies[0]["msg"].(map[string]any)["metadata"]) != "[]" || len(bodies[0]["msg"].(map[string]any)["smtp_events"].([]any)) != 0 {
		t.Errorf("the first is %v", bodies[0])
	}
	var seconds []float64
	for _, body := range bodies {
		seconds = append(seconds, body["ts"].(float64)-float64(start.Unix()))
	}
	if diff := cmp.Diff([]float64{0, 1, 3, 63, 68}, seconds); diff != "" {
		t.Errorf("times (-want +got):\n%s", diff)
	}
	if !a.Account(key).Deliveries()[0].At.After(start.Add(time.Minute)) {
		t.Error("Finish has not set the clock")
	}
}

// An address that bounced, complained or unsubscribed gets nothing until it is taken off the denylist.
func TestTheDenylistRejects(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	a.add(t, "/", "reject")
	const body = `{"key":"md-test","message":{"to":[{"email":"unsub@shop.example"}],"from_email":"o@mail.example"}}`
	first := a.send(t, body)
	if names, _ := a.events(t); len(names) != 0 || first[0].Reason != nil {
		t.Errorf("%v, %v", names, first)
	}
	second := a.send(t, body)
	names, bodies := a.events(t)
	if second[0].Status != "rejected" || *second[0].Reason != "unsub" || len(names) != 1 || bodies[0]["msg"].(map[string]any)["reject"].(map[string]any)["reason"] != "unsub" {
		t.Errorf("%+v, %v", second, bodies)
	}
	if status, answer := a.post(t, "/emulator/account", `{"key":"md-test","denylist":{}}`); status != http.StatusOK || strings.Contains(answer, "unsub@") {
		t.Errorf("%d %s", status, answer)
	}
	if third := a.send(t, body); third[0].Status != "sent" {
		t.Errorf("%+v", third)
	}
}

// More than ten recipients are sent to asynchronously, and so is what asks for it; a time in the future schedules.
func TestStatusesOfASend(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{Start: start})
	to := func(n int) string {
		return strings.TrimSuffix(strings.Repeat(`{"email":"reject@shop.example","type":"bcc","name":"x"},`, n), ",")
	}
	for _, test := range []struct {
		recipients            int
		rest                  string
		status, reason, queue string
	}{
		{10, ``, "rejected", "custom", ""},
		{11, ``, "queued", "", "multiple-recipients"},
		{1, `,"async":true`, "queued", "", ""},
		{1, `,"async":null,"ip_pool":null,"send_at":null`, "rejected", "custom", ""},
		{1, `,"send_at":"2020-01-01 00:00:00"`, "rejected", "custom", ""},
	} {
		for _, got := range a.send(t, `{"key":"md-test","message":{"from_email":"o@mail.example","to":[`+to(test.recipients)+`]}`+test.rest+`}`) {
			if got.Status != test.status || text(got.Reason) != test.reason || text(got.Queued) != test.queue {
				t.Errorf("%d recipients%s: %s, %s, %s", test.recipients, test.rest, got.Status, text(got.Reason), text(got.Queued))
			}
		}
	}
	nobody := a.send(t, `{"key":"md-test","message":{"to":[{"email":"ana@shop.example"}],"metadata":[],"tags":[]}}`)
	later := a.send(t, `{"key":"md-test","message":{"from_email":"o@mail.example","to":[{"email":"ana@shop.example"}]},"send_at":"2026-01-02 00:00:00"}`)
	if text(nobody[0].Reason) != "invalid-sender" || later[0].Status != "scheduled" {
		t.Errorf("%+v, %+v", nobody, later)
	}
	a.add(t, "/", "send")
	a.flush(t)
	if got := a.hook.take(); len(got) != 0 {
		t.Error("what is scheduled was sent")
	}
	a.Advance(25 * time.Hour)
	a.flush(t)
	if got := a.hook.take(); len(got) != 1 || mandrill.ParseEvent(got[0].events[0]).Time != start.Add(24*time.Hour) {
		t.Errorf("%d batches, want one with what was scheduled", len(got))
	}
}

func text(pointer *string) string {
	if pointer == nil {
		return ""
	}
	return *pointer
}

// What Mandrill refuses, the emulator refuses, and the error names the field as Mandrill's does.
func TestSendRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	a.add(t, "/", allEvents...)
	message := func(fields string) string {
		return `{"key":"md-test","message":{"from_email":"o@mail.example","to":[{"email":"ana@shop.example"}]` + fields + `}}`
	}
	for _, test := range []struct {
		name, call, body, want string
		status                 int
	}{
		{"no message", "send", `{"key":"md-test"}`, `{"message":"Please enter a value"}`, 400},
		{"a message that is a list", "send", `{"key":"md-test","message":[]}`, `{"message":"Please enter an object"}`, 400},
		{"no recipients", "send", `{"key":"md-test","message":{"from_email":"o@mail.example","to":[]}}`, `{"message":{"to":"Please enter an array"}}`, 400},
		{"a recipient that is a string", "send", `{"key":"md-test","message":{"to":["ana@shop.example"]}}`, `{"message":{"to":"Please enter a value of the right type"}}`, 400},
		{"recipients that are an object", "send", `{"key":"md-test","message":{"to":{"email":"ana@shop.example"}}}`, `"to"`, 400},
		{"a recipient without an address", "send", `{"key":"md-test","message":{"to":[{"name":"Ana"}]}}`, `{"message":{"to":{"email":"Please enter a value"}}}`, 400},
		{"a recipient without an @", "send", `{"key":"md-test","message":{"to":[{"email":"ana"}]}}`, `{"message":{"to":{"email":"An email address must contain a single @"}}}`, 400},
		{"a recipient of another type", "send", `{"key":"md-test","message":{"to":[{"email":"ana@shop.example","type":"reply"}]}}`, `to, cc or bcc`, 400},
		{"a sender on localhost", "send", `{"key":"md-test","message":{"from_email":"webmaster@localhost","to":[{"email":"ana@shop.example"}]}}`,
			`The domain portion of the email address is invalid (the portion after the @: localhost)`, 400},
		{"a field in the wrong place", "send", `{"key":"md-test","subject":"Hi","message":{}}`, `There is no such field`, 400},
		{"an unknown field", "send", message(`,"from":"o@mail.example"`), `{"message":{"from":"There is no such field"}}`, 400},
		{"a tag with an underscore", "send", message(`,"tags":["_a"]`), `tags`, 400},
		{"a long tag", "send", message(`,"tags":["` + strings.Repeat("a", 51) + `"]`), `tags`, 400},
		{"metadata that is a list", "send", message(`,"metadata":["a"]`), `{"message":{"metadata":"Please enter an object"}}`, 400},
		{"tracking that is a string", "send", message(`,"track_opens":"yes"`), `track_opens`, 400},
		{"an attachment that is not base64", "send", message(`,"attachments":[{"type":"text/plain","name":"a","content":"?"}]`), `base64`, 400},
		{"an unknown subaccount", "send", message(`,"subaccount":"nobody"`), `No subaccount exists with the id 'nobody'`, 404},
		{"a date of another form", "send", `{"key":"md-test","message":{"to":[{"email":"ana@shop.example"}]},"send_at":"tomorrow"}`, `send_at`, 400},
		{"async that is a string", "send", `{"key":"md-test","message":{"to":[{"email":"ana@shop.example"}]},"async":"yes"}`, `Please enter a boolean`, 400},
		{"a template that is sent by send", "send", `{"key":"md-test","template_name":"welcome","message":{}}`, `There is no such field`, 400},
		{"no template", "send-template", `{"key":"md-test","template_content":[],"message":{"to":[{"email":"ana@shop.example"}]}}`, `template_name`, 400},
		{"no content of the template", "send-template", `{"key":"md-test","template_name":"welcome","message":{"to":[{"email":"ana@shop.example"}]}}`, `template_content`, 400},
		{"an unknown template", "send-template", `{"key":"md-test","template_name":"nope","template_content":[],"message":{"to":[{"email":"ana@shop.example"}]}}`, `No such template "nope"`, 404},
		{"a wrong key", "send", `{"key":"md-nobody","message":{}}`, `Invalid API key`, 401},
	} {
		status, body := a.post(t, "/api/1.0/messages/"+test.call, test.body)
		var got struct{ Status, Message string }
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != test.status || got.Status != "error" || !strings.Contains(got.Message, test.want) {
			t.Errorf("%s: got %d %s, want %d with %s", test.name, status, body, test.status, test.want)
		}
	}
	if names, _ := a.events(t); len(names) != 0 {
		t.Errorf("refused messages have the events %v", names)
	}
}

// A template has what the message has not.
func TestSendTemplate(t *testing.T) {
	t.Parallel()
	a := newAPI(t, mandrilltest.Options{})
	a.add(t, "/", "send", "click")
	a.post(t, "/emulator/account", `{"key":"md-test","subaccounts":["blue"],"templates":{"welcome":{"subject":"Welcome","from_email":"hello@mail.example","html":"<a href=\"https://shop.example/start\">"}}}`)
	status, body := a.post(t, "/api/1.0/messages/send-template.json", `{"key":"md-test","template_name":"welcome","template_content":[{"name":"main","content":"x"}],`+
		`"message":{"to":[{"email":"Ana@shop.example"}],"subaccount":"blue","metadata":{"n":1},"recipient_metadata":[{"rcpt":"ana@shop.example","values":{"n":2,"m":"x"}}]}}`)
	names, bodies := a.events(t)
	if status != http.StatusOK || !strings.Contains(body, `"sent"`) || !slices.Equal(names, []string{"send", "click"}) {
		t.Fatalf("%d %s, %v", status, body, names)
	}
	message := bodies[0]["msg"].(map[string]any)
	if message["template"] != "welcome" || message["subject"] != "Welcome" || message["sender"] != "hello@mail.example" || message["subaccount"] != "blue" ||
		fmt.Sprint(message["metadata"]) != "map[m:x n:2]" || bodies[1]["url"] != "https://shop.example/start" {
		t.Errorf("got %v", bodies)
	}
}
