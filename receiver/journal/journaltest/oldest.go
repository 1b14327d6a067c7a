package journaltest

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// oldestProgram is the oldest NATS server that is supported, which hack/nats/build.sh builds once.
var oldestProgram = sync.OnceValues(func() (string, error) {
	module, err := exec.CommandContext(context.Background(), "go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	script := filepath.Join(filepath.Dir(strings.TrimSpace(string(module))), "hack", "nats", "build.sh")
	folder, err := exec.CommandContext(context.Background(), script, "oldest").Output() //nolint:gosec // it is ours
	return filepath.Join(strings.TrimSpace(string(folder)), "oldest"), err
})

// OldestServer runs the oldest NATS server that is supported until the test ends, and returns its URL.
func OldestServer(t *testing.T) string {
	t.Helper()
	program, err := oldestProgram()
	if err != nil {
		t.Fatalf("building the oldest NATS server: %v", err)
	}
	port, err := loopback.Port(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var output logbuffer.Buffer
	running := exec.CommandContext(context.WithoutCancel(t.Context()), program, "--jetstream", "--store_dir", t.TempDir(), "--addr", "127.0.0.1", "--port", strconv.Itoa(port)) //nolint:gosec // it is ours
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
	deadline := time.Now().Add(time.Minute)
	for tick := time.Tick(20 * time.Millisecond); !strings.Contains(output.String(), "Server is ready"); <-tick {
		if time.Now().After(deadline) {
			t.Fatal("the oldest NATS server does not start")
		}
	}
	return "nats://127.0.0.1:" + strconv.Itoa(port)
}
