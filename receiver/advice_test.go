package receiver_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// adviceFixture is a handler with a clock, and a log of warnings.
type adviceFixture struct {
	handler http.Handler
	now     atomic.Int64 // minutes
	log     *logbuffer.Buffer
}

func newAdviceFixture(t *testing.T, document *routes.Document) *adviceFixture {
	t.Helper()
	f := newFixture(t)
	f.loadRoutes(t, document)
	a := &adviceFixture{log: &logbuffer.Buffer{}}
	a.handler = receiver.NewHandler(receiver.Options{
		Routes: f.routes, Metrics: f.metrics, Logger: slog.New(slog.NewJSONHandler(a.log, nil)), MaxBodyBytes: maxBody,
		Now: func() time.Time { return time.Unix(60*a.now.Load(), 0) },
	})
	return a
}

// warnings sends a request and returns the new lines of the log that are advice.
func (a *adviceFixture) warnings(t *testing.T, request *http.Request) []map[string]any {
	t.Helper()
	before := len(a.log.String())
	a.handler.ServeHTTP(httptest.NewRecorder(), request)
	var advice []map[string]any
	for line := range strings.Lines(a.log.String()[before:]) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if message, _ := entry["msg"].(string); strings.HasPrefix(message, "Refused") {
			advice = append(advice, entry)
		}
	}
	return advice
}

var advisedRoutes = &routes.Document{Routes: []routes.Route{
	{Name: "shop/deep", URL: "https://a.example/hooks/Shop/deep?secret=s3ntinel", Source: "/s", Sink: routes.Sink{URI: "http://x.example"}},
	{Name: "shop/user", URL: "https://robot:s3ntinel@a.example/user", Source: "/s", Sink: routes.Sink{URI: "http://x.example"}},
}}

// What a proxy in front did to a request is logged with the question that leads to the remedy. Of a POST the path is shown, never
// the query.
func TestProxiesThatChangeRequestsAreSuspected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, target   string
		signed           bool
		user, password   string
		want, path, hook string
	}{
		{method: "HEAD", target: "/shop/deep", want: "strip the prefix", path: "/shop/deep", hook: "shop/deep"},
		{method: "POST", target: "/Shop/deep?secret=s3ntinel", signed: true, want: "strip the prefix", path: "/shop/deep", hook: "shop/deep"},
		{method: "POST", target: "/deep/?x=s3ntinel", want: "strip the prefix", path: "/deep", hook: "shop/deep"},
		{method: "POST", target: "/added/hooks/Shop/deep?x=s3ntinel", want: "add a prefix", path: "/hooks/shop/deep", hook: "shop/deep"},
		{method: "GET", target: "/hooks/Shop/deep/", want: "capitals, escapes or slashes", path: "/hooks/shop/deep", hook: "shop/deep"},
		{method: "GET", target: "/hooks//shop/d%65ep", want: "capitals, escapes or slashes", path: "/hooks/shop/deep", hook: "shop/deep"},
		{method: "POST", target: "/?secret=s3ntinel", signed: true, want: "rewrite all paths to /"},
		{method: "GET", target: "/"},
		{method: "GET", target: "/other"},
		{method: "HEAD", target: "/other"},
		{method: "POST", target: "/", want: "unsigned POST to a path that no webhook has"},
		{method: "POST", target: "/other?secret=s3ntinel", want: "unsigned POST to a path that no webhook has"},
		{method: "POST", target: "/other?secret=s3ntinel", signed: true, want: "POST to a path that no webhook has"},
		{method: "POST", target: "/hooks/shop/deep/other", signed: true, want: "POST to a path that no webhook has"},
		{method: "POST", target: "/hooks", signed: true, want: "POST to a path that no webhook has"},
		{method: "POST", target: "/" + strings.Repeat("other/", 500) + "shop/deep", signed: true, want: "POST to a path that no webhook has"},
		{method: "POST", target: "/hooks/Shop/deep", signed: true, want: "without the query of the URL", hook: "shop/deep"},
		{method: "POST", target: "/hooks/Shop/deep?secret=other", signed: true, want: "without the query of the URL", hook: "shop/deep"},
		{method: "POST", target: "/hooks/Shop/deep"},
		{method: "POST", target: "/user", signed: true, want: "without the Authorization header", hook: "shop/user"},
		{method: "POST", target: "/user", signed: true, user: "robot", password: "s3ntinel-other", want: "Authorization header is not the userinfo", hook: "shop/user"},
		{method: "POST", target: "/user"},
		{method: "HEAD", target: "/user"},
	} {
		a := newAdviceFixture(t, advisedRoutes)
		request := httptest.NewRequestWithContext(t.Context(), test.method, test.target, nil)
		if test.signed {
			request.Header.Set(mandrill.SignatureHeader, "s3ntinel")
		}
		if test.user != "" {
			request.SetBasicAuth(test.user, test.password)
		}
		advice := a.warnings(t, request)
		if strings.Contains(a.log.String(), "s3ntinel") {
			t.Errorf("%s %s: the log has what may be secret:\n%s", test.method, test.target, a.log)
		}
		if test.want == "" {
			if len(advice) > 0 {
				t.Errorf("%s %s: got %v, want no advice", test.method, test.target, advice)
			}
			continue
		}
		if len(advice) != 1 {
			t.Errorf("%s %s: got %v, want advice with %q", test.method, test.target, advice, test.want)
			continue
		}
		path, _ := advice[0]["path"].(string)
		webhook, _ := advice[0]["webhook"].(string)
		message, _ := advice[0]["msg"].(string)
		requestPath, _ := advice[0]["requestPath"].(string)
		if whole, _, _ := strings.Cut(test.target, "?"); test.method == "POST" && !strings.HasPrefix(message, "Refused a signed request w") {
			if shown := strings.TrimSuffix(requestPath, "..."); shown == "" || !strings.HasPrefix(whole, shown) || len(whole) <= 200 && shown != whole || len(shown) > 200 {
				t.Errorf("%s %s: the path %q is shown", test.method, test.target, requestPath)
			}
		}
		if !strings.Contains(message, test.want) || path != test.path || webhook != test.hook || advice[0]["level"] != "WARN" {
			t.Errorf("%s %s: got %v, want %q with path %q and webhook %q", test.method, test.target, advice[0], test.want, test.path, test.hook)
		}
	}
}

// A proxy changes every request, and anybody can send requests: each advice is logged at growing pauses, with their number.
func TestAdviceIsRateLimited(t *testing.T) {
	t.Parallel()
	a := newAdviceFixture(t, advisedRoutes)
	var at []int64
	total := 0
	for minute := range int64(24 * 60) {
		a.now.Store(minute)
		for range 3 {
			for _, line := range a.warnings(t, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/shop/deep", nil)) {
				at = append(at, minute)
				requests, _ := line["requests"].(float64)
				total += int(requests)
			}
		}
	}
	if diff := cmp.Diff([]int64{0, 1, 3, 7, 15, 31, 63, 123, 183}, at[:9]); diff != "" || len(at) > 32 {
		t.Errorf("logged %d times a day (-want +got):\n%s", len(at), diff)
	}
	if last := at[len(at)-1]; total != int(3*last+1) {
		t.Errorf("the lines count %d requests until minute %d, want 3 each and the one that was logged", total, last)
	}
}

// A proxy may take a part of the path away if the route says at which path its requests arrive. The signature is over the URL.
func TestRouteMayHaveAPathOfItsOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	document := f.document()
	document.Routes[0].Path = "/rewritten"
	f.loadRoutes(t, document)
	for path, want := range map[string]int{"/rewritten": http.StatusOK, "/mandrill/shop": http.StatusNotFound} {
		if response, body := f.do(t, f.requestTo(t, path, plainURL, signingKey, `[{"event":"open"}]`)); response.StatusCode != want {
			t.Errorf("%s: %d %q", path, response.StatusCode, body)
		}
	}
	if response, _ := f.do(t, f.requestTo(t, "/rewritten", "https://hooks.example.com/rewritten", signingKey, `[{"event":"open"}]`)); response.StatusCode != http.StatusForbidden {
		t.Errorf("a signature over the rewritten URL got %d", response.StatusCode)
	}
}
