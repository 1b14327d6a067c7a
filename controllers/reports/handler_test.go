package reports

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// endpoint is a handler whose tokens are the names of pods.
type endpoint struct {
	*Handler
	metrics *Metrics

	mu    sync.Mutex
	now   time.Time
	taken []form.Report
	fault error
}

func (e *endpoint) Reporter(_ context.Context, token string) (Reporter, error) {
	if !strings.HasPrefix(token, "pod-") {
		return Reporter{}, errUnauthenticated
	}
	return Reporter{"system", "mandrill-receiver", token}, nil
}

func (e *endpoint) Take(_ Reporter, report *form.Report) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.taken = append(e.taken, *report)
	return e.fault
}

func newEndpoint(elected bool) *endpoint {
	e := &endpoint{now: start, metrics: NewMetrics(prometheus.NewRegistry())}
	leader := make(chan struct{})
	if elected {
		close(leader)
	}
	e.Handler = NewHandler(Options{Elected: leader, Reviews: e, Taker: e, Metrics: e.metrics, Now: func() time.Time {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.now
	}})
	return e
}

func (e *endpoint) post(t *testing.T, token string, body io.Reader) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, form.Path, body)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response := httptest.NewRecorder()
	e.ServeHTTP(response, request)
	return response
}

const head = `"version":1,"receiver":"r-0","instance":"a","sequence":1`

func TestReportsAreTakenOrRefused(t *testing.T) {
	t.Parallel()
	many := `{` + head + `,"webhooks":[` + strings.Repeat(`{},`, form.MaxWebhooks) + `{}]}`
	for name, test := range map[string]struct {
		token, body string
		status      int
		outcome     string
	}{
		"a report":              {"pod-0", `{` + head + `,"webhooks":[{"name":"shop/x"}]}`, 202, "accepted"},
		"no webhooks":           {"pod-0", `{` + head + `}`, 202, "accepted"},
		"null webhooks":         {"pod-0", `{` + head + `,"webhooks":null}`, 202, "accepted"},
		"fields of the future":  {"pod-0", `{` + head + `,"weather":{"rain":[1,2]},"webhooks":[{"name":"shop/x","weather":1}]}`, 202, "accepted"},
		"the most webhooks":     {"pod-0", `{` + head + `,"webhooks":[` + strings.Repeat(`{},`, form.MaxWebhooks-1) + `{}]}`, 202, "accepted"},
		"no token":              {"", `{` + head + `}`, 401, "unauthenticated"},
		"a wrong token":         {"thief", `{` + head + `}`, 401, "unauthenticated"},
		"a token without end":   {"pod-" + strings.Repeat("x", maxToken), `{` + head + `}`, 401, "unauthenticated"},
		"no JSON":               {"pod-0", `shop`, 400, "malformed"},
		"nothing":               {"pod-0", ``, 400, "malformed"},
		"a cut report":          {"pod-0", `{` + head, 400, "malformed"},
		"two reports":           {"pod-0", `{` + head + `}{` + head + `}`, 400, "malformed"},
		"another type":          {"pod-0", `[]`, 400, "malformed"},
		"webhooks that are one": {"pod-0", `{` + head + `,"webhooks":{"name":"shop/x"}}`, 400, "malformed"},
		"a wrong webhook":       {"pod-0", `{` + head + `,"webhooks":[{"name":1}]}`, 400, "malformed"},
		"NaN":                   {"pod-0", `{` + head + `,"webhooks":[{"name":"shop/x","lastReceivedAge":NaN}]}`, 400, "malformed"},
		"an age that overflows": {"pod-0", `{` + head + `,"webhooks":[{"name":"shop/x","lastReceivedAge":1e999}]}`, 400, "malformed"},
		"no version":            {"pod-0", `{"receiver":"r-0","instance":"a"}`, 400, "malformed"},
		"a newer version":       {"pod-0", `{"version":2,"receiver":"r-0","instance":"a"}`, 400, "version"},
		"no receiver":           {"pod-0", `{"version":1,"instance":"a"}`, 400, "malformed"},
		"a name with a line":    {"pod-0", `{"version":1,"receiver":"r\n0","instance":"a"}`, 400, "malformed"},
		"a long name":           {"pod-0", `{"version":1,"receiver":"` + strings.Repeat("r", 254) + `","instance":"a"}`, 400, "malformed"},
		"a long instance":       {"pod-0", `{"version":1,"receiver":"r-0","instance":"` + strings.Repeat("r", 129) + `"}`, 400, "malformed"},
		"a buffer without ID":   {"pod-0", `{` + head + `,"buffer":{"usedBytes":1}}`, 400, "malformed"},
		"a negative buffer":     {"pod-0", `{` + head + `,"buffer":{"id":"b","usedBytes":-1}}`, 400, "malformed"},
		"too many webhooks":     {"pod-0", many, 413, "too_large"},
		"too many bytes":        {"pod-0", `{` + head + `,"x":"` + strings.Repeat("x", form.MaxBytes) + `"}`, 413, "too_large"},
		"endless":               {"pod-0", `{` + head + `,"webhooks":[` + strings.Repeat(`{"name":"`+strings.Repeat("x", 1000)+`"},`, 2000), 413, "too_large"},
	} {
		e := newEndpoint(true)
		response := e.post(t, test.token, strings.NewReader(test.body))
		if response.Code != test.status {
			t.Errorf("%s: status %d, want %d: %s", name, response.Code, test.status, response.Body)
		}
		if got := testutil.ToFloat64(e.metrics.reports.WithLabelValues(test.outcome)); got != 1 {
			t.Errorf("%s: %s was counted %v times", name, test.outcome, got)
		}
		if taken := len(e.taken); (taken == 1) != (test.status == http.StatusAccepted) {
			t.Errorf("%s: %d reports were taken", name, taken)
		}
		if strings.Contains(response.Body.String(), "shop") {
			t.Errorf("%s: the answer quotes the report: %s", name, response.Body)
		}
	}
}

func TestOnlyTheLeaderTakesReports(t *testing.T) {
	t.Parallel()
	e := newEndpoint(false)
	response := e.post(t, "pod-0", strings.NewReader(`{`+head+`}`))
	if response.Code != http.StatusServiceUnavailable || response.Header().Get("Connection") != "close" || len(e.taken) != 0 {
		t.Errorf("status %d, headers %v, %d taken", response.Code, response.Header(), len(e.taken))
	}
}

func TestReportsHaveOnePath(t *testing.T) {
	t.Parallel()
	e := newEndpoint(true)
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, form.Path, http.StatusMethodNotAllowed},
		{http.MethodPost, "/", http.StatusNotFound},
		{http.MethodPost, "/signature-hints", http.StatusNotFound},
		{http.MethodPost, form.Path + "/x", http.StatusNotFound},
	} {
		response := httptest.NewRecorder()
		e.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), test.method, test.path, strings.NewReader("{}")))
		if response.Code != test.want {
			t.Errorf("%s %s: status %d, want %d", test.method, test.path, response.Code, test.want)
		}
	}
}

// A report that came late is not repeated by the receiver.
func TestOutOfOrderIsNoError(t *testing.T) {
	t.Parallel()
	e := newEndpoint(true)
	e.fault = fmt.Errorf("late: %w", ErrOutOfOrder)
	if response := e.post(t, "pod-0", strings.NewReader(`{`+head+`}`)); response.Code != http.StatusAccepted {
		t.Errorf("status %d", response.Code)
	}
	if got := testutil.ToFloat64(e.metrics.reports.WithLabelValues("out_of_order")); got != 1 {
		t.Errorf("counted %v times", got)
	}
}

// Of 10,000 reports in a second, 60 are read, and other receivers notice nothing.
func TestReportsAreLimitedPerReceiver(t *testing.T) {
	t.Parallel()
	e := newEndpoint(true)
	codes := map[int]int{}
	for range 10000 {
		codes[e.post(t, "pod-0", strings.NewReader(`{`+head+`}`)).Code]++
	}
	if codes[http.StatusAccepted] != reportsBurst || codes[http.StatusTooManyRequests] != 10000-reportsBurst {
		t.Errorf("answers: %v", codes)
	}
	refused := e.post(t, "pod-0", strings.NewReader(`{`+head+`}`))
	if refused.Header().Get("Retry-After") == "" {
		t.Error("the refusal does not say when to try again")
	}
	if response := e.post(t, "pod-1", strings.NewReader(`{`+head+`}`)); response.Code != http.StatusAccepted {
		t.Errorf("another receiver gets %d", response.Code)
	}
	e.now = e.now.Add(time.Second)
	if response := e.post(t, "pod-0", strings.NewReader(`{`+head+`}`)); response.Code != http.StatusAccepted {
		t.Errorf("a second later: %d", response.Code)
	}
}

// blocked is a body that does not come.
type blocked struct{ begun, released chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	b.begun <- struct{}{}
	<-b.released
	return 0, io.EOF
}

func TestSlowReportsHoldNoOtherReceiver(t *testing.T) {
	t.Parallel()
	e := newEndpoint(true)
	body := blocked{make(chan struct{}, 100), make(chan struct{})}
	var slow sync.WaitGroup
	for range maxConcurrent {
		slow.Go(func() { e.post(t, "pod-0", body) })
	}
	for range maxConcurrent {
		<-body.begun
	}
	if response := e.post(t, "pod-0", strings.NewReader(`{`+head+`}`)); response.Code != http.StatusTooManyRequests {
		t.Errorf("a fifth report at a time: %d", response.Code)
	}
	if response := e.post(t, "pod-1", strings.NewReader(`{`+head+`}`)); response.Code != http.StatusAccepted {
		t.Errorf("another receiver gets %d", response.Code)
	}
	close(body.released)
	slow.Wait()
}

func TestBodiesAreBoundedTogether(t *testing.T) {
	t.Parallel()
	e := newEndpoint(true)
	body := blocked{make(chan struct{}, 100), make(chan struct{})}
	var slow sync.WaitGroup
	for i := range maxBodies {
		slow.Go(func() { e.post(t, fmt.Sprint("pod-", i), body) })
	}
	for range maxBodies {
		<-body.begun
	}
	if response := e.post(t, "pod-more", strings.NewReader(`{`+head+`}`)); response.Code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", response.Code)
	}
	close(body.released)
	slow.Wait()
}

func TestImpossibleWebhooksAreInvalid(t *testing.T) {
	t.Parallel()
	age := func(value float64) *float64 { return &value }
	for name, test := range map[string]struct {
		webhook form.Webhook
		want    bool
	}{
		"nothing":           {form.Webhook{}, true},
		"a day":             {form.Webhook{LastReceivedAge: age(86400), FailingFor: age(0)}, true},
		"negative":          {form.Webhook{LastReceivedAge: age(-1)}, false},
		"a century":         {form.Webhook{OldestWaitingAge: age(3e9)}, false},
		"more than a day":   {form.Webhook{LastDeliveredAge: age(1e300)}, false},
		"negative waiting":  {form.Webhook{WaitingEvents: -1}, false},
		"negative letters":  {form.Webhook{DeadLetters: -1}, false},
		"negative losses":   {form.Webhook{LostMessages: -1}, false},
		"negative failing":  {form.Webhook{FailingFor: age(-0.1)}, false},
		"a failure":         {form.Webhook{Failure: &form.Failure{Reason: "x", Status: 500, Age: 1}}, true},
		"a negative status": {form.Webhook{Failure: &form.Failure{Status: -1}}, false},
		"a large status":    {form.Webhook{Failure: &form.Failure{Status: 1000}}, false},
		"an old failure":    {form.Webhook{Failure: &form.Failure{Age: 1e12}}, false},
	} {
		if got := Valid(&test.webhook); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// A megabyte of empty webhooks must not become a hundred. It does not run beside other tests, whose memory would count.
func TestEmptyWebhooksTakeLittleMemory(t *testing.T) {
	body := `{` + head + `,"webhooks":[` + strings.Repeat(`{},`, 340000) + `{}]}`
	allocated := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			if _, err := decode(bytes.NewReader([]byte(body))); !errors.Is(err, errTooLarge) {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 8*form.MaxBytes {
		t.Errorf("%d bytes were allocated for %d", allocated, len(body))
	}
}
