package receiver_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// A volume whose receiver does not come back is emptied: --drain delivers what waits there, and ends.
func TestDrainDeliversWhatWaitsAndEnds(t *testing.T) {
	t.Parallel()
	ledger := &ledger{accepted: map[string]bool{}, arrived: map[string]int{}}
	address := freeAddress(t) // of the sink, which is down at first
	config := writeRoutes(t, "http://"+address)
	buffer := []string{"--config", config, "--buffer=embedded", "--buffer-dir", t.TempDir(), "--buffer-max-bytes=134217728"}
	receiver := newReplica(t, buffer...)
	for n := range 20 {
		if err := ledger.send(t.Context(), "http://"+receiver.address, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	receiver.stop()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	consumer := &httptest.Server{Listener: listener, Config: &http.Server{Handler: ledger}}
	consumer.Start()
	t.Cleanup(consumer.Close)

	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	command := exec.CommandContext(t.Context(), program, append(buffer, "--drain", "--metrics-listen", freeAddress(t))...)
	var log strings.Builder
	command.Stderr = &log
	go func() { drained <- command.Run() }()
	eventually(t, "the receiver ends", func() bool { return len(drained) == 1 })
	if err := <-drained; err != nil {
		t.Fatalf("it ended with %v:\n%s", err, log.String())
	}
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	for event := range ledger.accepted {
		if ledger.arrived[event] == 0 {
			t.Errorf("an event is lost: %s", event)
		}
	}
	if len(ledger.accepted) != 100 {
		t.Errorf("%d events were accepted, want 100", len(ledger.accepted))
	}
}
