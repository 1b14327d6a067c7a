// Package receiver_test runs the receiver as it is deployed: as processes of the program.
package receiver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const (
	hookURL    = "https://hooks.example.com/hook"
	signingKey = "signing-key"
	// awaitTimeout is far above what any wait here takes on a busy machine.
	awaitTimeout = 2 * time.Minute
)

// buildReceiver builds the program once.
var buildReceiver = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "receiver-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "receiver")
	output, err := exec.Command("go", "build", "-o", path, "../../cmd/receiver").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := buildReceiver(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// receiverProcess is a receiver that is stopped and started again at the same addresses.
type receiverProcess struct {
	t               *testing.T
	args            []string
	address, health string
	process         *exec.Cmd
	log             *bytes.Buffer
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func newReceiverProcess(t *testing.T, args ...string) *receiverProcess {
	t.Helper()
	r := &receiverProcess{t: t, address: freeAddress(t), health: freeAddress(t)}
	r.args = append([]string{"--listen", r.address, "--metrics-listen", r.health}, args...)
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *receiverProcess) start() {
	r.t.Helper()
	program, err := buildReceiver()
	if err != nil {
		r.t.Fatal(err)
	}
	r.log = &bytes.Buffer{}
	r.process = exec.Command(program, r.args...)
	r.process.Stderr = r.log
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the receiver is ready", r.ready)
}

// stop ends the process as a kubelet does, and asserts that it exits with 0.
func (r *receiverProcess) stop() {
	r.t.Helper()
	if r.process == nil {
		return
	}
	_ = r.process.Process.Signal(syscall.SIGTERM)
	if err := r.process.Wait(); err != nil {
		r.t.Errorf("the receiver ended with %v:\n%s", err, r.log)
	}
	r.process = nil
}

func (r *receiverProcess) ready() bool {
	response, err := http.Get("http://" + r.health + "/readyz")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(awaitTimeout); !condition(); {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-ticker.C:
		}
	}
}

// ledger records the events that the receivers accepted and the events that arrived at the sink.
type ledger struct {
	mu       sync.Mutex
	accepted map[string]bool
	arrived  map[string]int
}

func (l *ledger) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrived[string(data)]++
}

// writeRoutes writes a document with one route to a sink.
func writeRoutes(t *testing.T, sink string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	document := fmt.Sprintf("routes: [{name: shop/x, url: %q, keys: [%q], source: /x, sink: {uri: %q}}]", hookURL, signingKey, sink)
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// balancer sends requests to the replicas whose readiness probe succeeded last time, as load balancers do.
type balancer struct {
	replicas []*receiverProcess
	turn     atomic.Int64
	ready    []atomic.Bool
}

const probeInterval = 50 * time.Millisecond

func (b *balancer) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for i, replica := range b.replicas {
			b.ready[i].Store(replica.ready())
		}
		select {
		case <-ctx.Done():
		case <-time.After(probeInterval):
		}
	}
}

func (b *balancer) rewrite(request *httputil.ProxyRequest) {
	first := int(b.turn.Add(1))
	for offset := range b.replicas {
		i := (first + offset) % len(b.replicas)
		if b.ready[i].Load() {
			request.SetURL(&url.URL{Scheme: "http", Host: b.replicas[i].address})
			return
		}
	}
}

// Two receivers behind a load balancer are restarted one after the other under constant load. No batch is refused, no event is lost.
func TestRollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	events := &ledger{accepted: map[string]bool{}, arrived: map[string]int{}}
	consumer := httptest.NewServer(events)
	t.Cleanup(consumer.Close)
	config := writeRoutes(t, consumer.URL)
	lb := &balancer{ready: make([]atomic.Bool, 2)}
	for range 2 {
		lb.replicas = append(lb.replicas, newReceiverProcess(t, "--config", config, "--shutdown-delay", (10*probeInterval).String(), "--log-level", "warn"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() { defer close(watching); lb.watch(ctx) }()
	t.Cleanup(func() { cancel(); <-watching })
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: lb.rewrite})
	t.Cleanup(proxy.Close)
	eventually(t, "the load balancer uses both", func() bool { return lb.ready[0].Load() && lb.ready[1].Load() })

	sending, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	var batches atomic.Int64
	for sender := range 4 {
		senders.Go(func() {
			for n := 0; sending.Err() == nil; n++ {
				if err := events.sendBatch(ctx, proxy.URL, fmt.Sprint(sender, "-", n)); err != nil {
					t.Errorf("a batch was refused: %v", err)
				}
				batches.Add(1)
			}
		})
	}
	for range 2 {
		for i, process := range lb.replicas {
			before := batches.Load()
			process.stop()
			process.start()
			eventually(t, "batches are accepted again", func() bool { return batches.Load() > before+50 && lb.ready[i].Load() })
		}
	}
	stop()
	senders.Wait()
	events.mu.Lock()
	defer events.mu.Unlock()
	for event := range events.accepted {
		if events.arrived[event] == 0 {
			t.Errorf("event lost: %s", event)
		}
	}
	t.Logf("%d batches, %d events", batches.Load(), len(events.accepted))
}

// sendBatch posts a batch as Mandrill does, and records its events when it gets 200.
func (l *ledger) sendBatch(ctx context.Context, target, name string) error {
	var events []string
	for i := range 5 {
		events = append(events, fmt.Sprintf(`{"event":"open","_id":"%s-%d","ts":1767225600}`, name, i))
	}
	batch := mandrilltest.Batch([]byte(events[0]), []byte(events[1]), []byte(events[2]), []byte(events[3]), []byte(events[4]))
	request, err := mandrilltest.NewRequest(ctx, target+"/hook", hookURL, signingKey, batch)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, event := range events {
		l.accepted[event] = true
	}
	return nil
}
