package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestPowerLossLosesNothing samples moments. Here strace shows for every batch that it was written and synced before the first byte of
// its 200 was sent.

// syscallLine is a line of strace with a system call, resumedLine the end of a call that others interrupted.
var (
	syscallLine  = regexp.MustCompile(`^(\d+) +(\w+)\((\d+)<([^>]*)>(.*)$`)
	resumedLine  = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
	returnedZero = regexp.MustCompile(`\) += 0( \(.*\))?$`)
)

// checkSynced returns how many batches of a trace were synced before their 200, or an error for the first one that was not.
func checkSynced(lines []string) (batches int, err error) {
	dirty := map[string]bool{}     // unsynced message blocks
	pending := map[string]string{} // files being synced, by thread
	written := 0
	for i, line := range lines {
		if again := resumedLine.FindStringSubmatch(line); again != nil {
			if path := pending[again[1]]; path != "" && returnedZero.MatchString(again[3]) {
				delete(dirty, path)
			}
			delete(pending, again[1])
			continue
		}
		made := syscallLine.FindStringSubmatch(line)
		if made == nil {
			continue
		}
		thread, name, path, rest := made[1], made[2], made[4], made[5]
		isBlock := strings.HasSuffix(path, ".blk") && strings.Contains(path, "/mandrill-batch/")
		switch name {
		case "write", "pwrite64", "writev", "pwritev", "pwritev2":
			if isBlock {
				dirty[path] = true
				written++
			}
			if !strings.Contains(rest, "HTTP/1.1 200") {
				continue
			}
			if written == 0 {
				return batches, fmt.Errorf("line %d: 200 before the batch was written", i+1)
			}
			for path := range dirty {
				return batches, fmt.Errorf("line %d: 200 before %s was synced", i+1, path)
			}
			batches, written = batches+1, 0
		case "fsync", "fdatasync":
			if returnedZero.MatchString(rest) {
				delete(dirty, path)
			} else if strings.Contains(rest, "<unfinished ...>") {
				pending[thread] = path
			}
		}
	}
	return batches, nil
}

const sampleTrace = `100 pwrite64(12</b/nats/jetstream/$G/streams/mandrill-batch/msgs/1.blk>, "..."..., 900, 0) = 900
101 fsync(13</b/nats/jetstream/$G/streams/mandrill-finished/msgs/1.blk>) = 0
100 fsync(12</b/nats/jetstream/$G/streams/mandrill-batch/msgs/1.blk> <unfinished ...>
101 write(2</b/log>, "..."..., 10) = 10
100 <... fsync resumed>) = 0
102 write(9<TCP:[127.0.0.1:8080->127.0.0.1:50000]>, "HTTP/1.1 200 OK\r\n"..., 99) = 99`

// A check that finds nothing proves nothing: it must find each kind of missing sync.
func TestCheckSyncedFindsFaults(t *testing.T) {
	t.Parallel()
	lines := strings.Split(sampleTrace, "\n")
	swap := func(a, b int) []string {
		changed := append([]string{}, lines...)
		changed[a], changed[b] = changed[b], changed[a]
		return changed
	}
	without := func(n int) []string { return append(append([]string{}, lines[:n]...), lines[n+1:]...) }
	failing := append([]string{}, lines...)
	failing[4] = "100 <... fsync resumed>) = -1 EIO (Input/output error)"
	for _, test := range []struct {
		name  string
		lines []string
		good  bool
	}{
		{"as it must be", lines, true},
		{"no write", without(0), false},
		{"no sync", without(2), false},
		{"sync that has not ended", without(4), false},
		{"sync that ends after the answer", swap(4, 5), false},
		{"sync that fails", failing, false},
		{"write after the sync", append(append(append([]string{}, lines[1:5]...), lines[0]), lines[5]), false},
		{"sync of another stream alone", append(append([]string{}, lines[:2]...), lines[5]), false},
	} {
		if batches, err := checkSynced(test.lines); (err == nil && batches == 1) != test.good {
			t.Errorf("%s: %d batches, error %v", test.name, batches, err)
		}
	}
}

// A batch that got 200 must survive a loss of power, so it is synced before the answer.
func TestBatchIsSyncedBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("SKIPPED, SYNCING OF BATCHES NOT TESTED: strace is missing; make chaos installs it")
	}
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	sink.setBehaviour(0, hang) // otherwise the progress of delivery would be written too
	sink.up()
	r := newReceiver(t, writeRoutes(t, "timeout: PT30S", sink.uris(1)...))
	log := filepath.Join(t.TempDir(), "trace")
	// With -D the receiver, not strace, is the child process.
	r.launcher = []string{"strace", "-D", "-f", "-y", "-yy", "-s", "40", "-e", "trace=write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync", "-o", log}
	r.exitExpected = true // where strace may not trace
	r.start()
	until := time.After(awaitTimeout)
	for !r.ready() {
		select {
		case <-r.exited:
			t.Skip("SKIPPED, SYNCING OF BATCHES NOT TESTED: strace may not trace here")
		case <-until:
			t.Fatal("the receiver is not ready")
		case <-time.After(20 * time.Millisecond):
		}
	}
	s := newSender(t, ledger, r)
	s.padding = incompressible(200)
	batches := shortOrLong(20, 200)
	s.send(0, batches)
	r.stop()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := answersToSender(strings.Split(string(data), "\n"), r.address)
	synced, err := checkSynced(lines)
	if err != nil || synced != batches {
		t.Errorf("%d of %d batches were synced, error %v", synced, batches, err)
	}
	var unsynced []string
	for _, line := range lines { // the trace of a server without SyncAlways
		if !strings.Contains(line, "sync") {
			unsynced = append(unsynced, line)
		}
	}
	if _, err := checkSynced(unsynced); err == nil {
		t.Error("the check accepts the trace without its syncs")
	}
	addResult("system calls of %d batches, by strace | all written and synced before the first byte of their 200", synced)
}

// answersToSender leaves out the answers to probes and scrapes.
func answersToSender(lines []string, address string) (filtered []string) {
	for _, line := range lines {
		if !strings.Contains(line, "HTTP/1.1 200") || strings.Contains(line, "TCP:["+address+"->") {
			filtered = append(filtered, line)
		}
	}
	return filtered
}
