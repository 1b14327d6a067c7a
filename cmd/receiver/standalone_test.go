package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/programs"
)

// patience is how long a test waits, far longer than any step takes on a busy machine.
const patience = 3 * time.Minute

// program is a receiver in a process of its own.
type program struct {
	*exec.Cmd
	mu    sync.Mutex
	log   strings.Builder
	lines chan map[string]any
}

// built is the path of the binary, which is built once.
var built = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "receiver")
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, "receiver"), programs.Build(folder, "receiver")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := built(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// start runs the receiver with this environment only.
func start(t *testing.T, environment []string, args ...string) *program {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatalf("building: %v", err)
	}
	args = append([]string{"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--log-level=debug", "--shutdown-delay=0s"}, args...)
	p := &program{Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), binary, args...), lines: make(chan map[string]any, 1000)}
	p.Env = environment
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			p.mu.Lock()
			p.log.WriteString(scanner.Text() + "\n")
			p.mu.Unlock()
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				p.lines <- line
			}
		}
	}()
	return p
}

func (p *program) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// await reads the log up to a message.
func (p *program) await(t *testing.T, message string) map[string]any {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				t.Fatalf("the receiver ended before it logged %q:\n%s", message, p.logged())
			}
			if line["msg"] == message {
				return line
			}
		case <-deadline:
			t.Fatalf("the receiver did not log %q:\n%s", message, p.logged())
		}
	}
}

// awaitBoth reads the log up to two messages that come in any order, and returns the line of the first one.
func (p *program) awaitBoth(t *testing.T, first, second string) map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for found[first] == nil || found[second] == nil {
		select {
		case line, open := <-p.lines:
			if !open {
				t.Fatalf("the receiver ended before it logged %q and %q:\n%s", first, second, p.logged())
			}
			if message, _ := line["msg"].(string); message == first || message == second {
				found[message] = line
			}
		case <-time.After(patience):
			t.Fatalf("the receiver did not log %q and %q:\n%s", first, second, p.logged())
		}
	}
	return found[first]
}

// stop sends SIGTERM and waits for the process to end.
func (p *program) stop(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range p.lines { // to the end
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, p.logged())
	}
}

// newConsumer starts a sink. Its requests arrive in the channel.
func newConsumer(t *testing.T) (url string, arrived chan http.Header) {
	t.Helper()
	arrived = make(chan http.Header, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- r.Header
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/s3ntinel", arrived
}

// subscribe adds a webhook to the emulated Mandrill, as in the web interface, and returns its key.
func subscribe(t *testing.T, emulator *mandrilltest.Server, url string) string {
	t.Helper()
	api := httptest.NewServer(emulator)
	defer api.Close()
	body, err := json.Marshal(map[string]any{"key": "test-key", "url": url, "description": "", "events": []string{"send", "open"}})
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(api.URL+"/api/1.0/webhooks/add.json", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var added mandrill.Webhook
	if err := json.NewDecoder(response.Body).Decode(&added); err != nil || added.AuthKey == "" {
		t.Fatalf("status %d, error %v", response.StatusCode, err)
	}
	return added.AuthKey
}

// The receiver starts before there is a webhook, answers Mandrill's probe, and reloads the key and the URL when their files
// change.
func TestStandalone(t *testing.T) {
	t.Parallel()
	sink, arrived := newConsumer(t)
	folder := t.TempDir()
	urlFile, keyFile := filepath.Join(folder, "url"), filepath.Join(folder, "key")
	write(t, urlFile, "https://hooks.example.com/hook?secret=s3ntinel\n")
	p := start(t, []string{
		"MANDRILL_WEBHOOK_URL_FILE=" + urlFile, "MANDRILL_SIGNING_KEY_FILE=" + keyFile,
		"K_SINK=" + sink, `K_CE_OVERRIDES={"extensions":{"env":"test"}}`, "MANDRILL_CE_SOURCE=/mail",
	})
	if first := <-p.lines; first["msg"] != "Starting" || first["version"] == "" || first["commit"] == "" {
		t.Errorf("the first log line is %v", first)
	}
	p.await(t, "Loaded routes")
	address, _ := p.await(t, "Started")["listen"].(string) // not before there is a configuration
	url := "http://" + address + "/hook?secret=s3ntinel"
	write(t, urlFile, url)
	p.await(t, "Loaded routes")

	deliveries := make(chan mandrilltest.Delivery, 10)
	emulator := mandrilltest.New(mandrilltest.Options{
		BatchInterval: time.Hour, RetryInterval: time.Hour, OnDelivery: func(d mandrilltest.Delivery) { deliveries <- d },
	})
	defer emulator.Close()
	write(t, keyFile, subscribe(t, emulator, url)+"\n")
	p.await(t, "Loaded routes")
	if _, err := emulator.Account("test-key").Emit("send", "open"); err != nil {
		t.Fatal(err)
	}
	if err := emulator.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if delivery := <-deliveries; delivery.Status != http.StatusOK {
		t.Errorf("status %d, error %v:\n%s", delivery.Status, delivery.Err, p.logged())
	}
	types := map[string]int{}
	for range 2 {
		header := <-arrived
		types[header.Get("Ce-Type")]++
		if header.Get("Ce-Source") != "/mail" || header.Get("Ce-Env") != "test" || header.Get("Traceparent") != "" || header.Get("Ce-Traceparent") != "" {
			t.Errorf("the event has the headers %v", header)
		}
	}
	if diff := cmp.Diff(map[string]int{"com.mandrill.message.send": 1, "com.mandrill.message.open": 1}, types); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	p.stop(t)
	key, err := os.ReadFile(keyFile)
	if log := p.logged(); err != nil || strings.Contains(log, sentinel) || strings.Contains(log, strings.TrimSpace(string(key))) {
		t.Errorf("the log has a secret:\n%s", log)
	}
}

// A faulty environment ends the process with advice on what to write.
func TestStandaloneRefuses(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"MANDRILL_WEBHOOK_URL=s3ntinel", "MANDRILL_SIGNING_KEY=s3ntinel"})
	for range p.lines { // to the end
	}
	if err := p.Wait(); err == nil || p.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want status 1", err)
	}
	log := p.logged()
	for _, want := range []string{"MANDRILL_WEBHOOK_URL must be an absolute http or https URL", "K_SINK must be an absolute http or https URL"} {
		if !strings.Contains(log, want) {
			t.Errorf("it does not say %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, sentinel) {
		t.Errorf("it shows a value:\n%s", log)
	}
}
