package monitoring_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// faster is how many times faster than in production the alerts of the test are.
const faster = 60

var (
	durations = regexp.MustCompile(`\b(\d+)([mh])\b`)
	shorter   = map[string]string{"m": "s", "h": "m"}
)

// shortened returns the rules with all times divided by 60: durations (5m becomes 5s, and 6h becomes 6m), and thresholds, which are
// written as factors of 60 (10 * 60 becomes 10 * 1). Names, expressions and labels stay.
func shortened(rules string) string {
	lines := strings.Split(rules, "\n")
	inExpr := false
	for i, line := range lines {
		text := strings.TrimSpace(line)
		key, _, isKey := strings.Cut(text, ":")
		if isKey && slices.Contains([]string{"expr", "for", "- alert", "labels", "annotations", "description", "summary", "runbook_url"}, key) {
			inExpr = key == "expr" || key == "for"
		}
		if inExpr {
			line = durations.ReplaceAllStringFunc(line, func(duration string) string {
				unit := len(duration) - 1
				return duration[:unit] + shorter[duration[unit:]]
			})
			lines[i] = strings.Replace(line, "* 60", "* 1", 1)
		}
	}
	return strings.Join(lines, "\n")
}

// prometheus is a real one, which evaluates every second, and scrapes every other. A scrape takes long on a busy machine.
type prometheus struct {
	t     *testing.T
	url   string
	start time.Time
}

// startPrometheus starts a Prometheus with the shortened alerts that scrapes the programs at these addresses.
func startPrometheus(t *testing.T, operator, receiver string) *prometheus {
	t.Helper()
	program := script(t, "prometheus/build.sh")
	folder := t.TempDir()
	rules, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}
rule_files: [alerts.yaml]
scrape_configs:
- job_name: operator
  static_configs: [{targets: [%q], labels: {namespace: mandrill-operator-system, pod: mandrill-operator-0}}]
- job_name: receiver
  static_configs: [{targets: [%q], labels: {namespace: mandrill-operator-system, pod: mandrill-receiver-0}}]
`, operator, receiver)
	for name, text := range map[string]string{"alerts.yaml": shortened(string(rules)), "prometheus.yaml": config} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	runProgram(t, program, "--config.file", filepath.Join(folder, "prometheus.yaml"), "--storage.tsdb.path", filepath.Join(folder, "data"),
		"--web.listen-address", address, "--log.level", "warn")
	p := &prometheus{t: t, url: "http://" + address, start: time.Now()}
	eventually(t, "Prometheus has scraped both programs", func() error {
		up, err := p.query("sum(up)")
		if err != nil || len(up) != 1 || up[0].value() != "2" {
			return fmt.Errorf("got %v: %w", up, err)
		}
		return nil
	})
	return p
}

// sample is an element of the result of a query.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (s sample) value() string { return fmt.Sprint(s.Value[1]) }

// get asks the API and decodes its data.
func (p *prometheus) get(path string, parameters url.Values, data any) error {
	response, err := http.Get(p.url + path + "?" + parameters.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}

func (p *prometheus) query(expr string) ([]sample, error) {
	var data struct{ Result []sample }
	err := p.get("/api/v1/query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// series returns how many series an expression had since the start.
func (p *prometheus) series(expr string) (int, error) {
	var data struct{ Result []any }
	err := p.get("/api/v1/query_range", url.Values{
		"query": {expr}, "step": {"2"}, "start": {p.start.UTC().Format(time.RFC3339)}, "end": {time.Now().UTC().Format(time.RFC3339)},
	}, &data)
	return len(data.Result), err
}

// firing returns which alerts fire now, with the webhook that they are about.
func (p *prometheus) firing() ([]string, error) {
	return p.namesOf(`ALERTS{alertstate="firing"}`)
}

// everFired returns which alerts have fired since the start.
func (p *prometheus) everFired() ([]string, error) {
	return p.namesOf(`last_over_time(ALERTS{alertstate="firing"}[1h])`)
}

func (p *prometheus) namesOf(expr string) ([]string, error) {
	samples, err := p.query(expr)
	names := make([]string, 0, len(samples))
	for _, s := range samples {
		names = append(names, strings.TrimSpace(s.Metric["alertname"]+" "+s.Metric["webhook"]))
	}
	slices.Sort(names)
	return names, err
}

// await waits until exactly these alerts fire.
func (p *prometheus) await(want ...string) {
	p.t.Helper()
	began := time.Now()
	eventually(p.t, fmt.Sprintf("the alerts that fire are %q", want), func() error {
		got, err := p.firing()
		if err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("those that fire are %q: %w\n%s", got, err, p.causes())
		}
		return nil
	})
	p.t.Logf("after %s the alerts that fire are %q", time.Since(began).Round(time.Second), want)
}

// causes returns what decides about alerts whose end depends on several metrics, for the message of a test that fails.
func (p *prometheus) causes() string {
	var text strings.Builder
	for _, expr := range []string{
		"up", "vector(time())", "mandrill_receiver_last_bad_signature_timestamp_seconds", "mandrill_receiver_last_received_timestamp_seconds",
		`mandrill_receiver_requests_total > 0`, "mandrill_operator_webhook_condition == 0",
	} {
		samples, err := p.query(expr)
		fmt.Fprintf(&text, "%s: %v %v\n", expr, samples, err)
	}
	return text.String()
}

// process is a program that runs until it is stopped, or until the test ends.
type process struct {
	t        *testing.T
	command  *exec.Cmd
	log      strings.Builder
	stopping atomic.Bool
	ended    chan struct{} // closed when it has ended
	err      error         // of its end
}

func runProgram(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, command: exec.Command(path, args...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = &p.log, &p.log
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		// Nothing starts a program again here: alerts that it would end go on, and its end is why.
		if p.err = p.command.Wait(); !p.stopping.Load() {
			t.Errorf("%s ended by itself: %v", filepath.Base(path), p.err)
		}
	}()
	t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	if p.stopping.Swap(true) {
		return // it was stopped
	}
	_ = p.command.Process.Signal(os.Interrupt)
	<-p.ended
	if name := filepath.Base(p.command.Path); p.t.Failed() {
		p.t.Logf("%s ended (%v) with the log\n%s", name, p.err, p.log.String())
	} else if p.err != nil {
		p.t.Errorf("%s: %v\n%s", name, p.err, p.log.String())
	}
}

// patience is far above what a machine without a free processor needs.
const patience = 4 * time.Minute

func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	poll.NoError(t, patience, what, condition)
}

// The shortened rules differ from the real ones in times only.
func TestShortenedRulesDifferInTimesOnly(t *testing.T) {
	t.Parallel()
	const rules = `
  # after 5m, 10 * 60
  - alert: A
    expr: time() - min by (webhook) (m) > 5 * 60 and increase(n[15m]) > 0 unless n offset 6h
    for: 1m
    annotations:
      summary: in 5m
  - alert: B
    expr: |
      m > 7 * 24 * 60 * 60
      or last_over_time(m[6h])
    labels: {severity: critical}
`
	const want = `
  # after 5m, 10 * 60
  - alert: A
    expr: time() - min by (webhook) (m) > 5 * 1 and increase(n[15s]) > 0 unless n offset 6m
    for: 1s
    annotations:
      summary: in 5m
  - alert: B
    expr: |
      m > 7 * 24 * 1 * 60
      or last_over_time(m[6m])
    labels: {severity: critical}
`
	if got := shortened(rules); got != want {
		t.Errorf("got\n%s", got)
	}
	if faster != 60 {
		t.Error("durations and thresholds are shortened by another factor than intervals")
	}
}
