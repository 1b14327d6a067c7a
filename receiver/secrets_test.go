package receiver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// secretsFixture is a receiver whose log, metrics and spans are searched for the sentinel, which is in keys, secret parts of URLs,
// payloads, addresses and tokens.
type secretsFixture struct {
	*fixture
	handler *receiver.Handler
	spans   *tracetest.InMemoryExporter
	traces  *sdktrace.TracerProvider
}

func newSecretsFixture(t *testing.T, client *sink.Client) *secretsFixture {
	t.Helper()
	s := &secretsFixture{fixture: newFixture(t), spans: tracetest.NewInMemoryExporter()}
	s.traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(s.spans))
	s.handler = s.newHandler(receiver.Options{Sender: sink.NewSender(sink.Options{Poster: client})})
	s.URL = "http://" + serve(t, &receiver.Server{Handler: s.handler, Logger: s.routes.Logger})
	return s
}

// newHandler returns another handler for the same routes.
func (s *secretsFixture) newHandler(options receiver.Options) *receiver.Handler {
	options.Routes, options.Metrics, options.Logger, options.Tracer = s.routes, s.metrics, s.routes.Logger, s.traces
	options.MaxBodyBytes = maxBody
	return receiver.NewHandler(options)
}

const secretBatch = `[{"event":"s3ntinel","_id":"s3ntinel","ts":1,"msg":{"email":"s3ntinel@s3ntinel.example","subject":"s3ntinel","tags":["s3ntinel"],"template":"s3ntinel"}},` +
	`{"event":"open","_id":"1"},{"type":"denylist","action":"s3ntinel","reject":{"email":"s3ntinel@shop.example"}},"s3ntinel",{"s3ntinel":}]`

// addresses of clients and sinks must not be logged either.
var addresses = regexp.MustCompile(`127\.0\.0\.|localhost|\[::`)

func (s *secretsFixture) assertNoLeaks(t *testing.T) {
	t.Helper()
	s.assertNoSecrets(t)
	spans, err := json.Marshal(s.spans.GetSpans())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(spans), "s3ntinel") || addresses.Match(spans) {
		t.Errorf("the spans hold a secret, a payload or an address:\n%s", spans)
	}
	if log := s.log.String(); addresses.MatchString(log) {
		t.Errorf("the log holds an address:\n%s", log)
	}
}

// outcomes returns the outcomes that were counted.
func (s *secretsFixture) outcomes(t *testing.T) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(counterByLabel(t, s.registry, "mandrill_receiver_requests_total", "outcome")))
}

// Requests of every outcome: nothing of them gets into the log, the metrics or the spans.
func TestRequestsLeakNoSecrets(t *testing.T) {
	t.Parallel()
	s := newSecretsFixture(t, &sink.Client{})
	signed := func() *http.Request { return s.request(t, secretBatch) }
	with := func(change func(*http.Request)) *http.Request {
		request := signed()
		change(request)
		return request
	}
	requests := []*http.Request{
		signed(),
		s.request(t, "[]"),
		s.bareRequest(t, http.MethodHead, "/mandrill/shop?s3ntinel"),
		s.bareRequest(t, http.MethodGet, "/s3ntinel"),
		s.requestTo(t, "/nowhere?s3ntinel", plainURL, signingKey, secretBatch),
		with(func(r *http.Request) { r.Method = "S3NTINEL" }),
		s.request(t, `["`+strings.Repeat("s3ntinel", maxBody/8)+`"]`),
		with(func(r *http.Request) { r.Header.Set("Content-Type", "s3ntinel/s3ntinel; s3ntinel; s3ntinel") }),
		with(func(r *http.Request) { r.Header.Set("Content-Type", "s3ntinel/s3ntinel") }),
		with(func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=s3ntinel") }),
		with(func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data") }),
		with(func(r *http.Request) { r.Header.Set("Content-Encoding", "s3ntinel") }),
		s.multipart(t, "--s3ntinel\r\nContent-Disposition: form-data; name=\"s3ntinel\"\r\n\r\ns3ntinel"),
		s.multipart(t, "--s3ntinel\r\ns3ntinel-a, s3ntinel-b\r\n\r\ns3ntinel\r\n--s3ntinel--"),
		s.multipart(t, "--s3ntinel\r\nContent-Disposition: form-data; name=\"s3ntinel\"; filename=\"s3ntinel\"\r\n\r\ns3ntinel\r\n--s3ntinel--"),
		s.requestWithBody(t, "s3ntinel=%s3ntinel"),
		s.requestWithBody(t, "s3ntinel=1&s3ntinel=2"),
		s.requestWithBody(t, "s3ntinel=1"),
		s.requestWithBody(t, strings.Repeat("s3ntinel&", 10_000)),
		s.request(t, `{"s3ntinel": 1}`),
		s.request(t, `s3ntinel`),
		s.request(t, `["s3ntinel"`),
		s.request(t, `["s3ntinel"] s3ntinel`),
		s.requestTo(t, "/mandrill/shop", plainURL, "s3ntinel", secretBatch),
		with(func(r *http.Request) { r.Header.Del(mandrill.SignatureHeader) }),
		s.requestTo(t, "/mandrill/shop", plainURL, mandrill.TestKey, secretBatch),
		s.requestTo(t, "/guarded?secret=s3ntinel", guardedURL, signingKey, secretBatch),
		s.requestTo(t, "/keyless", keylessURL, signingKey, secretBatch),
		s.requestTo(t, "/suspended", suspendedURL, signingKey, secretBatch),
	}
	for _, request := range requests {
		request.Header.Set("Traceparent", foreignParent)
		request.Header.Set("Tracestate", "s3ntinel=s3ntinel")
		request.Header.Set("Baggage", "s3ntinel=s3ntinel")
		request.Header.Set("User-Agent", "s3ntinel")
		request.Header.Set("X-Forwarded-For", "127.0.0.9")
		s.do(t, request)
	}
	busy := s.newHandler(receiver.Options{Sender: sink.NewSender(sink.Options{Poster: &sink.Client{}}), MaxInflightBytes: 1})
	busy.ServeHTTP(httptest.NewRecorder(), signed())
	for _, err := range []error{journal.ErrFull, journal.ErrUnavailable} {
		handler := s.newHandler(receiver.Options{Sender: sink.NewSender(sink.Options{Poster: &sink.Client{}}), Buffer: failingBuffer{err}})
		handler.ServeHTTP(httptest.NewRecorder(), signed())
	}
	s.handler.AnswerError(httptest.NewRecorder(), signed(), errors.New("an internal error"))
	s.sendAborted(t)
	want := receiver.Outcomes()
	want = slices.DeleteFunc(want, func(outcome string) bool { return outcome == "sink_refused" }) // tested with every kind of sink below
	slices.Sort(want)
	eventually(func() bool { return len(s.outcomes(t)) >= len(want) }) // the receiver has to notice the aborted request
	if diff := cmp.Diff(want, s.outcomes(t)); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	s.assertNoLeaks(t)
}

// failingBuffer is a buffer that stores nothing.
type failingBuffer struct{ err error }

func (u failingBuffer) Append(context.Context, journal.Batch) (bool, error) { return false, u.err }

// multipart returns a request whose body has the boundary "s3ntinel".
func (s *secretsFixture) multipart(t *testing.T, body string) *http.Request {
	t.Helper()
	request := s.requestWithBody(t, body)
	request.Header.Set("Content-Type", "multipart/form-data; boundary=s3ntinel")
	return request
}

// sendAborted sends half a request, and text that is not a request.
func (s *secretsFixture) sendAborted(t *testing.T) {
	t.Helper()
	for _, text := range []string{
		"POST /mandrill/shop HTTP/1.1\r\nHost: s3ntinel\r\nContent-Length: 1000\r\nX-Mandrill-Signature: s3ntinel\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\ns3ntinel",
		"s3ntinel\r\n\r\n", "GET http://s3ntinel%zz HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ns3ntinel, s3ntinel-a s3ntinel-b",
	} {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(connection, text); err != nil {
			t.Error(err)
		}
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	}
}

// newSinkAnswering starts a sink that answers with a status, and with the sentinel in headers and body.
func newSinkAnswering(t *testing.T, status int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/s3ntinel")
		w.Header().Set("X-S3ntinel", "s3ntinel")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "s3ntinel")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// newSinkDoing starts a sink that reads once from each connection and then does something other than answering.
func newSinkDoing(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 64<<10))
			do(connection)
			_ = connection.Close()
		}
	}()
	return "http://" + listener.Addr().String()
}

// failingSinks returns a sink for every kind of failure, by what the log says about it.
func (s *secretsFixture) failingSinks(t *testing.T) map[string]routes.Sink {
	t.Helper()
	down, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	fine := newSinkAnswering(t, http.StatusAccepted)
	hanging := make(chan struct{})
	t.Cleanup(func() { close(hanging) })
	targets := map[string]routes.Sink{
		"connection refused":       {URI: "http://" + down},
		"not trusted":              {URI: secure.URL},
		"not spoken there":         {URI: strings.Replace(newSinkDoing(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 s3ntinel\r\n\r\n") }), "http:", "https:", 1)},
		"timeout":                  {URI: newSinkDoing(t, func(net.Conn) { <-hanging })},
		"connection closed":        {URI: newSinkDoing(t, func(net.Conn) {})},
		"no usable answer":         {URI: newSinkDoing(t, func(c net.Conn) { _, _ = io.WriteString(c, "s3ntinel\r\n\r\n") })},
		"resolves to this machine": {URI: strings.Replace(fine, "127.0.0.1", "127.0.0.2", 1)},
		"no token for":             {URI: fine, Audience: "s3ntinel"},
		"cannot be read":           {URI: fine, Audience: "s3ntinel-missing"},
		"is empty":                 {URI: fine, Audience: "s3ntinel-empty"},
		"proxy's address":          {URI: "http://proxied.example"},
	}
	for _, status := range []int{301, 400, 404, 429, 500, 503} {
		targets[fmt.Sprintf("status %d", status)] = routes.Sink{URI: newSinkAnswering(t, status)}
	}
	for reason, target := range targets {
		target.URI = strings.Replace(target.URI, "://", "://robot:s3ntinel@", 1) + "/s3ntinel?s3ntinel=s3ntinel"
		targets[reason] = target
	}
	return targets
}

// Sinks that fail in every way: nothing of their address, token and answer gets into the log, the metrics or the spans.
func TestSinksLeakNoSecrets(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	empty := filepath.Join(folder, "s3ntinel-empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSecretsFixture(t, &sink.Client{
		Refuse: func(ip netip.Addr) bool { return ip != netip.MustParseAddr("127.0.0.1") },
		Tokens: &sink.Tokens{Files: map[string]string{"s3ntinel-missing": filepath.Join(folder, "s3ntinel"), "s3ntinel-empty": empty}},
		Proxy: func(r *http.Request) (*url.URL, error) {
			if r.URL.Hostname() == "proxied.example" {
				return nil, errors.New("s3ntinel")
			}
			return nil, nil
		},
	})
	sinks := s.failingSinks(t)
	var document routes.Document
	reasons := slices.Sorted(maps.Keys(sinks))
	for i, reason := range reasons {
		route := routes.Route{
			Name: fmt.Sprintf("shop/%d", i), URL: fmt.Sprintf("https://robot:s3ntinel@hooks.example.com/%d", i), Keys: []string{signingKey},
			Source: "/s3ntinel", Sink: sinks[reason], CEOverrides: routes.Overrides{Extensions: map[string]string{"s3ntinel": "s3ntinel"}},
		}
		if reason == "timeout" {
			route.Delivery.Timeout = "PT0.05S"
		}
		document.Routes = append(document.Routes, route)
	}
	s.loadRoutes(t, &document)
	for i, reason := range reasons {
		request := s.requestTo(t, fmt.Sprintf("/%d", i), document.Routes[i].URL, signingKey, secretBatch)
		request.SetBasicAuth("robot", "s3ntinel")
		before := len(s.log.String())
		if response, _ := s.do(t, request); response.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: status %d", reason, response.StatusCode)
		}
		if line := s.log.String()[before:]; !strings.Contains(line, reason) {
			t.Errorf("the log lacks %q: %s", reason, line)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	request := s.requestTo(t, "/0", document.Routes[0].URL, signingKey, secretBatch).WithContext(ended)
	request.SetBasicAuth("robot", "s3ntinel")
	s.handler.ServeHTTP(httptest.NewRecorder(), request)
	s.assertNoLeaks(t)
}

// A refused document may hold keys and URLs: the error names the field, never the value.
func TestBadDocumentsLeakNoSecrets(t *testing.T) {
	t.Parallel()
	s := newSecretsFixture(t, &sink.Client{})
	for _, document := range []string{
		"s3ntinel", "routes: [{url: *s3ntinel}]", "routes: [{keys: s3ntinel}]", "routes: [{sink: {'http://s3ntinel:x@y': 1}}]", "routes: [{url: !!int s3ntinel}]",
		"routes: [{? {s3ntinel: 1} : x}]", "routes: [{name: a, url: 'https://s3ntinel:%zz@s3ntinel', keys: [s3ntinel, s3ntinel: x]}]",
		"routes: [{name: a, url: s3ntinel, keys: [''], source: 's3n tinel', sink: {uri: s3ntinel, CACerts: s3ntinel}, ceOverrides: {extensions: {S3: s3ntinel}}}]",
	} {
		if err := s.routes.Load("routes", []byte(document)); err == nil || strings.Contains(err.Error(), "s3ntinel") {
			t.Errorf("%s: got error %v, want one without values", document, err)
		}
	}
	s.assertNoLeaks(t)
}
