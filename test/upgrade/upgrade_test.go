// Package upgrade_test opens a buffer that the previous minor version of the NATS server has written.
package upgrade_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/journaltest"
)

// previousServer is the previous minor version of the server, on a directory as the embedded one uses it.
type previousServer struct {
	url, version string
	stop, kill   func()
}

func startPrevious(t *testing.T, storeDir string) *previousServer {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "../../hack/nats/build.sh", "previous").Output()
	if err != nil {
		t.Fatalf("building the previous server: %v", err)
	}
	command := exec.Command(filepath.Join(strings.TrimSpace(string(output)), "previous"), storeDir)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s := &previousServer{}
	wait := sync.OnceFunc(func() { _ = command.Wait() })
	s.stop = func() { _ = stdin.Close(); wait() }
	s.kill = func() { _ = command.Process.Kill(); wait() }
	t.Cleanup(s.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(line, &s.url, &s.version); err != nil {
		t.Fatal(err)
	}
	return s
}

// exclusive is a server elsewhere that nobody else uses. What is stored there is as in a server of the process.
type exclusive struct{ journal.Engine }

func (e exclusive) Open(ctx context.Context) (*engine.Connection, error) {
	connection, err := e.Engine.Open(ctx)
	if err == nil {
		connection.Exclusive = true
	}
	return connection, err
}

// run runs a journal until the test ends or stop is called.
func run(t *testing.T, options journal.Options) (j *journal.Journal, stop func()) {
	t.Helper()
	j = journal.New(options)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	waiting, done := context.WithTimeout(t.Context(), 3*time.Minute)
	defer done()
	if err := j.WaitAvailable(waiting); err != nil {
		t.Fatal(err)
	}
	return j, stop
}

// lead runs fn once while the journal has the lease.
func lead(t *testing.T, j *journal.Journal, fn func(ctx context.Context, c *journal.Consumer) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var result error
	_ = j.Lead(ctx, func(ctx context.Context, c *journal.Consumer) error {
		defer cancel()
		result = fn(ctx, c)
		return nil
	})
	if result != nil {
		t.Fatal(result)
	}
}

// event is a JSON string of a size that is not compressed to less.
func event(name string, size int) string {
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte('a' + rand.IntN(26))
	}
	return strconv.Quote(name + " " + string(noise))
}

func batch(webhook string, events ...string) journal.Batch {
	raw := make([][]byte, len(events))
	for i, event := range events {
		raw[i] = []byte(event)
	}
	return journal.Batch{
		Webhook: webhook, Received: time.UnixMilli(1795227543123), Value: []byte("[" + strings.Join(events, ",") + "]"), Events: raw,
		IDs: func() []string { return numbers(len(events)) },
	}
}

func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return list
}

// contents is what a buffer holds, by the raw events.
type contents struct {
	Backlog, Remainders, DeadLetters []string
}

// eventsOf returns the raw events of a stored batch.
func eventsOf(t *testing.T, stored *journal.StoredBatch) (events []string) {
	t.Helper()
	for _, event := range stored.Events {
		events = append(events, string(event.Raw))
	}
	if stored.Value == nil {
		return events
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(stored.Value, &raw); err != nil {
		t.Fatal(err)
	}
	for _, event := range raw {
		events = append(events, string(event))
	}
	return events
}

func read(t *testing.T, j *journal.Journal) (c contents) {
	t.Helper()
	lead(t, j, func(ctx context.Context, consumer *journal.Consumer) error {
		for from := uint64(0); ; {
			stored, err := consumer.Next(ctx, "shop/a", from)
			if errors.Is(err, journal.ErrNotFound) {
				break
			}
			if err != nil {
				return err
			}
			c.Backlog = append(c.Backlog, eventsOf(t, stored)...)
			from = stored.Position.Seq + 1
		}
		return consumer.Remainders(ctx, func(stored *journal.StoredBatch) { c.Remainders = append(c.Remainders, eventsOf(t, stored)...) })
	})
	page, next, err := j.DeadLetters(t.Context(), journal.DeadLetterFilter{}, 0, journal.MaxDeadLetters)
	if err != nil || next != 0 {
		t.Fatalf("more than one page, or error %v", err)
	}
	for _, info := range page {
		_, event, err := j.DeadLetter(t.Context(), info.Seq)
		if err != nil {
			t.Fatal(err)
		}
		c.DeadLetters = append(c.DeadLetters, info.ID+" "+info.Reason+" "+string(event.Raw))
	}
	return c
}

// fill fills a buffer with a backlog over several blocks, events too large for a message, remainders, dead letters and finished
// batches. It returns what is then in it, and the batches that must be duplicates.
func fill(t *testing.T, j *journal.Journal) (want contents, known []journal.Batch) {
	t.Helper()
	add := func(webhook string, events ...string) {
		t.Helper()
		b := batch(webhook, events...)
		if duplicate, attempts := journaltest.Append(t, j, b); duplicate && attempts == 1 {
			t.Fatal("appending: a new batch is a duplicate")
		}
		known = append(known, b)
	}
	for i := range 30 {
		add("shop/a", event("small "+strconv.Itoa(i), 1<<10), event("medium "+strconv.Itoa(i), 1<<20))
	}
	add("shop/a", event("large", 16<<20))
	parts := make([]string, 16)
	for i := range parts {
		parts[i] = event("part "+strconv.Itoa(i), 1<<20)
	}
	add("shop/a", parts...)
	for _, b := range known {
		for _, raw := range b.Events {
			want.Backlog = append(want.Backlog, string(raw))
		}
	}
	events := 0
	for i := range 6 {
		add("shop/b", event("left "+strconv.Itoa(i), 1<<10), event("delivered "+strconv.Itoa(i), 1<<10))
		events += 2
	}
	add("shop/b", event("large left", 16<<20))
	events++
	lead(t, j, func(ctx context.Context, c *journal.Consumer) error {
		for i, from := 0, uint64(0); events > 0; i++ {
			stored, err := c.Next(ctx, "shop/b", from)
			if err != nil {
				return err
			}
			raw := eventsOf(t, stored)
			events, from = events-len(raw), stored.Position.Seq+1
			pending := journal.PendingEvent{ID: "0", Raw: []byte(raw[0]), Attempts: 1, Status: 503}
			switch i % 3 {
			case 0: // one event is left
				want.Remainders = append(want.Remainders, raw[0])
				_, err = c.Requeue(ctx, stored, []journal.PendingEvent{pending})
			case 1: // one event becomes a dead letter
				want.DeadLetters = append(want.DeadLetters, "0 "+journal.ReasonRefused+" "+raw[0])
				dead := journal.DeadLetter{PendingEvent: pending, Reason: journal.ReasonRefused, Type: "type"}
				err = errors.Join(c.DeadLetter(ctx, stored, []journal.DeadLetter{dead}), c.Ack(ctx, stored))
			default:
				err = c.Ack(ctx, stored)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return want, known
}

// A buffer of the previous minor version is opened without loss, whether that version was stopped or killed.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	limits, err := journal.SplitLimits(512<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"stopped", "killed"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			previous := startPrevious(t, filepath.Join(dir, "nats"))
			if minor(previous.version) == minor(server.VERSION) {
				t.Fatalf("the previous server is %s and the linked one %s: they must be of two minor versions", previous.version, server.VERSION)
			}
			var log strings.Builder
			logger, discard := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})), slog.New(slog.DiscardHandler)
			j, stop := run(t, journal.Options{Engine: exclusive{&engine.External{URLs: []string{previous.url}, Logger: discard}}, Limits: limits, Logger: discard})
			want, known := fill(t, j)
			if len(want.Backlog) < 40 || len(want.Remainders) != 3 || len(want.DeadLetters) != 2 {
				t.Fatalf("there are %d events waiting, %d of remainders and %d dead letters", len(want.Backlog), len(want.Remainders), len(want.DeadLetters))
			}
			if end == "killed" {
				previous.kill()
				stop()
			} else {
				stop()
				previous.stop()
			}
			registry := prometheus.NewRegistry()
			j, _ = run(t, journal.Options{
				Engine: &engine.Embedded{Dir: dir, Reserve: limits.Reserve, Logger: logger}, Limits: limits, Logger: logger, Metrics: journal.NewMetrics(registry),
			})
			if diff := cmp.Diff(want, read(t, j)); diff != "" {
				t.Errorf("%s wrote what %s does not read (-want +got):\n%.2000s", previous.version, server.VERSION, diff)
			}
			for _, b := range known {
				if duplicate, _ := journaltest.Append(t, j, b); !duplicate {
					t.Error("a batch that is known is no duplicate")
				}
			}
			for line := range strings.Lines(log.String()) {
				if !journaltest.SaysSlowMachine(line) {
					t.Error("the log has a warning:", line)
				}
			}
		})
	}
}

func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:2], ".")
}
