package journal_test

import (
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// oldestServer is the program of the oldest server that is supported, built once.
var oldestServer = sync.OnceValues(func() (string, error) {
	output, err := exec.Command("../../hack/nats/build.sh").Output()
	return strings.TrimSpace(string(output)), err
})

// newOldest runs the oldest server that is supported, and returns its URL.
func newOldest(t *testing.T) string {
	t.Helper()
	program, err := oldestServer()
	if err != nil {
		t.Fatalf("building the oldest server: %v", err)
	}
	port := strconv.Itoa(freePort(t))
	var output log
	running := exec.Command(program, "--jetstream", "--store_dir", t.TempDir(), "--addr", "127.0.0.1", "--port", port)
	running.Stdout, running.Stderr = &output, &output
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = running.Process.Kill()
		_ = running.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	until(t, "the start of the server", func() bool { return strings.Contains(output.String(), "Server is ready") })
	return "nats://127.0.0.1:" + port
}

// The oldest server that is supported does everything that the journal needs.
func TestOldestServer(t *testing.T) {
	t.Parallel()
	t.Run("consumer", func(t *testing.T) {
		t.Parallel()
		journaltest.TestConsumer(t, func(t *testing.T) journaltest.Buffer {
			options, _ := shared(t, newOldest(t))
			return contractBuffer(run(t, journal.New(options)))
		})
	})
	t.Run("parts, objects and redrive", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, newOldest(t))
		testSmallPayload(t, run(t, journal.New(options)))
	})
	t.Run("garbage collection", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, newOldest(t))
		testGC(t, journal.New(options))
	})
	t.Run("two members", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, newOldest(t))
		a, b := run(t, journal.New(options)), run(t, journal.New(options))
		l := newLedger(t)
		stop := l.deliver("a", a.Journal)
		until(t, "delivery", func() bool { return l.begun() == 1 })
		l.deliver("b", b.Journal)
		w := load(t, a.Journal, b.Journal)
		w.progress(20)
		stop()
		until(t, "the other takes over", func() bool { return l.who() == "b" })
		w.progress(20)
		l.expect(w.stop())
	})
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		conn, err := nats.Connect(newOldest(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		client, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, client, 1)
		taken(t, client, 1)
	})
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		options, _ := shared(t, newOldest(t))
		options.Limits, _ = journal.SplitLimits(journal.MinBytes, 0)
		testFull(t, run(t, journal.New(options)))
	})
}

func TestOlderThan(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.9.25": true, "1.99": true, "2.10.0": false, "2.10.27-RC.1": false, "2.15.2": false, "3.0.0": false, "": false, "development": false,
	} {
		if got := journal.OlderThan(version, "2.10"); got != want {
			t.Errorf("%q is older: %t", version, got)
		}
	}
}
