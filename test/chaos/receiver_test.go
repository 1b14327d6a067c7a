package chaos_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/programs"
)

var long = flag.Bool("long", false, "inject many more faults, which takes some 20 minutes")

var keepDir = flag.String("keep", "", "directory for the logs and buffers of the receivers of failed tests")

// shortOrLong returns a number for make test-system, or the one for make chaos, which sets -long.
func shortOrLong(shortRun, longRun int) int {
	if *long {
		return longRun
	}
	return shortRun
}

// awaitTimeout is far above what waits take, about a second, for slow machines.
const awaitTimeout = 2 * time.Minute

var buildDir string

var buildReceiver = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "receiver")
	if err != nil {
		return "", err
	}
	buildDir = dir
	return filepath.Join(dir, "receiver"), programs.Build(dir, "receiver")
})

func TestMain(m *testing.M) {
	if address := os.Getenv(natsAddressVariable); address != "" {
		if err := serveNATS(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	code := m.Run()
	_ = os.RemoveAll(buildDir) // a no-op if nothing was built
	printResults(os.Stdout)
	os.Exit(code)
}

// results are the rows of the table that is printed at the end.
var results struct {
	sync.Mutex
	rows []string
}

// addResult adds a row: the fault, and what was observed, separated by a bar.
func addResult(format string, args ...any) {
	results.Lock()
	defer results.Unlock()
	results.rows = append(results.rows, fmt.Sprintf(format, args...))
}

func printResults(out io.Writer) {
	if len(results.rows) > 0 && (*long || testing.Verbose()) {
		fmt.Fprintf(out, "| fault | observed |\n|---|---|\n| %s |\n", strings.Join(results.rows, " |\n| "))
	}
}

// receiver is a process that is stopped and started again at the same addresses.
type receiver struct {
	t               *testing.T
	address, health string
	dir             string   // of the buffer
	socketDir       string   // of the admin socket, for this process; default: dir
	launcher        []string // command prefix
	transport       *http.Transport
	args            []string
	process         *exec.Cmd
	exited          chan struct{}
	exitExpected    bool         // that the process exits by itself is a part of the test
	mayExit         *atomic.Bool // it is, or the test ends it; of this process
	logFile         string       // file
}

// freeAddress returns an address to listen at later, or again.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// newReceiver prepares a receiver with its own buffer, and does not start it.
func newReceiver(t *testing.T, config string, args ...string) *receiver {
	t.Helper()
	dir := t.TempDir()
	r := &receiver{
		t: t, address: freeAddress(t), health: freeAddress(t), dir: filepath.Join(dir, "buffer"), logFile: filepath.Join(dir, "log"),
		transport: &http.Transport{MaxIdleConnsPerHost: 16},
	}
	r.args = append([]string{"--config", config, "--buffer", "embedded", "--buffer-dir", r.dir}, args...)
	t.Cleanup(r.cleanUp)
	return r
}

// start starts the process, and does not wait until it is ready.
func (r *receiver) start() {
	r.t.Helper()
	program, err := buildReceiver()
	if err != nil {
		r.t.Fatal(err)
	}
	log, err := os.OpenFile(r.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	command := slices.Concat(r.launcher, []string{program, "--listen", r.address, "--metrics-listen", r.health, "--shutdown-delay=0s"}, r.args)
	r.process = exec.Command(command[0], command[1:]...)
	r.process.Stderr = log
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // even if the test is killed
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.exited = make(chan struct{})
	r.mayExit = &atomic.Bool{}
	r.mayExit.Store(r.exitExpected)
	go func(process *exec.Cmd, exited chan struct{}, mayExit *atomic.Bool) {
		defer close(exited)
		if _ = process.Wait(); !mayExit.Load() {
			r.t.Errorf("the receiver at %s exited by itself: %s", r.address, process.ProcessState)
		}
	}(r.process, r.exited, r.mayExit)
}

// startAndWait starts the process and waits until it is ready.
func (r *receiver) startAndWait() {
	r.t.Helper()
	r.start()
	r.await("the receiver is ready", r.ready)
}

// kill kills the process with SIGKILL.
func (r *receiver) kill() {
	r.end(syscall.SIGKILL)
	r.awaitExit("after SIGKILL")
}

// end sends a signal that ends the process.
func (r *receiver) end(signal os.Signal) {
	r.mayExit.Store(true)
	_ = r.process.Process.Signal(signal)
}

func (r *receiver) awaitExit(what string) (ended bool) {
	r.t.Helper()
	select {
	case <-r.exited:
		return true
	case <-time.After(awaitTimeout):
		r.t.Errorf("the receiver did not exit %s", what)
		return false
	}
}

// stop terminates the process as a kubelet does.
func (r *receiver) stop() {
	r.t.Helper()
	r.end(syscall.SIGTERM)
	if !r.awaitExit("after SIGTERM") {
		r.kill()
	}
}

func (r *receiver) cleanUp() {
	if r.process != nil {
		r.kill()
	}
	r.transport.CloseIdleConnections()
	if !r.t.Failed() {
		return
	}
	if *keepDir != "" {
		r.copyFiles()
	}
	log, _ := os.ReadFile(r.logFile)
	var lines []string
	for line := range strings.Lines(string(log)) {
		if !strings.Contains(line, `"Answered a request"`) && !strings.Contains(line, `"Delivered a batch"`) {
			lines = append(lines, line)
		}
	}
	r.t.Logf("the end of the receiver's log, without requests:\n%s", strings.Join(lines[max(0, len(lines)-40):], ""))
}

// client returns a client with a timeout for each request.
func (r *receiver) client(limit time.Duration) *http.Client {
	return &http.Client{Timeout: limit, Transport: r.transport}
}

// copyFiles copies the receiver's files to -keep. There may be a socket among them, which os.CopyFS refuses.
func (r *receiver) copyFiles() {
	dir := filepath.Join(*keepDir, r.t.Name(), r.address)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.t.Error(err)
	}
	if output, err := exec.Command("cp", "-a", filepath.Dir(r.logFile)+"/.", dir).CombinedOutput(); err != nil {
		r.t.Errorf("copying a receiver's files: %v: %s", err, output)
	}
}

func (r *receiver) ready() bool { return r.answersOK("/readyz") }

// answersOK reports whether a path of the health port answers with 200.
func (r *receiver) answersOK(path string) bool {
	response, err := r.client(5 * time.Second).Get("http://" + r.health + path)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// metric returns the sum of a metric's series that have some labels, each as in webhook="shop/w0".
func (r *receiver) metric(name string, labels ...string) (sum float64) {
	response, err := r.client(5 * time.Second).Get("http://" + r.health + "/metrics")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if slices.ContainsFunc(labels, func(label string) bool { return !strings.Contains(key, label) }) {
			continue
		}
		if base, _, _ := strings.Cut(key, "{"); base == name {
			number, _ := strconv.ParseFloat(value, 64)
			sum += number
		}
	}
	return sum
}

// admin makes a request to the admin socket, and decodes the answer.
func (r *receiver) admin(method, path, body string, answer any) {
	r.t.Helper()
	client := &http.Client{Timeout: awaitTimeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(cmp.Or(r.socketDir, r.dir), "admin.sock"))
	}}}
	request, err := http.NewRequestWithContext(r.t.Context(), method, "http://receiver"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil || response.StatusCode != http.StatusOK {
		r.t.Fatalf("%s %s: status %d, %v", method, path, response.StatusCode, err)
	}
}

// deadLetter is a dead letter in a list.
type deadLetter struct {
	Webhook, ID, Reason string
	Events              int
}

// deadLetters returns all dead letters of a webhook, or of all.
func (r *receiver) deadLetters(webhook string) (letters []deadLetter) {
	r.t.Helper()
	for after := 0; ; {
		var page struct {
			DeadLetters []deadLetter
			Next        int
		}
		r.admin(http.MethodGet, fmt.Sprintf("/dead-letters?webhook=%s&after=%d", webhook, after), "", &page)
		letters = append(letters, page.DeadLetters...)
		if after = page.Next; after == 0 {
			return letters
		}
	}
}

// await polls a condition that nothing signals, and returns how long it took.
func (r *receiver) await(what string, condition func() bool) time.Duration {
	r.t.Helper()
	begin := time.Now()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(awaitTimeout); !condition(); {
		select {
		case <-deadline:
			r.t.Fatalf("timed out waiting: %s", what)
		case <-ticker.C:
		}
	}
	return time.Since(begin)
}

// elapse lets time pass that is a part of a fault or of the load: the latency of a sink, a random moment, the interval of a sender.
// It must not stand for a condition: use await.
func elapse(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// logCounts counts the log lines of some levels, by message.
func (r *receiver) logCounts(levels ...string) map[string]int {
	r.t.Helper()
	data, err := os.ReadFile(r.logFile)
	if err != nil {
		r.t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range bytes.Lines(data) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) != nil {
			counts["not JSON"]++
			continue
		}
		for _, level := range levels {
			if entry.Level == level {
				counts[entry.Msg]++
			}
		}
	}
	return counts
}

// countInLog counts the log lines that contain a text.
func (r *receiver) countInLog(text string) int {
	r.t.Helper()
	data, err := os.ReadFile(r.logFile)
	if err != nil {
		r.t.Fatal(err)
	}
	return bytes.Count(data, []byte(text))
}

// writeRoutes writes a routes document with one webhook for each sink.
func writeRoutes(t *testing.T, delivery string, sinks ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	document := []byte("routes:\n")
	for i, sink := range sinks {
		document = fmt.Appendf(document, "- {name: shop/w%d, url: %q, keys: [%q], source: /x, sink: {uri: %q}, delivery: {%s}}\n", i, hookURL(i), signingKey, sink, delivery)
	}
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
