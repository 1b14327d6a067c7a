package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

func TestTheCounterKnowsLateFromLost(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	l := newLedger()
	l.now = func() time.Time { return now }
	l.arrive("early") // before the emulator's answer to the demo
	l.expect([]string{"early", "late", "never"})
	if got, want := l.String(), "sent 3 · arrived 1 · lost 0 · forged 0 accepted · on the way 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	now = now.Add(80 * time.Second)
	l.harm()
	now = now.Add(80 * time.Second)
	l.arrive("late")
	l.arrive("late")
	l.forge(false)
	if got, want := l.String(), "sent 3 · arrived 2 · lost 0 · forged 0 accepted · on the way 1 · 1 arrived again, with the same id"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	now = now.Add(20 * time.Second)
	l.forge(true)
	if got, want := l.String(), "sent 3 · arrived 2 · lost 1 · forged 1 accepted · 1 arrived again, with the same id"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A thousand events are few lines; in JSON mode each is one, and nothing else is on standard output.
func TestTheStoryIsCalm(t *testing.T) {
	t.Parallel()
	var out, steps logbuffer.Buffer // what the narrator told
	calm := newNarrator(&out, &steps, false)
	calm.now = func() time.Time { return time.Unix(0, 0).UTC() }
	for i := range 1000 {
		if err := calm.event(fmt.Sprint("event ", i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	calm.say("Then it was %s.", "quiet")
	calm.close()
	if got := out.String(); strings.Count(got, "\n") != maxLines+2 || !strings.HasSuffix(got, "… and 980 more\nThen it was quiet.\n") || steps.String() != "" {
		t.Errorf("got\n%s", got)
	}
	var events logbuffer.Buffer
	whole := newNarrator(&events, &steps, true)
	for range 100 {
		_ = whole.event("line", []byte(`{"id":"1"}`))
	}
	whole.say("A step.")
	if got := events.String(); strings.Count(got, "{\"id\":\"1\"}\n") != 100 || strings.Contains(got, "step") || steps.String() != "A step.\n" {
		t.Errorf("got\n%s", got)
	}
}

// post sends an event to the consumer in binary form, and returns the status.
func post(t *testing.T, c *consumer, data string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL(), strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "com.mandrill.message.hard_bounce", "content-type": "application/json"} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// A sink of the user's gets each event as it is, and its answer counts.
func TestASinkOfOnesOwnGetsTheEvents(t *testing.T) {
	t.Parallel()
	var got []string
	answer := http.StatusAccepted
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Header.Get("ce-type")+" "+string(body))
		w.WriteHeader(answer)
	}))
	defer own.Close()
	var out logbuffer.Buffer
	c, err := newConsumer(t.Context(), newNarrator(&out, &out, false), own.URL+"/events")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const data = `{"event":"hard_bounce","msg":{"email":"nobody@shop.example","subject":"Your parcel"}}`
	if status := post(t, c, data); status != http.StatusAccepted || len(got) != 1 || got[0] != "com.mandrill.message.hard_bounce "+data {
		t.Errorf("status %d; the sink got %q", status, got)
	}
	if !strings.Contains(out.String(), "hard_bounce           nobody@shop.example · Your parcel\n") {
		t.Errorf("it is told as %q", out.String())
	}
	answer = http.StatusTeapot
	if status := post(t, c, `{"event":"open"}`); status != http.StatusTeapot || c.ledger.arrived[`{"event":"open"}`] != 0 {
		t.Errorf("status %d for an event that the sink refused", status)
	}
	c.broken.Store(true)
	if status := post(t, c, data); status != http.StatusServiceUnavailable || len(got) != 2 {
		t.Errorf("status %d while the sink is broken; it got %d", status, len(got))
	}
	for _, wrong := range []string{"localhost:8080", "ftp://x", "/events"} {
		if _, err := newConsumer(t.Context(), nil, wrong); err == nil || !strings.Contains(err.Error(), "DEMO_SINK must be an http or https URL") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

// When something did not arrive, the demo says why.
func TestTheDemoSaysWhyNothingArrives(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/status" {
			_, _ = io.WriteString(w, `{"notReady": "the buffer cannot be written", "webhooks": [{"name": "shop/transactional", "waitingEvents": 12, "deadLetters": 1,
				"lastBadSignatureAt": "2026-01-01T00:00:00Z", "failingSince": "2026-01-01T00:00:00Z", "failure": {"reason": "Status", "status": 502, "at": "2026-01-01T00:00:00Z"}}]}`)
		}
	}))
	defer receiver.Close()
	s := &stack{metricsURL: receiver.URL + "/metrics"}
	err := s.explain(t.Context(), &consumer{fault: errors.New("connection refused")})
	for _, want := range []string{
		"your sink does not take them: connection refused", "the receiver is not ready: the buffer cannot be written", "no batch with a good signature has reached the receiver",
		"a batch was signed with an unknown key", "the sink fails: Status, status 502", "12 events wait in the buffer, and 1 are dead letters",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q: %v", want, err)
		}
	}
	receiver.Close()
	if err := s.explain(t.Context(), &consumer{}); err == nil || !strings.Contains(err.Error(), "the receiver does not answer") {
		t.Errorf("without a receiver: %v", err)
	}
}

// The keys do what they say, and a forged batch that is accepted is counted.
func TestKeys(t *testing.T) {
	t.Parallel()
	var out logbuffer.Buffer
	told := newNarrator(&out, &out, false)
	emulator := mandrilltest.New(mandrilltest.Options{APIKeys: []string{apiKey}})
	defer emulator.Close()
	api := httptest.NewServer(emulator)
	defer api.Close()
	c, err := newConsumer(t.Context(), told, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // accepts everything, also a forged batch
	defer hook.Close()
	body, _ := json.Marshal(map[string]any{"key": apiKey, "url": hook.URL, "description": "", "events": []string{"send", "delivered", "open", "click"}})
	response, err := http.Post(api.URL+"/api/1.0/webhooks/add.json", "application/json", bytes.NewReader(body))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()

	s := &stack{told: told, mandrillURL: api.URL, kubeconfig: "kubeconfig"}
	input, typing := io.Pipe()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- s.show(ctx, c, input) }()
	for _, step := range []struct{ key, want string }{
		{"b", "The sink answers 503"}, {"B ", "The sink works again"}, {"r", "Mandrill signs with another key"}, {"t", "Mandrill sends 1000 events"},
		{"f", "A forged batch was answered with 200."}, {"x", `There is no key "x"`}, {"q", "· forged 1 accepted"},
	} {
		if _, err := io.WriteString(typing, step.key+"\n"); err != nil {
			t.Fatal(err)
		}
		poll.True(t, time.Minute, step.key, func() bool { return strings.Contains(out.String(), step.want) })
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"The page:", "Receiver's metrics:", "Admin socket:", "k  kill the receiver"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the introduction lacks %q:\n%s", want, out.String())
		}
	}
}
