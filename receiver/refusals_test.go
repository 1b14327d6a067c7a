package receiver_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// mustNotRead is a body that fails the test when it is read.
type mustNotRead struct{ t *testing.T }

func (u mustNotRead) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestBadRequestsAreRefused(t *testing.T) {
	t.Parallel()
	const batch = `[{"event":"open","_id":"s3ntinel-payload","msg":{"email":"s3ntinel@shop.example"}}]`
	big := `["` + strings.Repeat("a", maxBody) + `"]`
	for _, test := range []struct {
		name    string
		status  int
		body    string
		request func(*testing.T, *fixture) *http.Request
	}{
		{"unknown path", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/other", plainURL, signingKey, batch)
		}},
		{"path with a trailing slash", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop/", plainURL, signingKey, batch)
		}},
		{"path with an escape", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/sho%70", plainURL, signingKey, batch)
		}},
		{"path in capitals", 404, "no_route", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/Mandrill/shop", plainURL, signingKey, batch)
		}},
		{"PUT", 405, "method", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Method = http.MethodPut
			return request
		}},
		{"too large", 413, "too_large", func(t *testing.T, f *fixture) *http.Request { return f.request(t, big) }},
		{"too large, chunked", 413, "too_large", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, big)
			request.ContentLength = -1
			request.Body = io.NopCloser(io.MultiReader(request.Body)) // hides the length
			request.GetBody = nil
			return request
		}},
		{"not a form", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Set("Content-Type", "application/json")
			return request
		}},
		{"no content type", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Del("Content-Type")
			return request
		}},
		{"content encoding", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Set("Content-Encoding", "gzip")
			return request
		}},
		{"bad escape", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.requestWithBody(t, "mandrill_events=%5") }},
		{"repeated field", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request {
			return f.requestWithBody(t, "mandrill_events=[]&mandrill_events=[]")
		}},
		{"no field", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.requestWithBody(t, "events=[]") }},
		{"empty body", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.requestWithBody(t, "") }},
		{"not an array", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.request(t, `{"event":"open"}`) }},
		{"array cut short", 400, "unreadable", func(t *testing.T, f *fixture) *http.Request { return f.request(t, batch[:len(batch)-1]) }},
		{"unsigned", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.request(t, batch)
			request.Header.Del(mandrill.SignatureHeader)
			return request
		}},
		{"wrong key", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL, "forged", batch)
		}},
		{"signed for another URL", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL+"/", signingKey, batch)
		}},
		{"another batch", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestWithBody(t, "mandrill_events=[1]")
			request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(signingKey, plainURL, mandrill.Form{{Name: mandrill.EventsField, Value: []byte("[2]")}}))
			return request
		}},
		{"an added field", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestWithBody(t, "mandrill_events=[1]&x=1")
			request.Header.Set(mandrill.SignatureHeader, mandrill.Sign(signingKey, plainURL, mandrill.Form{{Name: mandrill.EventsField, Value: []byte("[1]")}}))
			return request
		}},
		{"a batch with the test key", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, batch)
		}},
		{"a batch with the test key and no key yet", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/keyless", keylessURL, mandrill.TestKey, batch)
		}},
		{"empty value with the test key", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, "")
		}},
		{"without the secret parts", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/guarded", guardedURL, signingKey, batch)
		}},
		{"without the password", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestTo(t, "/guarded?secret=s3ntinel-token&v=2", guardedURL, signingKey, batch)
			request.SetBasicAuth("robot", "other")
			return request
		}},
		{"without the parameter", 403, "signature", func(t *testing.T, f *fixture) *http.Request {
			request := f.requestTo(t, "/guarded?secret=other&v=2", guardedURL, signingKey, batch)
			request.SetBasicAuth("robot", "s3ntinel!pass")
			return request
		}},
		{"no key yet", 503, "not_ready", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/keyless", keylessURL, signingKey, batch)
		}},
		{"suspended", 503, "not_ready", func(t *testing.T, f *fixture) *http.Request {
			return f.requestTo(t, "/suspended", suspendedURL, signingKey, batch)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			response, body := f.do(t, test.request(t, f))
			if response.StatusCode != test.status || body != test.body+"\n" {
				t.Errorf("got %d %q, want %d %q", response.StatusCode, body, test.status, test.body)
			}
			if test.status == http.StatusMethodNotAllowed && response.Header.Get("Allow") != "GET, HEAD, POST" {
				t.Errorf("Allow is %q", response.Header.Get("Allow"))
			}
			if got := f.sink.takeEvents(); len(got) != 0 {
				t.Errorf("%d events were delivered", len(got))
			}
			f.assertOutcome(t, test.body)
			f.assertNoSecrets(t)
		})
	}
}

func TestSomeRequestsAreRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, test := range []struct {
		path, contentType string
		want              int
	}{
		{"/nowhere", formType, http.StatusNotFound},
		{"/suspended", formType, http.StatusServiceUnavailable},
		{"/mandrill/shop", "application/json", http.StatusBadRequest},
		{"/mandrill/shop", "/", http.StatusBadRequest},
		{"/mandrill/shop", "", http.StatusBadRequest},
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.path, mustNotRead{t})
		request.Header.Set(mandrill.SignatureHeader, "x")
		request.Header.Set("Content-Type", test.contentType)
		response := httptest.NewRecorder()
		f.Config.Handler.ServeHTTP(response, request)
		if response.Code != test.want {
			t.Errorf("%s, %q: status %d, want %d", test.path, test.contentType, response.Code, test.want)
		}
	}
}

// A receiver that has just started does not know its paths yet: a 404 would be wrong.
func TestRequestsAreRefusedUntilRoutesAreLoaded(t *testing.T) {
	t.Parallel()
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	table := &routing.Routes{Logger: slog.New(slog.DiscardHandler), Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	handler := receiver.NewHandler(receiver.Options{Routes: table, Metrics: metrics, Logger: slog.New(slog.DiscardHandler)})
	status := func() int {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequest(http.MethodPost, "/mandrill/shop", strings.NewReader("")))
		return response.Code
	}
	if got := status(); got != http.StatusServiceUnavailable {
		t.Errorf("before routes are loaded: status %d, want 503", got)
	}
	if err := table.Load("routes", []byte("routes: []")); err != nil {
		t.Fatal(err)
	}
	table.Complete()
	if got := status(); got != http.StatusNotFound {
		t.Errorf("after routes are loaded: status %d, want 404", got)
	}
}
