package chaos_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// disk is a receiver whose buffer is on a volume, while batches come.
type bufferOnVolume struct {
	*volume
	ledger     *ledger
	sink     *sinkServer
	receiver *receiver
	sender   *sender
}

const mebibyte = 1 << 20

// newDisk prepares a receiver on a volume with mount's options, whose buffer may take a number of bytes.
func newBufferOnVolume(t *testing.T, options string, bytes int) *bufferOnVolume {
	t.Helper()
	d := &bufferOnVolume{volume: newVolume(t, options), ledger: newLedger()}
	d.sink = newSinkServer(t, d.ledger)
	d.sink.up()
	d.receiver = newReceiver(t, writeRoutes(t, "backoffDelay: PT0.2S", d.sink.uris(2)...), "--buffer-max-bytes", strconv.Itoa(bytes))
	d.receiver.launcher, d.receiver.dir = d.enter(), filepath.Join(d.path, "buffer")
	d.receiver.args = append(d.receiver.args, "--buffer-dir", d.receiver.dir)
	d.sender = newSender(d.ledger, d.receiver)
	d.sender.events, d.sender.padding, d.sender.interval, d.sender.retryDelay = 10, incompressible(8<<10), 20*time.Millisecond, 50*time.Millisecond
	return d
}

// send has batches come until the returned function is called.
func (d *bufferOnVolume) startSending() (stop func()) {
	ctx, cancel := context.WithCancel(d.t.Context())
	var senders sync.WaitGroup
	for webhook := range 2 {
		senders.Go(func() { d.sender.run(ctx, d.t.Context(), webhook) })
	}
	return func() { cancel(); senders.Wait() }
}

// refusing waits until batches get 503 and the receiver says that it is not ready.
func (d *bufferOnVolume) awaitRefusal() {
	d.t.Helper()
	before, _ := d.sender.answers()
	d.receiver.await("batches get 503", func() bool {
		statuses, _ := d.sender.answers()
		return statuses[http.StatusServiceUnavailable] > before[http.StatusServiceUnavailable]
	})
	d.receiver.await("the receiver is not ready", func() bool { return !d.receiver.ready() })
}

// accepting waits until batches get 200 again, and returns how long it took.
func (d *bufferOnVolume) awaitAcceptance() time.Duration {
	d.t.Helper()
	begin := time.Now()
	d.receiver.await("batches get 200", func() bool {
		d.sender.mu.Lock()
		defer d.sender.mu.Unlock()
		return d.sender.lastAck.After(begin)
	})
	took := time.Since(begin)
	d.receiver.await("the receiver is ready", d.receiver.ready)
	return took
}

// finish waits for everything, and returns what the sender saw.
func (d *bufferOnVolume) checkAnswers() (statuses map[int]int, slowest time.Duration) {
	d.t.Helper()
	d.ledger.awaitDelivery(d.t)
	statuses, slowest = d.sender.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			d.t.Errorf("batches got %v", statuses)
		}
	}
	return statuses, slowest
}

const (
	// recovery is how long it may take until batches are accepted after the fault is over.
	maxRecovery = 15 * time.Second
	// leftAlone is how long a sink that did not work is at most.
	maxCircuitOpen = 30 * time.Second
)

// While the disk is full batches get 503. When there is room again the receiver goes on by itself.
func TestFullDiskRefusesBatches(t *testing.T) {
	t.Parallel()
	d := newBufferOnVolume(t, "size=128m", 96*mebibyte)
	d.receiver.startAndWait()
	stop := d.startSending()
	d.awaitAcceptance()
	var longest time.Duration
	rounds := shortOrLong(2, 12)
	for round := range rounds {
		if round%2 == 0 { // else it becomes full while events are delivered
			d.sink.down()
		}
		d.fill(1 << 20)
		d.awaitRefusal()
		lines := d.logLines()
		full := time.Now()
		d.receiver.await("some time", func() bool { d.fill(0); return time.Since(full) > 3*time.Second }) // files of the server that it has made smaller
		if grown := d.logLines() - lines; grown > 200 {
			t.Errorf("in %s of a full disk the log grew by %d lines besides those of requests", time.Since(full), grown)
		}
		d.removeBallast()
		longest = max(longest, d.awaitAcceptance())
		if round%2 == 0 {
			d.sink.up()
		}
	}
	stop()
	statuses, slowest := d.checkAnswers()
	if longest > maxRecovery {
		t.Errorf("it took %s until a batch was accepted again", longest)
	}
	acked, lost := d.ledger.count()
	t.Logf("answers %v; the log: %v", statuses, d.receiver.logCounts("WARN", "ERROR"))
	addResult("disk full, %d times, half of them with the sink down | %d events acknowledged, %d lost, %d delivered twice; 503 and not ready while it was full, the slowest answer after %s, 200 again at most %s after there was room",
		rounds, acked, lost, d.ledger.duplicateCount(), slowest.Round(time.Millisecond), longest.Round(10*time.Millisecond))
}

// A buffer that may take more than its volume has fills it while the sink is down. When the sink works again what was
// acknowledged is delivered and makes room, without anybody's help.
func TestVolumeSmallerThanBufferRecovers(t *testing.T) {
	t.Parallel()
	d := newBufferOnVolume(t, "size=64m", 512*mebibyte)
	d.sender.padding, d.sender.interval = incompressible(32<<10), 0
	d.sink.down()
	d.receiver.startAndWait()
	stop := d.startSending()
	var longest time.Duration
	rounds := shortOrLong(1, 5)
	for round := range rounds {
		d.awaitRefusal()
		d.holdsFor("it is not ready", time.Second, func() bool { return !d.receiver.ready() })
		if round%2 == 1 { // half of what fills it waits for somewhat longer, and makes remainders
			d.sink.setBehaviour(1, answerWith(http.StatusInternalServerError, ""))
		}
		d.sink.up()
		if round%2 == 1 {
			d.holdsFor("the receiver lives", 10*time.Second, func() bool { return d.receiver.answersOK("/healthz") })
			d.sink.setBehaviour(1, nil)
		}
		longest = max(longest, d.awaitAcceptance())
		d.sink.down()
	}
	d.sink.up()
	stop()
	statuses, slowest := d.checkAnswers()
	if longest > maxCircuitOpen+maxRecovery {
		t.Errorf("it took %s until a batch was accepted again", longest)
	}
	acked, lost := d.ledger.count()
	t.Logf("answers %v; the log: %v", statuses, d.receiver.logCounts("WARN", "ERROR"))
	addResult("volume smaller than the buffer may be, filled %d times while the sink was down | %d events acknowledged, %d lost, %d delivered twice; 503 and not ready while it was full, the slowest answer after %s, 200 again at most %s after the sink worked",
		rounds, acked, lost, d.ledger.duplicateCount(), slowest.Round(time.Millisecond), longest.Round(10*time.Millisecond))
}

// When somebody else fills the disk to the last byte, what was acknowledged is delivered all the same.
func TestBacklogIsDeliveredFromFullDisk(t *testing.T) {
	t.Parallel()
	d := newBufferOnVolume(t, "size=128m", 96*mebibyte)
	d.sink.down()
	d.receiver.startAndWait()
	var longest time.Duration
	rounds := shortOrLong(1, 5)
	for range rounds {
		stop := d.startSending()
		d.awaitAcceptance()
		before, _ := d.ledger.count()
		d.receiver.await("some wait", func() bool { acked, _ := d.ledger.count(); return acked > before+1000 })
		d.fill(0)
		d.awaitRefusal()
		d.sink.up()
		d.ledger.awaitDelivery(t)
		if d.receiver.ready() {
			t.Error("the receiver is ready though the disk is full")
		}
		d.removeBallast()
		longest = max(longest, d.awaitAcceptance())
		stop()
		d.sink.down()
	}
	d.sink.up()
	statuses, _ := d.checkAnswers()
	if longest > maxRecovery {
		t.Errorf("it took %s until a batch was accepted again", longest)
	}
	acked, lost := d.ledger.count()
	t.Logf("answers %v; the log: %v", statuses, d.receiver.logCounts("WARN", "ERROR"))
	addResult("disk filled to the last byte by others, %d times, with batches waiting | %d events acknowledged, %d lost, %d delivered twice; all were delivered while it was full, 200 again at most %s after there was room",
		rounds, acked, lost, d.ledger.duplicateCount(), longest.Round(10*time.Millisecond))
}

// stays looks for some time whether a condition holds.
func (d *bufferOnVolume) holdsFor(what string, span time.Duration, condition func() bool) {
	d.t.Helper()
	begin := time.Now()
	d.receiver.await("some time", func() bool {
		if !condition() {
			d.t.Fatalf("not any more: %s", what)
		}
		return time.Since(begin) > span
	})
}

// lines is how many lines the log has that are not of requests.
func (d *bufferOnVolume) logLines() (lines int) {
	for message, count := range d.receiver.logCounts("INFO", "WARN", "ERROR") {
		if message != "Answered a request" && message != "Delivered a batch" {
			lines += count
		}
	}
	return lines
}

// A receiver that starts while its volume is read-only gets ready when it can be written.
func TestReceiverStartsOnReadOnlyVolume(t *testing.T) {
	t.Parallel()
	d := newBufferOnVolume(t, "size=128m", 96*mebibyte)
	d.sink.down()
	d.receiver.startAndWait()
	d.sender.send(t.Context(), 0, 20)
	d.receiver.kill()
	d.remount("ro")
	d.receiver.start()
	d.receiver.await("the receiver listens", func() bool { return d.receiver.answersOK("/healthz") })
	stop := d.startSending()
	d.awaitRefusal()
	d.sink.up()
	d.remount("rw")
	took := d.awaitAcceptance()
	stop()
	d.checkAnswers()
	if took > maxRecovery {
		t.Errorf("it took %s until a batch was accepted", took)
	}
	acked, lost := d.ledger.count()
	addResult("volume read-only at the start | 503 and not ready, 200 after %s when it can be written; %d events acknowledged, %d lost", took.Round(10*time.Millisecond), acked, lost)
}

// When the volume becomes read-only, 503 begins at the latest when a new file is needed, and ends by itself.
func TestReadOnlyVolumeRefusesBatches(t *testing.T) {
	t.Parallel()
	d := newBufferOnVolume(t, "size=256m", 192*mebibyte)
	d.receiver.startAndWait()
	d.sink.down() // what is delivered would make room in files that are open
	stop := d.startSending()
	var longest time.Duration
	rounds, elsewhere := shortOrLong(1, 5), t.TempDir()
	for range rounds {
		d.awaitAcceptance()
		// Files that are open cannot be made read-only: those that are opened from now on are.
		// It is done elsewhere, because it is refused where one was opened meanwhile.
		d.run("mount", "--bind", d.path, elsewhere)
		d.run("mount", "-o", "remount,bind,ro", elsewhere)
		d.run("mount", "--move", elsewhere, d.path)
		d.awaitRefusal()
		d.run("umount", d.path)
		longest = max(longest, d.awaitAcceptance())
	}
	stop()
	d.sink.up()
	d.checkAnswers()
	if longest > maxRecovery {
		t.Errorf("it took %s until a batch was accepted again", longest)
	}
	acked, lost := d.ledger.count()
	addResult("volume read-only, %d times | %d events acknowledged, %d lost; 503 and not ready meanwhile, 200 again at most %s after it could be written",
		rounds, acked, lost, longest.Round(10*time.Millisecond))
}
