package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/cmd/receiver/tracing"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

func TestTracesWanted(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://s3ntinel:4318"
	for _, test := range []struct {
		variables string
		want      bool
		warning   string
	}{
		{"", false, ""},
		{"OTEL_SERVICE_NAME=s3ntinel OTEL_TRACES_SAMPLER=always_on", false, ""},
		{endpoint, true, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://s3ntinel:4318/v1/traces", true, ""},
		{"OTEL_TRACES_EXPORTER=otlp", true, ""},
		{endpoint + " OTEL_TRACES_EXPORTER=none", false, ""},
		{endpoint + " OTEL_SDK_DISABLED=TRUE", false, ""},
		{endpoint + " OTEL_SDK_DISABLED=false", true, ""},
		{endpoint + " OTEL_TRACES_EXPORTER=s3ntinel", true, "OTEL_TRACES_EXPORTER"},
		{"OTEL_TRACES_EXPORTER=s3ntinel", false, "OTEL_TRACES_EXPORTER"},
		{endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc", true, "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{endpoint + " OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", true, ""},
	} {
		set := map[string]string{}
		for pair := range strings.FieldsSeq(test.variables) {
			name, value, _ := strings.Cut(pair, "=")
			set[name] = value
		}
		var log bytes.Buffer
		got := tracing.Wanted(func(name string) string { return set[name] }, slog.New(slog.NewTextHandler(&log, nil)))
		if got != test.want || !strings.Contains(log.String(), test.warning) || (log.Len() > 0) != (test.warning != "") || strings.Contains(log.String(), sentinel) {
			t.Errorf("%s: got %t, want %t; log %q, want %q", test.variables, got, test.want, log.String(), test.warning)
		}
	}
}

// collector records the exported spans.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []byte
	header http.Header
}

func newCollector(t *testing.T, status int) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spans, c.header = append(c.spans, body...), r.Header
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "s3ntinel")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) got() (string, http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.spans), c.header
}

const secretBatch = `[{"event":"open","_id":"s3ntinel","msg":{"email":"s3ntinel@shop.example"}}]`

// startTraced runs the receiver with an environment full of sentinels and posts a batch to it.
func startTraced(t *testing.T, environment ...string) (*program, http.Header) {
	t.Helper()
	sink, arrived := newConsumer(t)
	const url = "https://robot:s3ntinel@hooks.example.com/hook?secret=s3ntinel"
	p := start(t, append(environment,
		"MANDRILL_WEBHOOK_URL="+url, "MANDRILL_SIGNING_KEY=s3ntinel-key", "K_SINK="+strings.Replace(sink, "://", "://robot:s3ntinel@", 1),
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=s3ntinel", "OTEL_BSP_SCHEDULE_DELAY=20",
	), "--pprof-listen=:0")
	profiles, _ := p.await(t, "Serving profiles")["pprofListen"].(string)
	if !strings.HasPrefix(profiles, "127.0.0.1:") {
		t.Errorf("profiles are served at %s, want this machine alone", profiles)
	}
	response, err := http.Get("http://" + profiles + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	missing, err := http.Get("http://" + profiles + "/debug/pprof/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	_ = missing.Body.Close()
	if response.StatusCode != http.StatusOK || missing.StatusCode != http.StatusNotFound {
		t.Errorf("goroutine %d, cmdline %d, want 200 and 404", response.StatusCode, missing.StatusCode)
	}
	p.await(t, "Loaded routes")
	address, _ := p.await(t, "Started")["listen"].(string)
	request, err := mandrilltest.NewRequest(t.Context(), "http://"+address+"/hook?secret=s3ntinel", url, "s3ntinel-key", []byte(secretBatch))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("robot", sentinel)
	answer, err := loopback.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("status %d:\n%s", answer.StatusCode, p.logged())
	}
	return p, <-arrived
}

// A receiver with the standard variables exports its spans, the last ones when it stops, without secrets.
func TestTracesAreSent(t *testing.T) {
	t.Parallel()
	c := newCollector(t, http.StatusOK)
	p, header := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_SERVICE_NAME=shop-mail")
	p.stop(t)
	spans, sent := c.got()
	parts := strings.Split(header.Get("Traceparent"), "-")
	if len(parts) != 4 || header.Get("Ce-Traceparent") != header.Get("Traceparent") {
		t.Fatalf("the consumer got the headers %v, want a traceparent", header)
	}
	id, err := hex.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"shop-mail", "receive batch", "send com.mandrill.message.open", "environment", string(id)} {
		if !strings.Contains(spans, want) {
			t.Errorf("the spans have no %q", want)
		}
	}
	if sent.Get("Authorization") != sentinel {
		t.Error("the header of OTEL_EXPORTER_OTLP_HEADERS was not sent")
	}
	if strings.Contains(spans, sentinel) || strings.Contains(spans, "127.0.0.1") || strings.Contains(p.logged(), sentinel) {
		t.Errorf("spans or log have a secret:\n%q\n%s", spans, p.logged())
	}
}

// Failures of the exporter are logged without addresses and answers of the collector, and do no harm.
func TestFailingTracesDoNoHarm(t *testing.T) {
	t.Parallel()
	down := newCollector(t, http.StatusOK)
	down.Close()
	for _, test := range []struct{ endpoint, variables, message, want string }{
		{newCollector(t, http.StatusUnauthorized).URL, "OTEL_TRACES_SAMPLER=always_on", "Could not export traces", "the collector answered with status 401"},
		{down.URL, "OTEL_EXPORTER_OTLP_TIMEOUT=1000", "Could not export traces", "connection refused"},
		{down.URL, "OTEL_TRACES_SAMPLER=s3ntinel", "Could not export traces", "unknown: check the OTEL_ variables and the collector"},
		{"http://robot:s3ntinel%zz@x", "OTEL_EXPORTER_OTLP_TRACES_HEADERS=s3ntinel=%zz", "Could not read a variable of OpenTelemetry, its default is used", ""},
		{down.URL, "OTEL_RESOURCE_ATTRIBUTES=s3ntinel", "Ignored a variable of OpenTelemetry", ""},
	} {
		p, _ := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+test.endpoint, test.variables)
		if test.message == "Could not export traces" && test.variables == "OTEL_TRACES_SAMPLER=always_on" {
			p.await(t, test.message)
		}
		p.stop(t)
		log := p.logged()
		pattern := regexp.MustCompile(`"msg":"` + test.message + `"[^\n]*` + test.want)
		if !pattern.MatchString(log) {
			t.Errorf("%s: the log does not say %q, %q:\n%s", test.variables, test.message, test.want, log)
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, sentinel) || strings.Contains(line, "127.0.0.1") && !strings.Contains(line, `Listen":`) {
				t.Errorf("%s: the log has a secret or an address: %s", test.variables, line)
			}
		}
	}
}
