package receiver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// eventFields are the fields of a line of receiver events, which programs of others read.
var eventFields = []string{"attempt", "batch", "durationMs", "id", "message", "outcome", "recipient", "status", "test", "time", "type", "webhook"}

// events runs receiver events and returns its lines.
func (r *replica) events(args ...string) (lines []map[string]any) {
	r.t.Helper()
	output, err := exec.CommandContext(r.t.Context(), r.program(), append([]string{"events"}, args...)...).Output()
	if err != nil {
		r.t.Fatalf("receiver events %v: %v", args, err)
	}
	for line := range strings.Lines(string(output)) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			r.t.Fatalf("%v in %q", err, line)
		}
		lines = append(lines, event)
	}
	return lines
}

// follow runs receiver events --follow. Its lines arrive in the channel, which is closed when it ends.
func (r *replica) follow(args ...string) (lines chan map[string]any, ended chan error) {
	r.t.Helper()
	command := exec.CommandContext(context.WithoutCancel(r.t.Context()), r.program(), append([]string{"events", "--follow"}, args...)...)
	output, err := command.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = command.Process.Kill() })
	lines, ended = make(chan map[string]any, 100), make(chan error, 1)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			var event map[string]any
			if json.Unmarshal(scanner.Bytes(), &event) == nil {
				lines <- event
			}
		}
		_, _ = io.Copy(io.Discard, output)
		ended <- command.Wait()
	}()
	return lines, ended
}

// program is the path of the binary.
func (r *replica) program() string {
	r.t.Helper()
	path, err := build()
	if err != nil {
		r.t.Fatal(err)
	}
	return path
}

const addressedBatch = `[{"event":"open","_id":"m1","ts":1767225600,"msg":{"_id":"m1","email":"ana@example.com"}}]`

// receiver events shows each attempt, in either mode, also those that come.
func TestEventsShowEachAttempt(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"Buffered": {"--buffer=embedded", "--buffer-dir", t.TempDir(), "--buffer-max-bytes=134217728"},
		"Direct":   {"--admin-socket", filepath.Join(t.TempDir(), "a.sock")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVisible(t, args...)
			eventually(t, "the receiver is ready", v.ready)
			at := []string{"--admin-socket=" + args[len(args)-1]}
			if name == "Buffered" {
				at = []string{"--buffer-dir", args[2]}
			}
			lines, ended := v.follow(append(at, "--payload", "--limit=10")...)
			if status := v.sendSigned("/hook", signingKey, addressedBatch); status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
			event := next(t, lines)
			if got := slices.Sorted(maps.Keys(event)); name == "Buffered" && event["batch"] == "" || !slices.Equal(slices.DeleteFunc(got, func(key string) bool { return key == "event" }), eventFields) {
				t.Errorf("an event has the fields %v: %v", got, event)
			}
			if event["webhook"] != "shop/x" || event["type"] != "com.mandrill.message.open" || event["recipient"] != "ana@example.com" || event["message"] != "m1" ||
				event["attempt"] != 1.0 || event["outcome"] != "accepted" || event["status"] != 202.0 || event["test"] != false {
				t.Errorf("got %v", event)
			}
			v.answer.Store(http.StatusUnprocessableEntity)
			v.sendSigned("/hook", signingKey, batchOf("m2"))
			refused := next(t, lines)
			if refused["outcome"] != "refused" || refused["status"] != 422.0 || refused["message"] != "m2" {
				t.Errorf("got %v", refused)
			}
			if payload, ok := refused["event"].(map[string]any); !ok || payload["id"] != refused["id"] || payload["specversion"] != "1.0" {
				t.Errorf("the CloudEvent is %v", refused["event"])
			}
			if failed := v.events(append(at, "--failed", "--webhook=shop/x", "--type=open", "-o", "json")...); len(failed) == 0 || failed[0]["message"] != "m2" || failed[0]["event"] != nil {
				t.Errorf("failed events: %v", failed)
			}
			v.stop()
			for range lines { // to the end
			}
			if err := <-ended; err == nil {
				t.Error("receiver events does not say that the receiver ended")
			}
		})
	}
}

// next returns the next line.
func next(t *testing.T, lines chan map[string]any) map[string]any {
	t.Helper()
	select {
	case event, open := <-lines:
		if !open {
			t.Fatal("receiver events ended")
		}
		return event
	case <-time.After(time.Minute):
		t.Fatal("no event came")
	}
	return nil
}
