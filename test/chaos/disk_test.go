package chaos_test

import (
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// bufferOnVolume is a receiver under load whose buffer is on a volume.
type bufferOnVolume struct {
	*volume
	ledger   *ledger
	sink     *sinkServer
	receiver *receiver
	sender   *sender
}

const mebibyte = 1 << 20

// newBufferOnVolume prepares a receiver with a buffer limit, on a volume with mount's options.
func newBufferOnVolume(t *testing.T, options string, bytes int) *bufferOnVolume {
	t.Helper()
	b := &bufferOnVolume{volume: newVolume(t, options), ledger: newLedger()}
	b.sink = newSinkServer(t, b.ledger)
	b.sink.up()
	b.receiver = newReceiver(t, writeRoutes(t, "backoffDelay: PT0.2S", b.sink.uris(2)...), "--buffer-max-bytes", strconv.Itoa(bytes))
	b.receiver.launcher, b.receiver.dir = b.enter(), filepath.Join(b.path, "buffer")
	b.receiver.args = append(b.receiver.args, "--buffer-dir", b.receiver.dir)
	b.sender = newSender(t, b.ledger, b.receiver)
	b.sender.events, b.sender.padding, b.sender.interval, b.sender.retryDelay = 10, incompressible(8<<10), 20*time.Millisecond, 50*time.Millisecond
	return b
}

// startSending sends batches until the returned function is called.
func (b *bufferOnVolume) startSending() (stop func()) { return b.sender.start(2) }

// awaitRefusal waits until batches get 503 and the receiver is not ready.
func (b *bufferOnVolume) awaitRefusal() {
	b.t.Helper()
	before, _ := b.sender.answers()
	b.receiver.await("batches get 503", func() bool {
		statuses, _ := b.sender.answers()
		return statuses[http.StatusServiceUnavailable] > before[http.StatusServiceUnavailable]
	})
	b.receiver.await("the receiver is not ready", func() bool { return !b.receiver.ready() })
}

// awaitAcceptance waits until batches get 200 again and the receiver is ready. It returns how long the first 200 took.
func (b *bufferOnVolume) awaitAcceptance() time.Duration {
	b.t.Helper()
	begin := time.Now()
	b.receiver.await("batches get 200", func() bool {
		b.sender.mu.Lock()
		defer b.sender.mu.Unlock()
		return b.sender.lastAck.After(begin)
	})
	took := time.Since(begin)
	b.receiver.await("the receiver is ready", b.receiver.ready)
	return took
}

// checkAnswers waits for the delivery of everything, and returns the statuses that the sender got and the slowest answer.
func (b *bufferOnVolume) checkAnswers() (statuses map[int]int, slowest time.Duration) {
	b.t.Helper()
	b.ledger.awaitDelivery(b.t)
	statuses, slowest = b.sender.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			b.t.Errorf("batches got the statuses %v", statuses)
		}
	}
	return statuses, slowest
}

// maxCircuitOpen is how long the circuit of a failed sink stays open at most.
const maxCircuitOpen = 30 * time.Second

// maxRecovery is how long it may take after a fault until batches are accepted again. Only make chaos has a machine for itself.
func maxRecovery() time.Duration {
	if *long {
		return 15 * time.Second
	}
	return awaitTimeout
}

// While the disk is full batches get 503. When space is free again the receiver continues without intervention.
func TestFullDiskRefusesBatches(t *testing.T) {
	t.Parallel()
	b := newBufferOnVolume(t, "size=128m", 96*mebibyte)
	b.receiver.startAndWait()
	stop := b.startSending()
	b.awaitAcceptance()
	var longest time.Duration
	rounds := shortOrLong(2, 12)
	for round := range rounds {
		if round%2 == 0 { // otherwise the disk fills up while events are delivered
			b.sink.down()
		}
		b.fill(1 << 20)
		b.awaitRefusal()
		lines := b.logLines()
		full := time.Now()
		b.receiver.await("some time", func() bool { b.fill(0); return time.Since(full) > 3*time.Second }) // again and again: the server frees some space by truncating files
		if grown := b.logLines() - lines; grown > 200 {
			t.Errorf("in %s with a full disk the log grew by %d lines besides those of requests", time.Since(full), grown)
		}
		b.removeBallast()
		longest = max(longest, b.awaitAcceptance())
		if round%2 == 0 {
			b.sink.up()
		}
	}
	stop()
	statuses, slowest := b.checkAnswers()
	if longest > maxRecovery() {
		t.Errorf("recovery took %s", longest)
	}
	acked, lost := b.ledger.count()
	t.Logf("statuses %v; log: %v", statuses, b.receiver.logCounts("WARN", "ERROR"))
	addResult("disk full %d times, half of them with the sink down | %d events acknowledged, %d lost, %d repeated; 503 and not ready while full, slowest answer %s, 200 again within %s of free space",
		rounds, acked, lost, b.ledger.duplicateCount(), slowest.Round(time.Millisecond), longest.Round(10*time.Millisecond))
}

// The volume is smaller than the buffer's limit, and fills up while the sink is down. When the sink is up again, delivery frees space
// without intervention.
func TestVolumeSmallerThanBufferRecovers(t *testing.T) {
	t.Parallel()
	b := newBufferOnVolume(t, "size=64m", 512*mebibyte)
	b.sender.padding, b.sender.interval = incompressible(32<<10), 0
	b.sink.down()
	b.receiver.startAndWait()
	stop := b.startSending()
	var longest time.Duration
	rounds := shortOrLong(1, 5)
	for round := range rounds {
		b.awaitRefusal()
		b.holdsFor("the receiver is not ready", time.Second, func() bool { return !b.receiver.ready() })
		if round%2 == 1 { // one of the two sinks fails for some time, so that half of the backlog becomes remainders
			b.sink.setBehaviour(1, answerWith(http.StatusInternalServerError, ""))
		}
		b.sink.up()
		if round%2 == 1 {
			b.holdsFor("the receiver is alive", 10*time.Second, func() bool { return b.receiver.answersOK("/healthz") })
			b.sink.setBehaviour(1, nil)
		}
		longest = max(longest, b.awaitAcceptance())
		b.sink.down()
	}
	b.sink.up()
	stop()
	statuses, slowest := b.checkAnswers()
	if longest > maxCircuitOpen+maxRecovery() {
		t.Errorf("recovery took %s", longest)
	}
	acked, lost := b.ledger.count()
	t.Logf("statuses %v; log: %v", statuses, b.receiver.logCounts("WARN", "ERROR"))
	addResult("volume smaller than the buffer limit, full %d times while the sink was down | %d events acknowledged, %d lost, %d repeated; 503 and not ready while full, slowest answer %s, 200 again within %s of the sink being up",
		rounds, acked, lost, b.ledger.duplicateCount(), slowest.Round(time.Millisecond), longest.Round(10*time.Millisecond))
}

// Another process fills the disk to the last byte. The backlog is still delivered.
func TestBacklogIsDeliveredFromFullDisk(t *testing.T) {
	t.Parallel()
	b := newBufferOnVolume(t, "size=128m", 96*mebibyte)
	b.sink.down()
	b.receiver.startAndWait()
	var longest time.Duration
	rounds := shortOrLong(1, 5)
	for range rounds {
		stop := b.startSending()
		b.awaitAcceptance()
		before, _ := b.ledger.count()
		b.receiver.await("a backlog", func() bool { acked, _ := b.ledger.count(); return acked > before+1000 })
		b.fill(0)
		b.awaitRefusal()
		b.sink.up()
		b.ledger.awaitDelivery(t) // from the reserve and from what was delivered before, which the other process leaves
		b.receiver.await("it is not ready", func() bool { b.fill(0); return !b.receiver.ready() })
		b.removeBallast()
		longest = max(longest, b.awaitAcceptance())
		stop()
		b.sink.down()
	}
	b.sink.up()
	statuses, _ := b.checkAnswers()
	if longest > maxRecovery() {
		t.Errorf("recovery took %s", longest)
	}
	acked, lost := b.ledger.count()
	t.Logf("statuses %v; log: %v", statuses, b.receiver.logCounts("WARN", "ERROR"))
	addResult("disk filled to the last byte by another process %d times, with a backlog | %d events acknowledged, %d lost, %d repeated; all delivered while full, 200 again within %s of free space",
		rounds, acked, lost, b.ledger.duplicateCount(), longest.Round(10*time.Millisecond))
}

// holdsFor checks that a condition holds for some time.
func (b *bufferOnVolume) holdsFor(what string, span time.Duration, condition func() bool) {
	b.t.Helper()
	begin := time.Now()
	b.receiver.await("some time", func() bool {
		if !condition() {
			b.t.Fatalf("no longer true: %s", what)
		}
		return time.Since(begin) > span
	})
}

// logLines returns the number of log lines that are not about requests or deliveries.
func (b *bufferOnVolume) logLines() (lines int) {
	for message, count := range b.receiver.logCounts("INFO", "WARN", "ERROR") {
		if message != "Answered a request" && message != "Delivered a batch" {
			lines += count
		}
	}
	return lines
}

// A receiver starts on a read-only volume, and becomes ready when the volume is writable.
func TestReceiverStartsOnReadOnlyVolume(t *testing.T) {
	t.Parallel()
	b := newBufferOnVolume(t, "size=128m", 96*mebibyte)
	b.sink.down()
	b.receiver.startAndWait()
	b.sender.send(0, 20)
	b.receiver.kill()
	b.remount("ro")
	b.receiver.start()
	b.receiver.await("the receiver listens", func() bool { return b.receiver.answersOK("/healthz") })
	stop := b.startSending()
	b.awaitRefusal()
	b.sink.up()
	b.remount("rw")
	took := b.awaitAcceptance()
	stop()
	b.checkAnswers()
	if took > maxRecovery() {
		t.Errorf("recovery took %s", took)
	}
	acked, lost := b.ledger.count()
	addResult("volume read-only at the start | 503 and not ready, 200 within %s of the volume being writable; %d events acknowledged, %d lost", took.Round(10*time.Millisecond), acked, lost)
}

// When the volume becomes read-only, batches get 503 as soon as a new file is needed, and 200 again once it is writable.
func TestReadOnlyVolumeRefusesBatches(t *testing.T) {
	t.Parallel()
	b := newBufferOnVolume(t, "size=256m", 192*mebibyte)
	b.receiver.startAndWait()
	b.sink.down() // deliveries would free space in open files
	stop := b.startSending()
	var longest time.Duration
	rounds, staging := shortOrLong(1, 5), t.TempDir()
	for range rounds {
		b.awaitAcceptance()
		// Open files stay writable, files that are opened from now on are read-only. The remount is done at a second mount point,
		// because it is refused where files are open for writing.
		b.run("mount", "--bind", b.path, staging)
		b.run("mount", "-o", "remount,bind,ro", staging)
		b.run("mount", "--move", staging, b.path)
		b.awaitRefusal()
		b.run("umount", b.path)
		longest = max(longest, b.awaitAcceptance())
	}
	stop()
	b.sink.up()
	b.checkAnswers()
	if longest > maxRecovery() {
		t.Errorf("recovery took %s", longest)
	}
	acked, lost := b.ledger.count()
	addResult("volume read-only %d times | %d events acknowledged, %d lost; 503 and not ready meanwhile, 200 again within %s of the volume being writable",
		rounds, acked, lost, longest.Round(10*time.Millisecond))
}
