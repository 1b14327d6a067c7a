package routing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
)

// A log that is written beside the document made the receiver read, and log that it could not, for each of its own lines.
func TestOtherFilesBesideTheDocumentAreIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "routes.yaml")
	document := []byte("routes: [{name: x, url: 'https://a.example/x', source: s, sink: {uri: 'http://x.example'}}]")
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
	log := &logbuffer.Buffer{}
	routes := &Routes{Logger: slog.New(slog.NewTextHandler(log, nil)), Metrics: NewMetrics(prometheus.NewRegistry())}
	reads := make(chan struct{}, 10_000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- routes.Watch(ctx, Document{Name: path, Files: []string{path}, Read: func() ([]byte, error) {
			reads <- struct{}{}
			return os.ReadFile(path)
		}})
	}()
	<-reads
	for !routes.Ready() {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	<-reads // the removal concerns the document
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(dir, "receiver.log"), []byte(strings.Repeat("x", i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Events come in order: when the document is back and loaded, those of the log were handled.
	if err := os.WriteFile(path, bytes.Replace(document, []byte("/x'"), []byte("/y'"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for strings.Count(log.String(), "Loaded routes") < 2 {
		select {
		case <-reads:
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := strings.Count(log.String(), "Could not read"); got > 2 {
		t.Errorf("%d lines say that the document could not be read, want one for the removal and perhaps one for the empty file", got)
	}
}

func TestRepeatedFaultsAreLoggedAtGrowingPauses(t *testing.T) {
	t.Parallel()
	log, now := &logbuffer.Buffer{}, time.Unix(0, 0)
	faults := &faultLog{logger: slog.New(slog.NewTextHandler(log, nil)), now: func() time.Time { return now }}
	for range 24 * 60 * 6 { // a day of polls
		faults.report("Could not read", errors.New("it is gone"))
		now = now.Add(10 * time.Second)
	}
	if lines := strings.Count(log.String(), "\n"); lines < 24 || lines > 32 {
		t.Errorf("a day of one fault is %d lines, want about one an hour", lines)
	}
	faults.clear()
	before := strings.Count(log.String(), "\n")
	faults.report("Could not read", errors.New("it is gone"))
	faults.report("Could not read", errors.New("no rights"))
	if lines := strings.Count(log.String(), "\n") - before; lines != 2 {
		t.Errorf("a new fault and another one are %d lines, want 2", lines)
	}
}

func TestDocumentConcernsItsFilesAndTheLinkOfAMountedSecret(t *testing.T) {
	t.Parallel()
	document := Document{Files: []string{"/etc/receiver/routes.yaml", "/run/./key"}}
	for path, want := range map[string]bool{
		"/etc/receiver/routes.yaml": true, "/etc/receiver/..data": true, "/run/key": true, "/etc/receiver/receiver.log": false, "/etc/receiver/routes.yaml.swp": false,
	} {
		if got := document.concerns(path); got != want {
			t.Errorf("%s: got %v", path, got)
		}
	}
}

// Two routes with one URL are refused where a user writes them, and not where the operator does: there a URL moves from one webhook to
// another.
func TestTwoRoutesWithOneURLAreRefusedInAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	route := func(name string) string {
		return "{name: " + name + ", url: 'https://a.example/s3cret', source: s, sink: {uri: 'http://x.example'}}"
	}
	document := []byte("routes: [" + route("first") + ", " + route("second") + "]")
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
	routes := &Routes{Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())}
	err := routes.WatchFile(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), `routes "first" and "second" have the same url`) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got error %v", err)
	}
	if err := routes.Load("mandrill-receiver-routes", document); err != nil {
		t.Errorf("the operator's document is refused: %v", err)
	}
}
