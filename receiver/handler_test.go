package receiver_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func TestBatchBecomesCloudEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	samples := mandrilltest.Samples()
	names := slices.Sorted(maps.Keys(samples))
	var events [][]byte
	for _, name := range names {
		events = append(events, bytes.TrimSpace(samples[name]))
	}
	response, body := f.do(t, f.request(t, string(mandrilltest.Batch(events...))))
	if response.StatusCode != http.StatusOK || body != "" {
		t.Fatalf("got %d %q, want 200 and an empty body", response.StatusCode, body)
	}
	got := map[string]cloudevents.Event{}
	for _, event := range f.sink.takeEvents() {
		got[string(event.Data())] = event
	}
	for i, name := range names {
		event, ok := got[string(events[i])]
		if !ok {
			t.Errorf("%s did not arrive byte for byte", name)
			continue
		}
		if event.DataContentType() != "application/json" || event.Source() != "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/plain" {
			t.Errorf("%s: content type %q, source %q", name, event.DataContentType(), event.Source())
		}
	}
	if len(got) != len(names) {
		t.Errorf("%d events arrived, want %d", len(got), len(names))
	}
}

func TestOddElementsAreDelivered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	elements := []string{`null`, `42`, `"x"`, `[]`, `{}`, `{"event":`, `{"event":"tomorrow"}`, `{"event":"open"}`, `{"event":"open"}`, `{"event":"open"}`}
	// A truncated element would swallow the others: use an error that ends within the element.
	elements[5] = `{"event":}`
	response, _ := f.do(t, f.request(t, "["+strings.Join(elements, " , ")+"]"))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d, want 200", response.StatusCode)
	}
	var got []string
	ids := map[string]bool{}
	for _, event := range f.sink.takeEvents() {
		got = append(got, event.Type()+" "+event.DataContentType()+" "+string(event.Data()))
		ids[event.ID()] = true
	}
	slices.Sort(got)
	want := []string{
		"com.mandrill.message.open application/json " + elements[7], "com.mandrill.message.open application/json " + elements[8],
		"com.mandrill.message.open application/json " + elements[9], "com.mandrill.message.tomorrow application/json " + elements[6],
		`com.mandrill.unknown application/json "x"`, "com.mandrill.unknown application/json 42", "com.mandrill.unknown application/json []",
		"com.mandrill.unknown application/json null", "com.mandrill.unknown application/json {}", `com.mandrill.unknown application/octet-stream {"event":}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if len(ids) != len(elements) {
		t.Errorf("%d ids for %d events", len(ids), len(elements))
	}
}

func TestProbesAreAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, test := range []struct {
		name    string
		request *http.Request
	}{
		{"HEAD", f.bareRequest(t, http.MethodHead, "/keyless")},
		{"GET", f.bareRequest(t, http.MethodGet, "/keyless")},
		{"HEAD without the secret part", f.bareRequest(t, http.MethodHead, "/guarded")},
		{"HEAD of a suspended route", f.bareRequest(t, http.MethodHead, "/suspended")},
		{"test key, no key yet", f.requestTo(t, "/keyless", keylessURL, mandrill.TestKey, "[]")},
		{"test key", f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, " [ ] ")},
		{"own key, empty", f.request(t, "[]")},
		{"previous key, empty", f.requestTo(t, "/mandrill/shop", plainURL, "previous", "[]")},
	} {
		if response, body := f.do(t, test.request); response.StatusCode != http.StatusOK || body != "" {
			t.Errorf("%s: got %d %q, want 200", test.name, response.StatusCode, body)
		}
	}
	if got := f.sink.takeEvents(); len(got) != 0 {
		t.Errorf("%d events were delivered", len(got))
	}
}

// An empty batch with a valid signature is answered with the object that the route is from, and nothing else is.
func TestEmptyBatchIsAnsweredWithTheObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	document := f.document()
	for i := range document.Routes {
		document.Routes[i].Object = "1a2b3c"
	}
	f.loadRoutes(t, document)
	for name, test := range map[string]struct {
		request *http.Request
		want    string
	}{
		"empty":         {f.request(t, "[]"), "1a2b3c"},
		"wrong key":     {f.requestTo(t, "/mandrill/shop", plainURL, "wrong", "[]"), ""},
		"with an event": {f.request(t, `[{"event":"open"}]`), ""},
		"HEAD":          {f.bareRequest(t, http.MethodHead, "/mandrill/shop"), ""},
	} {
		if response, _ := f.do(t, test.request); response.Header.Get(routes.ObjectHeader) != test.want {
			t.Errorf("%s: the object is %q, want %q", name, response.Header.Get(routes.ObjectHeader), test.want)
		}
	}
}

// HEAD with a nonce that the route's key has signed is answered with the route's object and the nonce. Others learn nothing.
func TestASignedNonceIsAnsweredWithTheObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	document := f.document()
	for i := range document.Routes {
		document.Routes[i].Object = "1a2b3c"
	}
	f.loadRoutes(t, document)
	for name, test := range map[string]struct {
		key, signed, sent string
		want              string
	}{
		"signed":                  {signingKey, "n1", "n1", "1a2b3c"},
		"by the previous key":     {"previous", "n1", "n1", "1a2b3c"},
		"by another key":          {"wrong", "n1", "n1", ""},
		"by a key that all know":  {mandrill.TestKey, "n1", "n1", ""},
		"another nonce is signed": {signingKey, "n2", "n1", ""},
		"none is sent":            {signingKey, "", "", ""},
		"a long one":              {signingKey, strings.Repeat("n", 65), strings.Repeat("n", 65), ""},
	} {
		request := f.bareRequest(t, http.MethodHead, "/mandrill/shop")
		request.Header.Set(routes.NonceHeader, test.sent)
		request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(test.key, plainURL, mandrill.NonceForm(test.signed)))
		response, _ := f.do(t, request)
		nonce := map[bool]string{true: test.sent}[test.want != ""]
		if response.StatusCode != http.StatusOK || response.Header.Get(routes.ObjectHeader) != test.want || response.Header.Get(routes.NonceHeader) != nonce {
			t.Errorf("%s: got %d and %v", name, response.StatusCode, response.Header)
		}
	}
	// The signature of a nonce is none of a batch.
	batch := f.request(t, `[{"event":"open"}]`)
	batch.Header.Set(mandrill.SignatureHeader, mandrill.Sign(signingKey, plainURL, mandrill.NonceForm(`[{"event":"open"}]`)))
	if response, _ := f.do(t, batch); response.StatusCode == http.StatusOK {
		t.Error("a batch with the signature of a nonce was accepted")
	}
}

func TestSecretPartsOfTheURLAreAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	request := f.requestTo(t, "/guarded?v=2&added=1&secret=s3ntinel-token", guardedURL, signingKey, `[{"event":"open"}]`)
	request.SetBasicAuth("robot", "s3ntinel!pass")
	if response, body := f.do(t, request); response.StatusCode != http.StatusOK {
		t.Errorf("got %d %q, want 200", response.StatusCode, body)
	}
	if got := f.sink.takeEvents(); len(got) != 1 {
		t.Errorf("%d events were delivered, want 1", len(got))
	}
	f.assertNoSecrets(t)
}

func TestMultipartIsAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	batch := `[{"event":"open","x":"a+b%20\/"}]`
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	if err := errors.Join(writer.WriteField(mandrill.EventsField, batch), writer.Close()); err != nil {
		t.Fatal(err)
	}
	request := f.request(t, batch)
	request.Body, request.ContentLength = io.NopCloser(&body), int64(body.Len())
	request.Header.Set("Content-Type", writer.FormDataContentType())
	if response, text := f.do(t, request); response.StatusCode != http.StatusOK {
		t.Fatalf("got %d %q, want 200", response.StatusCode, text)
	}
	if got := f.sink.takeEvents(); len(got) != 1 || string(got[0].Data()) != batch[1:len(batch)-1] {
		t.Errorf("delivered %v", got)
	}
}

func TestSinkRefusalIsAnsweredWith502(t *testing.T) {
	t.Parallel()
	const batch = `[{"event":"send","_id":"a"},{"event":"open","_id":"b"},{"event":"click","_id":"c"}]`
	for _, test := range []struct {
		name      string
		status    int // for the event "open"
		want      int
		delivered int // at least
	}{
		{"500", 500, 502, 0},
		{"429", 429, 502, 0},
		{"400 holds up no other event", 400, 502, 2},
		{"redirect", 302, 502, 2},
		{"200", 200, 200, 3},
		{"204", 204, 200, 3},
	} {
		f := newFixture(t)
		f.sink.status = func(event cloudevents.Event) int {
			if event.Type() == "com.mandrill.message.open" {
				return test.status
			}
			return http.StatusAccepted
		}
		response, _ := f.do(t, f.request(t, batch))
		if got := len(f.sink.takeEvents()); response.StatusCode != test.want || got < test.delivered {
			t.Errorf("%s: status %d with %d delivered, want %d with %d", test.name, response.StatusCode, got, test.want, test.delivered)
		}
		f.assertNoSecrets(t)
	}
	f := newFixture(t)
	f.sink.Close()
	if response, body := f.do(t, f.request(t, batch)); response.StatusCode != http.StatusBadGateway || body != "sink_refused\n" {
		t.Errorf("sink down: got %d %q, want 502", response.StatusCode, body)
	}
	f.assertNoSecrets(t)
}

// An event that may be accepted later holds up the later events of its message, and no others.
func TestEventsOfAMessageAreSentInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var batch [][]byte
	for i := range 40 {
		for _, id := range []string{"a", "b", "c"} {
			batch = append(batch, fmt.Appendf(nil, `{"event":"e%d","_id":%q}`, i, id))
		}
	}
	if response, _ := f.do(t, f.request(t, string(mandrilltest.Batch(batch...)))); response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	arrived := map[string]int{}
	for _, event := range f.sink.takeEvents() {
		if want := fmt.Sprintf("com.mandrill.message.e%d", arrived[event.Subject()]); event.Type() != want {
			t.Fatalf("message %s: got %s, want %s", event.Subject(), event.Type(), want)
		}
		arrived[event.Subject()]++
	}
	f.sink.status = func(event cloudevents.Event) int {
		if event.Type() == "com.mandrill.message.e5" {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	for i := range batch { // change the bytes, because delivered events are not sent again
		batch[i] = bytes.Replace(batch[i], []byte("}"), []byte(`,"more":1}`), 1)
	}
	if response, _ := f.do(t, f.request(t, string(mandrilltest.Batch(batch...)))); response.StatusCode != http.StatusBadGateway {
		t.Fatalf("status %d, want 502", response.StatusCode)
	}
	for _, event := range f.sink.takeEvents() {
		if number := strings.TrimPrefix(event.Type(), "com.mandrill.message.e"); len(number) > 1 || number > "5" {
			t.Errorf("event %s was sent after an earlier event of its message failed", number)
		}
	}
}

func TestHangingSinkTimesOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	document := f.document()
	document.Routes[0].Sink.URI = hanging.URL
	document.Routes[0].Delivery.Timeout = "PT0.05S"
	f.loadRoutes(t, document)
	start := time.Now()
	if response, _ := f.do(t, f.request(t, `[{"event":"open"}]`)); response.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d, want 502", response.StatusCode)
	}
	if took := time.Since(start); took >= 10*time.Second { // the default timeout
		t.Errorf("took %s with a timeout of 50 ms", took)
	}
}

func TestOneLogLinePerRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.log.Reset()
	f.do(t, f.request(t, `[{"event":"open"},{"event":"click"}]`))
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	if len(lines) != 1 {
		t.Fatalf("%d log lines:\n%s", len(lines), f.log)
	}
	for _, want := range []string{`"msg":"Answered a request"`, `"webhook":"shop/plain"`, `"outcome":"accepted"`, `"status":200`, `"events":2`, `"bytes":`, `"durationSeconds":`} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the log line lacks %s: %s", want, lines[0])
		}
	}
	f.assertNoSecrets(t)
}
