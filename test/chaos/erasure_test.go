package chaos_test

import (
	"context"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Events of a message are erased while the sinks of its webhook fail and another webhook is delivered under load. All other events
// arrive, in order and once, and none of the erased ones.
func TestErasureLeavesOtherEventsAlone(t *testing.T) {
	t.Parallel()
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	sink.up()
	sink.setBehaviour(0, answerWith(http.StatusInternalServerError, ""))
	sink.setBehaviour(1, delayRandomly)
	r := newReceiver(t, writeRoutes(t, "retry: 100, backoffPolicy: linear, backoffDelay: PT0.1S", sink.uris(2)...))
	r.startAndWait()
	program, err := buildReceiver()
	if err != nil {
		t.Fatal(err)
	}
	failing, good := newSender(t, ledger, r), newSender(t, ledger, r)
	failing.events, good.events, good.interval = 20, 20, 500*time.Millisecond
	var running sync.WaitGroup
	sending, stop := context.WithCancel(t.Context())
	running.Go(func() { good.run(sending, 1) })
	for _, message := range []string{"s0-m3", "s0-m5"} {
		failing.send(0, 5)
		erase := func(args ...string) string {
			output, err := exec.CommandContext(t.Context(), program, append([]string{"dead-letters", "purge", "--message", message, "--buffer-dir", r.dir}, args...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			line, _, _ := strings.Cut(string(output), "\n")
			return strings.TrimPrefix(strings.TrimPrefix(line, "would erase "), "erased ")
		}
		counted := erase("--dry-run")
		if done := erase(); done != counted || strings.HasPrefix(done, "0 dead letters, and 0") || !strings.HasPrefix(done, "0 dead letters, and ") {
			t.Errorf("the dry run has counted %q, and then %q were erased", counted, done)
		}
		if again := erase(); again != "0 dead letters, and 0 waiting events in 0 stored messages" {
			t.Errorf("afterwards there is still %q", again)
		}
	}
	stop()
	running.Wait()
	sink.setBehaviour(0, nil)
	want := 5 + 10 // of the first message, and of the second, which had waited longer
	ledger.waitFor(t, "the other events", func() bool { return ledger.undelivered <= want })
	ledger.mu.Lock()
	erased := ledger.missing()
	ledger.mu.Unlock()
	if len(erased) != want {
		t.Errorf("%d events are missing, want the %d that were erased", len(erased), want)
	}
	if ledger.duplicateCount() > 0 || len(ledger.outOfOrder) > 0 {
		t.Errorf("%d events arrived twice, out of order: %v", ledger.duplicateCount(), ledger.outOfOrder)
	}
	acked, _ := ledger.count()
	addResult("events of two messages erased from the buffer, under load | %d of %d events erased, the others delivered in order, %d repeated", len(erased), acked, ledger.duplicateCount())
}
