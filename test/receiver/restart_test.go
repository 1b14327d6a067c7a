// Package receiver_test tests the receiver as it is deployed: as a program, in processes of its own.
package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
	"github.com/mandrill-operator/mandrill-operator/test/programs"
)

const (
	hookURL    = "https://hooks.example.com/hook"
	signingKey = "signing-key"
	// patience is how long a test waits, far longer than any step takes on a busy machine.
	patience = 2 * time.Minute
)

// build builds the program once.
var build = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "receiver-")
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, "receiver"), programs.Build(folder, "receiver")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// replica is a receiver that restarts at the same addresses.
type replica struct {
	t               *testing.T
	args            []string
	address, health string
	process         *exec.Cmd
	env             []string // in addition to that of the test
	log             *logbuffer.Buffer
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func newReplica(t *testing.T, args ...string) *replica {
	t.Helper()
	r := launchReplica(t, args...)
	eventually(t, "the receiver is ready", r.ready)
	return r
}

// launchReplica starts a receiver that may never be ready.
func launchReplica(t *testing.T, args ...string) *replica {
	t.Helper()
	r := &replica{t: t, address: freeAddress(t), health: freeAddress(t)}
	r.args = append([]string{"--listen", r.address, "--metrics-listen", r.health, "--shutdown-delay=0s"}, args...)
	r.launch()
	t.Cleanup(r.stop)
	return r
}

func (r *replica) start() {
	r.t.Helper()
	r.launch()
	eventually(r.t, "the receiver is ready", r.ready)
}

// launch starts the process.
func (r *replica) launch() {
	r.t.Helper()
	program, err := build()
	if err != nil {
		r.t.Fatal(err)
	}
	r.log = &logbuffer.Buffer{}
	r.process = exec.Command(program, r.args...)
	r.process.Stderr, r.process.Env = r.log, append(os.Environ(), r.env...)
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
}

// stop terminates the process as a kubelet does and asserts that it exits with 0.
func (r *replica) stop() {
	r.t.Helper()
	if r.process == nil {
		return
	}
	_ = r.process.Process.Signal(syscall.SIGTERM)
	if err := r.process.Wait(); err != nil {
		r.t.Errorf("the receiver exited: %v\n%s", err, r.log)
	}
	r.process = nil
}

func (r *replica) ready() bool {
	response, err := http.Get("http://" + r.health + "/readyz")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	poll.True(t, patience, what, condition)
}

// ledger records every event that the receiver accepted and how often each event reached the consumer.
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

// writeRoutes writes a routes document with one route to a sink.
func writeRoutes(t *testing.T, sink string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	document := fmt.Sprintf("routes: [{name: shop/x, url: %q, keys: [%q], source: /x, sink: {uri: %q}}]", hookURL, signingKey, sink)
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// balancer is a load balancer: it probes the readiness of the replicas and sends requests to those that are ready.
type balancer struct {
	replicas []*replica
	next     atomic.Int64
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
	first := int(b.next.Add(1))
	for k := range b.replicas {
		i := (first + k) % len(b.replicas)
		if b.ready[i].Load() {
			request.SetURL(&url.URL{Scheme: "http", Host: b.replicas[i].address})
			return
		}
	}
}

// During a rolling restart of two receivers behind a load balancer, under constant load, no batch is refused and no event is lost.
func TestRollingRestartLosesNothing(t *testing.T) {
	t.Parallel()
	ledger := &ledger{accepted: map[string]bool{}, arrived: map[string]int{}}
	consumer := httptest.NewServer(ledger)
	t.Cleanup(consumer.Close)
	config := writeRoutes(t, consumer.URL)
	balance := &balancer{ready: make([]atomic.Bool, 2)}
	for range 2 {
		balance.replicas = append(balance.replicas, newReplica(t, "--config", config, "--shutdown-delay", (100*probeInterval).String(), "--log-level", "warn"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() { defer close(watching); balance.watch(ctx) }()
	t.Cleanup(func() { cancel(); <-watching })
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: balance.rewrite, Transport: loopback.Client.Transport})
	t.Cleanup(proxy.Close)
	eventually(t, "both replicas are ready", func() bool { return balance.ready[0].Load() && balance.ready[1].Load() })

	sending, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	var batches atomic.Int64
	for sender := range 4 {
		senders.Go(func() {
			for n := 0; sending.Err() == nil; n++ {
				if err := ledger.send(ctx, proxy.URL, fmt.Sprint(sender, "-", n)); err != nil {
					t.Errorf("a batch was refused: %v", err)
				}
				batches.Add(1)
			}
		})
	}
	for range 2 {
		for i, replica := range balance.replicas {
			before := batches.Load()
			replica.stop()
			replica.start()
			eventually(t, "batches are accepted again", func() bool { return batches.Load() > before+50 && balance.ready[i].Load() })
		}
	}
	stop()
	senders.Wait()
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	for event := range ledger.accepted {
		if ledger.arrived[event] == 0 {
			t.Errorf("an event is lost: %s", event)
		}
	}
	t.Logf("%d batches, %d events", batches.Load(), len(ledger.accepted))
}

// send posts a batch as Mandrill does and records its events if the receiver accepts it.
func (l *ledger) send(ctx context.Context, target, name string) error {
	var events []string
	for i := range 5 {
		events = append(events, fmt.Sprintf(`{"event":"open","_id":"%s-%d","ts":1767225600}`, name, i))
	}
	batch := mandrilltest.Batch([]byte(events[0]), []byte(events[1]), []byte(events[2]), []byte(events[3]), []byte(events[4]))
	request, err := mandrilltest.NewRequest(ctx, target+"/hook", hookURL, signingKey, batch)
	if err != nil {
		return err
	}
	response, err := loopback.Client.Do(request)
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
