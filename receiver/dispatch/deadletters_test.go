package dispatch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/receiver/admin"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
)

// askAdmin sends a request to the admin API and returns the status.
func (b *bufferedReceiver) askAdmin(method, path, body string, into any) int {
	b.t.Helper()
	return b.ask(admin.DeadLettersHandler(b.journal, slog.New(slog.NewJSONHandler(b.log, nil))), method, path, body, into)
}

func (b *bufferedReceiver) askBacklog(method, path, body string, into any) int {
	b.t.Helper()
	return b.ask(admin.BacklogHandler(b.journal, slog.New(slog.NewJSONHandler(b.log, nil))), method, path, body, into)
}

func (b *bufferedReceiver) ask(handler http.Handler, method, path, body string, into any) int {
	b.t.Helper()
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(body)))
	if response.Header().Get("Content-Type") == "application/json" && into != nil {
		if err := json.Unmarshal(response.Body.Bytes(), into); err != nil {
			b.t.Errorf("%s %s: %v", method, path, err)
		}
	}
	return response.Code
}

// deadLetters lists all dead letters.
func (b *bufferedReceiver) deadLetters() []journal.DeadLetterInfo {
	b.t.Helper()
	var page admin.DeadLetterPage
	if status := b.askAdmin(http.MethodGet, "/dead-letters", "", &page); status != http.StatusOK || page.Next != 0 {
		b.t.Fatalf("status %d, next %d", status, page.Next)
	}
	return page.DeadLetters
}

// waitDeadLetters waits until there are as many dead letters, and returns them.
func (b *bufferedReceiver) waitDeadLetters(count int) (letters []journal.DeadLetterInfo) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%d dead letters", count), func() bool {
		letters = b.deadLetters()
		return len(letters) == count
	})
	return letters
}

// redrive has dead letters delivered again, and returns how many.
func (b *bufferedReceiver) redrive(body string) int {
	b.t.Helper()
	var answer admin.DeadLetterAnswer
	if status := b.askAdmin(http.MethodPost, "/dead-letters/redrive", body, &answer); status != http.StatusOK {
		b.t.Fatalf("status %d: %s", status, answer.Error)
	}
	return answer.Count
}

// A redriven dead letter is the same CloudEvent with the same id. It becomes a dead letter again as often as it is refused.
func TestRedrivenDeadLetterIsTheSameEvent(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(refuseAll)
	b.post("a", "send 1", "open 2")
	before := b.waitDeadLetters(2)
	slices.SortFunc(before, func(x, y journal.DeadLetterInfo) int { return strings.Compare(x.Type, y.Type) })
	want := journal.DeadLetterInfo{
		Seq: before[0].Seq, Webhook: "shop/a", Type: "com.mandrill.message.open", ID: b.sinks.ids["a open 2"][0], Reason: journal.ReasonRefused, Status: 422, Attempts: 1,
		Received: before[0].Received, DeadLettered: before[0].DeadLettered,
	}
	if diff := cmp.Diff(want, before[0]); diff != "" || want.Received.IsZero() || want.DeadLettered.Before(want.Received) {
		t.Errorf("%s", diff)
	}
	for i := range 2 {
		if n := b.redrive(`{"webhook":"shop/a"}`); n != 2 {
			t.Fatalf("%d were redriven, want 2", n)
		}
		b.sinks.waitFor(t, "another attempt", func(_ []string, attempts map[string]int) bool {
			return attempts["a send 1"] == i+2 && attempts["a open 2"] == i+2
		})
		for _, letter := range b.waitDeadLetters(2) {
			if letter.Seq <= before[1].Seq || letter.Attempts != 1 || letter.Redriven.IsZero() || !letter.Received.Equal(before[0].Received) {
				t.Errorf("dead letter after a redrive: %+v", letter)
			}
		}
	}
	b.stop()
	b.start()
	b.waitDeadLetters(2)
	b.sinks.setAnswer(nil)
	if n := b.redrive(`{"all":true,"reason":"expired"}`); n != 0 {
		t.Errorf("%d were redriven, want 0: none has this reason", n)
	}
	if n := b.redrive(`{"all":true}`); n != 2 {
		t.Errorf("%d were redriven, want 2", n)
	}
	b.sinks.expectAccepted(t, "a send 1", "a open 2")
	b.waitEmpty()
	if letters := b.deadLetters(); len(letters) > 0 {
		t.Errorf("%+v are still there", letters)
	}
	for event, ids := range b.sinks.ids {
		if len(ids) < 4 || ids[0] == "" || len(slices.Compact(slices.Clone(ids))) != 1 {
			t.Errorf("%s was sent with the ids %q, want one", event, ids)
		}
	}
}

// A redriven event was received long ago, but gets as much time as a new one.
func TestRedrivenEventIsNotExpired(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	ahead := time.Duration(0)
	b := newBufferedReceiver(t, func(b *bufferedReceiver) {
		b.options.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
		b.now = b.options.Now
	})
	b.sinks.setAnswer(refuseAll)
	b.post("a", "send 1")
	b.waitDeadLetters(1)
	mu.Lock()
	ahead = 73 * time.Hour
	mu.Unlock()
	b.sinks.setAnswer(failHosts("a"))
	b.redrive(`{"seqs":[1]}`)
	b.sinks.waitFor(t, "three more attempts", func(_ []string, attempts map[string]int) bool { return attempts["a send 1"] >= 4 })
	if age := b.metric("mandrill_receiver_backlog_oldest_age_seconds"); age > 3600 {
		t.Errorf("the redriven event counts as %v s old", age)
	}
	mu.Lock()
	ahead = 146 * time.Hour
	mu.Unlock()
	if letter := b.waitDeadLetters(1)[0]; letter.Reason != journal.ReasonExpired {
		t.Errorf("got %+v, want an expired dead letter", letter)
	}
}

// Redriven events of a deleted webhook wait for it to come back, and become dead letters again after its retention.
func TestRedriveWaitsForADeletedWebhook(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) { b.options.DeletedWebhookRetention = time.Millisecond })
	b.sinks.setAnswer(refuseAll)
	b.post("a", "send 1")
	b.waitDeadLetters(1)
	delivery := b.webhooks["a"]
	delete(b.webhooks, "a")
	b.loadRoutes()
	b.redrive(`{"all":true}`)
	eventually(t, "a dead letter", func() bool {
		return b.metric("mandrill_receiver_dead_lettered_total", journal.ReasonWebhookDeleted) == 1
	})
	if letter := b.waitDeadLetters(1)[0]; letter.Reason != journal.ReasonWebhookDeleted || letter.Webhook != "shop/a" || letter.Type != "com.mandrill.message.send" {
		t.Errorf("got %+v", letter)
	}
	b.webhooks["a"] = delivery
	b.loadRoutes()
	b.sinks.setAnswer(nil)
	b.redrive(`{"all":true}`)
	b.sinks.expectAccepted(t, "a send 1")
	b.waitEmpty()
}

// Two concurrent redrives of one dead letter both succeed, and the event is delivered.
func TestConcurrentRedrivesDeliverTheEvent(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(refuseAll)
	b.post("a", "send 1")
	b.waitDeadLetters(1)
	b.sinks.setAnswer(nil)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			var answer admin.DeadLetterAnswer
			status := b.askAdmin(http.MethodPost, "/dead-letters/redrive", `{"seqs":[1]}`, &answer)
			if status != http.StatusOK || answer.Error != "" || answer.Count+len(answer.Missing) != 1 {
				t.Errorf("status %d, %+v", status, answer)
			}
		})
	}
	group.Wait()
	b.sinks.waitFor(t, "delivery", func(accepted []string, _ map[string]int) bool { return slices.Contains(accepted, "a send 1") })
	b.waitEmpty()
	if letters := b.deadLetters(); len(letters) > 0 {
		t.Errorf("%+v are still there", letters)
	}
}

// When dead letters need too much space the oldest are evicted and counted.
func TestOldestDeadLettersAreEvicted(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	b.sinks.setAnswer(refuseAll)
	const events = 40
	for i := range events {
		b.postRaw("a", fmt.Appendf(nil, `{"event":"send","_id":"%d","s3ntinel":%q}`, i, incompressible(i, 256<<10)))
		eventually(t, "a dead letter", func() bool { return b.metric("mandrill_receiver_dead_lettered_total") == float64(i+1) })
	}
	letters := b.deadLetters()
	evicted := int(b.metric("mandrill_receiver_dead_letters_evicted_total"))
	if evicted == 0 || len(letters)+evicted != events || letters[0].Seq != uint64(evicted+1) || letters[len(letters)-1].Seq != events {
		t.Fatalf("%d of %d were evicted, %d remain: %v", evicted, events, len(letters), letters)
	}
	b.sinks.setAnswer(nil)
	if n := b.redrive(`{"all":true}`); n != len(letters) {
		t.Errorf("%d were redriven, want %d", n, len(letters))
	}
	var want []string
	for i := evicted; i < events; i++ {
		want = append(want, fmt.Sprintf("a send %d", i))
	}
	b.sinks.expectAccepted(t, want...)
}

// incompressible returns random text, so that compression does not make it fit. The race detector would make it take seconds, and has
// nothing to find: what it writes is its own.
//
//go:norace
func incompressible(seed, size int) string {
	out := make([]byte, size)
	state := uint64(seed + 7)
	for i := range out {
		state = state*6364136223846793005 + 1442695040888963407
		out[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[state>>58]
	}
	return string(out)
}

// An event of 20 MiB is stored in parts, and still is shown and redriven byte for byte.
func TestLargeDeadLetterIsRedrivenByteForByte(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t, func(b *bufferedReceiver) { b.maxBytes = 512 << 20 })
	b.sinks.setAnswer(refuseAll)
	event := fmt.Appendf(nil, `{"event":"send", "_id":"1", "s3ntinel":"<%s>"}`, incompressible(1, 5<<20))
	if status := b.postRaw("a", event); status != http.StatusOK {
		t.Fatalf("status %d, want 200", status)
	}
	for range 2 {
		letter := b.waitDeadLetters(1)[0]
		var shown struct {
			journal.DeadLetterInfo
			Answer string
			Size   int
			Data   json.RawMessage
		}
		if status := b.askAdmin(http.MethodGet, fmt.Sprintf("/dead-letters/%d", letter.Seq), "", &shown); status != http.StatusOK {
			t.Fatalf("status %d, want 200", status)
		}
		if !bytes.Equal(shown.Data, event) || shown.Size != len(event) || shown.Answer != "s3ntinel" {
			t.Errorf("shown are %d bytes of %d, with the answer %q", len(shown.Data), shown.Size, shown.Answer)
		}
		if diff := cmp.Diff(letter, shown.DeadLetterInfo); diff != "" {
			t.Errorf("list and show differ:\n%s", diff)
		}
		sent := b.sinks.attemptsOf("a send 1")
		b.redrive(fmt.Sprintf(`{"seqs":[%d]}`, letter.Seq))
		b.sinks.waitFor(t, "another attempt", func(_ []string, attempts map[string]int) bool { return attempts["a send 1"] == sent+1 })
	}
	b.sinks.setAnswer(nil)
	b.waitDeadLetters(1)
	b.redrive(`{"all":true}`)
	b.sinks.expectAccepted(t, "a send 1")
	b.waitEmpty()
	if !bytes.Equal(b.sinks.last.Body, event) {
		t.Errorf("%d bytes were delivered, want the %d that were received", len(b.sinks.last.Body), len(event))
	}
}

// An event that is not JSON, or not UTF-8, is shown in Base64.
func TestDeadLetterIsShownAsJSONOrBase64(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		raw  string
		want string
	}{
		"JSON":      {`{ "a": 1e5, "b": "<\u00e9>" }`, `"data": { "a": 1e5, "b": "<\u00e9>" }`},
		"not JSON":  {`{`, `"data_base64": "ew=="`},
		"not UTF-8": {"\"\xff\"", `"data_base64": "Iv8i"`},
		"nothing":   {"", `"data_base64": ""`},
	} {
		var out bytes.Buffer
		if err := admin.WriteDeadLetter(&out, journal.DeadLetterInfo{Seq: 7, Webhook: "shop/a"}, journal.PendingEvent{Raw: []byte(test.raw), Answer: "no"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !json.Valid(out.Bytes()) || !strings.Contains(out.String(), test.want) {
			t.Errorf("%s: got %s, want it with %s", name, out.String(), test.want)
		}
	}
}

// The error of every refused request says what to do.
func TestDeadLettersAPIRefusesBadRequests(t *testing.T) {
	t.Parallel()
	b := newBufferedReceiver(t)
	many := strings.Repeat("1,", journal.MaxDeadLetters) + "1"
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/dead-letters?reason=bored", "", 400, "reason must be one of refused, exhausted, expired, webhook_deleted"},
		{"GET", "/dead-letters?after=x", "", 400, "after must be a number"},
		{"GET", "/dead-letters?limit=0", "", 400, "limit must be a number from 1"},
		{"GET", "/dead-letters?limit=501", "", 400, "limit must be a number from 1"},
		{"GET", "/dead-letters?webhok=a", "", 400, "the query may have"},
		{"GET", "/dead-letters/x", "", 400, "want the number of a dead letter"},
		{"GET", "/dead-letters/7", "", 404, "there is no dead letter 7"},
		{"POST", "/dead-letters/purge", "", 400, "the body must be JSON such as"},
		{"POST", "/dead-letters/purge", `{"sequences":[1]}`, 400, "the body must be JSON such as"},
		{"POST", "/dead-letters/purge", `{"all":true}{}`, 400, "the body must be JSON such as"},
		{"POST", "/dead-letters/purge", `{}`, 400, "nothing is selected"},
		{"POST", "/dead-letters/purge", `{"reason":"refused"}`, 400, "nothing is selected"},
		{"POST", "/dead-letters/redrive", `{"seqs":[]}`, 400, "nothing is selected"},
		{"POST", "/dead-letters/redrive", `{"seqs":[1],"all":true}`, 400, "seqs cannot be combined with webhook, all or reason"},
		{"POST", "/dead-letters/redrive", `{"webhook":"shop/a","all":true}`, 400, "webhook cannot be combined with all"},
		{"POST", "/dead-letters/redrive", `{"all":true,"reason":"bored"}`, 400, "reason must be one of"},
		{"POST", "/dead-letters/redrive", `{"seqs":[` + many + `]}`, 400, "a request may have up to 500 seqs"},
		{"DELETE", "/dead-letters/7", "", 405, ""},
		{"GET", "/metrics", "", 404, ""},
	} {
		var answer admin.DeadLetterAnswer
		if status := b.askAdmin(test.method, test.path, test.body, &answer); status != test.status || !strings.Contains(answer.Error, test.want) {
			t.Errorf("%s %s %s: status %d, %q; want %d with %q", test.method, test.path, test.body, status, answer.Error, test.status, test.want)
		}
	}
	var answer admin.DeadLetterAnswer
	if status := b.askAdmin(http.MethodPost, "/dead-letters/purge", `{"seqs":[7,8]}`, &answer); status != http.StatusOK || answer.Count != 0 || len(answer.Missing) != 2 {
		t.Errorf("status %d, %+v", status, answer)
	}
	b.stop()
	for path, body := range map[string]string{"/dead-letters/redrive": `{"all":true}`, "/dead-letters/purge": `{"seqs":[1]}`} {
		if status := b.askAdmin(http.MethodPost, path, body, &answer); status != http.StatusServiceUnavailable || !strings.Contains(answer.Error, journal.ErrUnavailable.Error()) {
			t.Errorf("%s with a stopped journal: status %d, %+v", path, status, answer)
		}
	}
	for _, path := range []string{"/dead-letters", "/dead-letters/1"} {
		if status := b.askAdmin(http.MethodGet, path, "", &answer); status != http.StatusServiceUnavailable {
			t.Errorf("%s with a stopped journal: status %d", path, status)
		}
	}
	if err := error(admin.DeadLettersNotFoundError{Seqs: []uint64{7, 8}}); !strings.HasPrefix(err.Error(), "there is no dead letter 7, 8;") || !errors.As(err, new(admin.DeadLettersNotFoundError)) {
		t.Errorf("got %v", err)
	}
}
