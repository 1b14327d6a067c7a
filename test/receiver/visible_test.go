package receiver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// reportServer is the operator's endpoint: it takes only what the form allows, with the token of the moment.
type reportServer struct {
	*httptest.Server
	t     *testing.T
	token string

	mu      sync.Mutex
	reports []reports.Report
}

func newReportServer(t *testing.T, token string) *reportServer {
	t.Helper()
	s := &reportServer{t: t, token: token}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *reportServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var report reports.Report
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, reports.MaxBytes))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&report)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != reports.Path || r.Header.Get("Authorization") != "Bearer "+s.token ||
		report.Version != reports.Version || report.Instance == "" || len(report.Webhooks) > reports.MaxWebhooks {
		s.t.Errorf("got %s %s, %v, %+v, %v", r.Method, r.URL, r.Header, report, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.reports); n > 0 && report.Sequence <= s.reports[n-1].Sequence {
		s.t.Errorf("sequence %d after %d", report.Sequence, s.reports[n-1].Sequence)
	}
	s.reports = append(s.reports, report)
	w.WriteHeader(http.StatusAccepted)
}

// last returns the last report, and what the last one that has a webhook says of it.
func (s *reportServer) last() (report reports.Report, webhook reports.Webhook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, report = range s.reports {
		if len(report.Webhooks) > 0 {
			webhook = report.Webhooks[0]
		}
	}
	return report, webhook
}

// status returns what /status says of the only webhook.
func (r *replica) status() (whole map[string]any, webhook map[string]any) {
	r.t.Helper()
	response, err := http.Get("http://" + r.health + "/status")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&whole); err != nil {
		r.t.Fatal(err)
	}
	webhooks, _ := whole["webhooks"].([]any)
	if len(webhooks) != 1 {
		r.t.Fatalf("/status has %v", whole)
	}
	return whole, webhooks[0].(map[string]any)
}

// metric returns the value of a series, and whether there is one.
func (r *replica) metric(series string) (value float64, found bool) {
	r.t.Helper()
	response, err := http.Get("http://" + r.health + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			_, err := fmt.Sscan(text, &value)
			return value, err == nil
		}
	}
	return 0, false
}

// lines returns the lines of the log with a message.
func (r *replica) lines(message string) (lines []map[string]any) {
	r.t.Helper()
	for line := range strings.Lines(r.log.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && (entry["msg"] == message || message == entry["level"]) {
			lines = append(lines, entry)
		}
	}
	return lines
}

// sendSigned posts a batch with any key to any path, and returns the status.
func (r *replica) sendSigned(path, key, batch string) int {
	r.t.Helper()
	request, err := mandrilltest.NewRequest(r.t.Context(), "http://"+r.address+path, hookURL, key, []byte(batch))
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := loopback.Client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// visible is a receiver with a sink and an operator.
type visible struct {
	*replica
	operator *reportServer
	answer   atomic.Int64 // of the sink
}

func newVisible(t *testing.T, args ...string) *visible {
	t.Helper()
	v := &visible{operator: newReportServer(t, "token-of-the-moment")}
	v.answer.Store(http.StatusAccepted)
	consumer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(v.answer.Load())) }))
	t.Cleanup(consumer.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("token-of-the-moment\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v.replica = &replica{t: t, address: freeAddress(t), health: freeAddress(t), env: []string{"POD_NAME=receiver-7"}}
	v.args = append([]string{
		"--listen", v.address, "--metrics-listen", v.health, "--shutdown-delay=0s", "--config", writeRoutes(t, consumer.URL),
		"--operator-url", v.operator.URL, "--report-token-file", token,
	}, args...)
	v.start()
	t.Cleanup(v.stop)
	return v
}

// batchOf returns a batch with one event of a message.
func batchOf(message string) string {
	return `[{"event":"open","_id":"` + message + `","ts":1767225600}]`
}

func (v *visible) send(message string) {
	v.t.Helper()
	if status := v.sendSigned("/hook", signingKey, batchOf(message)); status != http.StatusOK {
		v.t.Fatalf("status %d, want 200", status)
	}
}

const seriesOfX = `{webhook="shop/x"}`

// From a registration to a sink that fails, recovers and refuses: /status, the reports, the metrics and the log show each step.
func TestDeliveryIsVisible(t *testing.T) {
	t.Parallel()
	v := newVisible(t, "--buffer=embedded", "--buffer-dir", t.TempDir(), "--buffer-max-bytes=134217728")
	v.registersQuietly()
	v.showsDelivery()
	v.showsAFailingSink()
	v.showsTheRecovery()
	v.showsDeadLetters()
	v.showsBadSignatures()
	v.showsUnknownPaths()
	v.stop()
	if report, _ := v.operator.last(); !report.Stopping {
		t.Errorf("the last report is %+v, want one that says that the receiver stops", report)
	}
	if log := v.log.String(); strings.Contains(log, "token-of-the-moment") || strings.Contains(log, signingKey) || strings.Contains(log, "127.0.0.1:") &&
		!strings.Contains(log, `"listen":"127.0.0.1:`) {
		t.Errorf("the log has a token, a key or an address:\n%s", log)
	}
}

// registersQuietly does what happens at a registration: the URL is asked for, and Mandrill posts an empty batch.
func (v *visible) registersQuietly() {
	v.t.Helper()
	if head, post := v.head("/hook"), v.sendSigned("/hook", mandrill.TestKey, "[]"); head != http.StatusOK || post != http.StatusOK {
		v.t.Errorf("HEAD got %d, the empty batch %d, want 200", head, post)
	}
	warnings := slices.DeleteFunc(slices.Concat(v.lines("WARN"), v.lines("ERROR")), func(line map[string]any) bool {
		return line["msg"] == "NATS server" // says that the machine is slow
	})
	if len(warnings) > 0 {
		v.t.Errorf("a registration is logged as %v", warnings)
	}
	loaded, started := strings.Index(v.log.String(), `"Loaded routes"`), strings.Index(v.log.String(), `"Started"`)
	if loaded < 0 || started < loaded || !strings.Contains(strings.SplitN(v.log.String(), "\n", 2)[0], `"version":`) {
		v.t.Errorf("want the version, the routes and the start, in this order:\n%s", v.log)
	}
	if _, webhook := v.status(); webhook["lastReceivedAge"] != nil {
		v.t.Errorf("the empty batch counts as received: %v", webhook)
	}
	if failed, found := v.metric(`mandrill_receiver_failed_attempts_total{reason="status",webhook="shop/x"}`); failed != 0 || !found {
		v.t.Error("there is no series for failures before the first one")
	}
}

func (v *visible) showsDelivery() {
	v.t.Helper()
	v.send("fine")
	eventually(v.t, "the event is delivered, and the buffer is seen", func() bool {
		whole, webhook := v.status()
		buffer, _ := whole["buffer"].(map[string]any)
		return webhook["deliveredEvents"] == 1.0 && buffer["state"] == "Available" && len(v.lines("Delivered a batch")) > 0
	})
	whole, webhook := v.status()
	buffer, _ := whole["buffer"].(map[string]any)
	if webhook["receivedEvents"] != 1.0 || webhook["lastReceivedAt"] == nil || webhook["lastDeliveredAt"] == nil || whole["receiver"] != "receiver-7" ||
		whole["ready"] != true || buffer["state"] != "Available" || buffer["delivers"] != true || buffer["id"] == "" {
		v.t.Errorf("/status has %v", whole)
	}
	received, delivered := v.lines("Answered a request"), v.lines("Delivered a batch")
	if len(delivered) != 1 || delivered[0]["batch"] == nil || received[len(received)-1]["batch"] != delivered[0]["batch"] {
		v.t.Fatalf("no id joins %v and %v", received, delivered)
	}
	if seconds, ok := delivered[0]["ageSeconds"].(float64); !ok || seconds < 0 {
		v.t.Errorf("the age is %v", delivered[0]["ageSeconds"])
	}
	if count, _ := v.metric("mandrill_receiver_delivery_latency_seconds_count" + seriesOfX); count != 1 {
		v.t.Errorf("%g latencies, want 1", count)
	}
}

func (v *visible) showsAFailingSink() {
	v.t.Helper()
	v.answer.Store(http.StatusInternalServerError)
	begun := time.Now()
	v.send("late")
	eventually(v.t, "the operator hears of the failure", func() bool { _, webhook := v.operator.last(); return webhook.FailingFor != nil })
	if took := time.Since(begun); took > 20*time.Second {
		v.t.Errorf("the operator heard of it after %s, want less than an interval", took)
	}
	_, reported := v.operator.last()
	if reported.Name != "shop/x" || reported.Failure.Reason != reports.ReasonStatus || reported.Failure.Status != http.StatusInternalServerError || reported.WaitingEvents != 1 {
		v.t.Errorf("the report says %+v", reported)
	}
	eventually(v.t, "several attempts", func() bool {
		failed, _ := v.metric(`mandrill_receiver_failed_attempts_total{reason="status",webhook="shop/x"}`)
		return failed >= 2
	})
	_, webhook := v.status()
	failure, _ := webhook["failure"].(map[string]any)
	if webhook["waitingEvents"] != 1.0 || webhook["failingSince"] == nil || webhook["oldestWaitingAt"] == nil || failure["reason"] != "Status" || failure["status"] != 500.0 {
		v.t.Errorf("/status has %v", webhook)
	}
	if since, found := v.metric("mandrill_receiver_failing_since_timestamp_seconds" + seriesOfX); !found || since < float64(begun.Unix()-1) {
		v.t.Errorf("failing since %g, found %t", since, found)
	}
	if lines := v.lines("A sink started failing"); len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["webhook"] != "shop/x" || lines[0]["status"] != 500.0 {
		v.t.Errorf("the log has %v", lines)
	}
}

func (v *visible) showsTheRecovery() {
	v.t.Helper()
	v.answer.Store(http.StatusAccepted)
	eventually(v.t, "the operator hears of the recovery", func() bool {
		_, webhook := v.operator.last()
		return webhook.FailingFor == nil && webhook.Failure != nil
	})
	eventually(v.t, "nothing waits", func() bool {
		_, webhook := v.status()
		return webhook["waitingEvents"] == nil && webhook["deliveredEvents"] == 2.0
	})
	if _, found := v.metric("mandrill_receiver_failing_since_timestamp_seconds" + seriesOfX); found {
		v.t.Error("a sink that works has failed since")
	}
	lines := v.lines("A sink recovered")
	if len(lines) != 1 || lines[0]["level"] != "INFO" || lines[0]["failedAttempts"].(float64) < 2 || lines[0]["failingSeconds"].(float64) <= 0 {
		v.t.Errorf("the log has %v", lines)
	}
}

func (v *visible) showsDeadLetters() {
	v.t.Helper()
	v.answer.Store(http.StatusUnprocessableEntity)
	v.send("odd")
	eventually(v.t, "the operator hears of the dead letter", func() bool {
		_, webhook := v.operator.last()
		return webhook.DeadLetters == 1 && webhook.Failure.Reason == reports.ReasonRefused
	})
	if count, _ := v.metric(`mandrill_receiver_dead_lettered_total{reason="refused",webhook="shop/x"}`); count != 1 {
		v.t.Errorf("%g dead letters are counted, want 1", count)
	}
	if held, _ := v.metric("mandrill_receiver_dead_letters" + seriesOfX); held != 1 {
		v.t.Errorf("%g dead letters are held, want 1", held)
	}
}

func (v *visible) showsBadSignatures() {
	v.t.Helper()
	if status := v.sendSigned("/hook", "another-key", batchOf("forged")); status != http.StatusForbidden {
		v.t.Errorf("status %d, want 403", status)
	}
	eventually(v.t, "the operator hears of the signature", func() bool { _, webhook := v.operator.last(); return webhook.LastBadSignatureAge != nil })
}

func (v *visible) showsUnknownPaths() {
	v.t.Helper()
	for range 10 {
		v.sendSigned("/added/hook", signingKey, batchOf("lost"))
		v.sendSigned("/elsewhere?secret=signing-key", signingKey, batchOf("lost"))
	}
	near := v.lines("Refused a request whose path ends with that of a webhook; does a proxy add a prefix?")
	other := v.lines("Refused a POST to a path that no webhook has; was its webhook deleted, or does a proxy rewrite the path?")
	if len(near) != 1 || near[0]["requestPath"] != "/added/hook" || near[0]["webhook"] != "shop/x" || len(other) != 1 || other[0]["requestPath"] != "/elsewhere" || other[0]["level"] != "WARN" {
		v.t.Errorf("the log has %v and %v, want one warning of each with the path", near, other)
	}
}

// Without an operator /status shows the same, here in Direct mode. In Direct mode nothing waits.
func TestStatusOfAStandaloneReceiver(t *testing.T) {
	t.Parallel()
	var answer atomic.Int64
	answer.Store(http.StatusServiceUnavailable)
	consumer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(answer.Load())) }))
	t.Cleanup(consumer.Close)
	r := newReplica(t, "--config", writeRoutes(t, consumer.URL))
	if status := r.sendSigned("/hook", signingKey, batchOf("1")); status != http.StatusBadGateway {
		t.Errorf("status %d, want 502", status)
	}
	whole, webhook := r.status()
	failure, _ := webhook["failure"].(map[string]any)
	if failure["reason"] != "Status" || failure["status"] != 503.0 || webhook["failingSince"] == nil || webhook["receivedEvents"] != 1.0 || whole["buffer"] != nil || whole["reports"] != nil {
		t.Errorf("/status has %v", whole)
	}
	answer.Store(http.StatusOK)
	if status := r.sendSigned("/hook", signingKey, batchOf("1")); status != http.StatusOK {
		t.Errorf("status %d, want 200", status)
	}
	if _, webhook = r.status(); webhook["failingSince"] != nil || webhook["deliveredEvents"] != 1.0 {
		t.Errorf("/status has %v", webhook)
	}
	r.stop()
	if warnings := r.lines("A sink started failing"); len(warnings) != 1 || len(r.lines("A sink recovered")) != 1 {
		t.Errorf("the log does not say that the sink failed and recovered:\n%s", r.log)
	}
}

// An operator that hangs, refuses, is gone, answers garbage or is older changes nothing in the delivery, nor in the time of a stop.
func TestLostReportsChangeNoDelivery(t *testing.T) {
	t.Parallel()
	hanging := make(chan struct{})
	gone := "http://" + freeAddress(t)
	serve := func(do http.HandlerFunc) string {
		server := httptest.NewServer(do)
		t.Cleanup(server.Close)
		return server.URL
	}
	operators := map[string]string{
		"gone": gone,
		"hangs": serve(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hanging:
			case <-r.Context().Done():
			}
		}),
		"refuses": serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }),
		"older":   serve(http.NotFound),
		"garbage": serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 8<<20)) }),
	}
	t.Cleanup(func() { close(hanging) }) // before the servers are closed
	for name, url := range operators {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledger := &ledger{accepted: map[string]bool{}, arrived: map[string]int{}}
			consumer := httptest.NewServer(ledger)
			t.Cleanup(consumer.Close)
			r := newReplica(t, "--config", writeRoutes(t, consumer.URL), "--operator-url", url)
			for n := range 20 {
				if err := ledger.send(t.Context(), "http://"+r.address, fmt.Sprint(name, n)); err != nil {
					t.Errorf("a batch was refused: %v", err)
				}
			}
			eventually(t, "the reports are counted", func() bool {
				sent := 0.0
				for _, outcome := range []string{"accepted", "refused", "unsupported", "failed"} {
					value, _ := r.metric(`mandrill_receiver_reports_total{outcome="` + outcome + `"}`)
					sent += value
				}
				return sent > 0
			})
			begun := time.Now()
			r.stop()
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("the stop took %s", took)
			}
			ledger.mu.Lock()
			defer ledger.mu.Unlock()
			if len(ledger.arrived) != 100 {
				t.Errorf("%d events arrived, want 100", len(ledger.arrived))
			}
			if strings.Contains(r.log.String(), strings.TrimPrefix(url, "http://")) {
				t.Errorf("the log has the operator's address:\n%s", r.log)
			}
		})
	}
}
