package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errorLine matches the format of an error line in the server's source.
var errorLine = regexp.MustCompile(`(?:\b(?:s|srv|fs|n|o|js|mset|a|ipq|cc|l|c)\.)(?:Errorf|RateLimitErrorf|error|Fatalf)\((?:fmt\.Sprintf\()?("(?:[^"\\]|\\.)*")`)

// storeFiles are the files of the server with what stores messages.
var storeFiles = []string{"filestore.go", "store.go", "stream.go", "consumer.go", "jetstream.go", "jetstream_cluster.go", "jetstream_batching.go", "raft.go", "dirstore.go", "memstore.go"}

// otherLines are the beginnings of error lines in these files that do not say that the store failed, or that an embedded server
// on its own never writes. Decide for a line that a new version adds: does the store have to be opened again?
var otherLines = []string{
	"Filestore [%s] %s",                                                                         // the frame of other lines
	"JetStream failed to store a msg",                                                           // a line about the stream's critical write error follows
	"Error adding JetStream domain mapping",                                                     // accounts
	"JetStream %s resource limits exceeded",                                                     // a limit was reached, and the request refused
	"Unable to get transform for mirror consumer", "Unable to get subject transform for source", // mirrors and sources
	"Stream restore failed due to", // a restore from a backup, which nobody requests
	"consumer '%s > %s > %s' MUST match replication",
	"Error sending snapshot to follower", "Got an error applying commit", "Received malformed", // Raft between members
	"Error creating filestore", "Error creating memstore", "Error applying", "JetStream cluster failed to decode", "JetStream cluster could not decode",
	"JetStream being DISABLED, our server was removed", "Could not subscribe to stream catchup",
}

func serverSource(t *testing.T) string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/nats-io/nats-server/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "server")
}

// Every error line of the linked server's store is classified, and every text in the table is one of the server's.
func TestStoreFailures(t *testing.T) {
	t.Parallel()
	dir := serverSource(t)
	found := map[string]int{}
	for _, name := range storeFiles {
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range errorLine.FindAllStringSubmatch(string(source), -1) {
			format, err := strconv.Unquote(match[1])
			if err != nil {
				t.Fatal(err)
			}
			classified := false
			for _, text := range storeFailures {
				if strings.Contains(format, text) {
					found[text]++
					classified = true
				}
			}
			for _, text := range otherLines {
				if strings.HasPrefix(strings.TrimSpace(format), text) {
					found[text]++
					classified = true
				}
			}
			if !classified {
				t.Errorf("%s: %q is not classified: does it say that the store failed?", name, format)
			}
		}
	}
	for _, text := range append(otherLines, storeFailures...) {
		if found[text] == 0 {
			t.Errorf("the server has no error line with %q", text)
		}
	}
}

// failureLog records the error lines of a server, and whether the store is said to have failed.
type failureLog struct {
	mu       sync.Mutex
	messages []string
	failed   chan struct{}
}

func newFailureLog() *failureLog { return &failureLog{failed: make(chan struct{}, 1)} }

func (l *failureLog) serverLog() serverLog {
	return serverLog{slog.New(slog.NewTextHandler(l, nil)), storeFailures, l.failed}
}

func (l *failureLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, string(line))
	return len(line), nil
}

func (l *failureLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.messages, "")
}

// A store that cannot write is reported. Of the other kinds in the table that of a full volume is provoked by test/chaos; the rest
// cannot be provoked from outside the server.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	log, dir := newFailureLog(), t.TempDir()
	options := serverOptions(dir)
	options.DontListen = true
	running, stop, err := launchServer(t.Context(), options, log.serverLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	conn, err := connectInProcess(running)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "batches", Subjects: []string{"batches"}}); err != nil {
		t.Fatal(err)
	}
	publish := func(ctx context.Context) error { // so much that a next block is needed
		for range 4 {
			if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "batches", Data: make([]byte, 3<<20)}, jetstream.WithRetryAttempts(0)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	msgs := filepath.Join(dir, "jetstream", "$G", "streams", "batches", "msgs") // in place of a file no block can be created
	if err := errors.Join(os.Rename(msgs, msgs+".away"), os.WriteFile(msgs, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // there is no answer
	defer cancel()
	if err := publish(ctx); err == nil {
		t.Error("a message was stored nowhere")
	}
	select {
	case <-log.failed:
	case <-time.After(time.Minute):
		t.Errorf("the failure was not reported:\n%s", log.text())
	}
}

// An error that does not concern the store is logged as one, and changes nothing.
func TestOtherErrors(t *testing.T) {
	t.Parallel()
	log := newFailureLog()
	options := serverOptions(t.TempDir())
	options.Host, options.Port = "127.0.0.1", server.RANDOM_PORT
	running, stop, err := launchServer(t.Context(), options, log.serverLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	for protocol, want := range map[string]string{
		"PUB a 999999999\r\n":                                "maximum payload exceeded",
		"-ERR 'JetStream out of disk, will be DISABLED'\r\n": "Client Error",
	} {
		conn, err := net.Dial("tcp", running.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "CONNECT {}\r\n"+protocol); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn) // until the server closes it
		_ = conn.Close()
		if text := log.text(); !strings.Contains(text, `level=ERROR msg="NATS server"`) || !strings.Contains(text, want) {
			t.Errorf("the log has no error with %q:\n%s", want, text)
		}
	}
	select {
	case <-log.failed:
		t.Error("the store did not fail")
	default:
	}
}
