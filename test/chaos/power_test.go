package chaos_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/chaos/unsynced"
)

// The power fails repeatedly under load, at any change of a file, and all or some of what was not synced is lost. Every acknowledged
// event arrives, in order, and only events that were being delivered when the power failed arrive twice.
func TestPowerLossLosesNothing(t *testing.T) {
	t.Parallel()
	for _, order := range []unsynced.Order{unsynced.Journal, unsynced.Strict} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			testPowerLoss(t, order, shortOrLong(1, 5), shortOrLong(4, 6))
		})
	}
}

// The webhooks, by their sinks and batches.
const (
	plainWebhook = iota
	slowWebhook
	refusedWebhook        // its sink refuses some events, which makes remainders
	splitWebhook          // batches so large that they are split
	largeRemainderWebhook // remainders so large that they are split
	largeEventWebhook     // single events so large that they are stored as objects
	webhookCount
)

func testPowerLoss(t *testing.T, order unsynced.Order, rounds, failures int) {
	t.Helper()
	p := newPowerDisk(t, order)
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	sink.setBehaviour(slowWebhook, delayRandomly)
	sink.setBehaviour(refusedWebhook, sometimes(answerWith(http.StatusInternalServerError, "")))
	sink.setBehaviour(largeRemainderWebhook, sometimes(answerWith(http.StatusInternalServerError, "")))
	r := newReceiverOnPowerDisk(p, sink)
	senders := newSenders(t, ledger, r)[:shortOrLong(splitWebhook, webhookCount)] // large batches take long with the race detector
	var failureTimes []time.Time
	for round := range rounds {
		sink.up()
		var running sync.WaitGroup
		sending, stop := context.WithCancel(t.Context())
		for webhook, s := range senders {
			running.Go(func() { s.run(sending, webhook) })
		}
		for n := range failures {
			if n == failures/2 {
				sink.down()
			}
			failureTimes = append(failureTimes, p.failPower(r, ledger, n%4 == 3))
		}
		p.startReceiver(r)
		stop()
		sink.up() // the last batches may wait for space
		running.Wait()
		ledger.awaitDelivery(t)
		r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
		if t.Failed() {
			return
		}
		sink.down()
		r.kill()
		acked, _ := ledger.count()
		t.Logf("%d failures, %d events acknowledged", (round+1)*failures, acked)
	}
	var slowest time.Duration
	for _, s := range senders {
		statuses, _ := s.answers()
		slowest = max(slowest, s.slowestAcknowledgement())
		for status := range statuses {
			if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
				t.Errorf("batches got the statuses %v", statuses)
			}
		}
	}
	logged := r.logCounts("WARN", "ERROR")
	if logged["Lost a damaged message of the buffer"] > 0 {
		t.Errorf("messages are damaged; log: %v", logged)
	}
	if reported := r.logCounts("ERROR")["Messages of the buffer are gone that were stored before"]; reported > 0 {
		t.Errorf("%d losses were reported, and nothing is lost", reported)
	}
	acked, lost := ledger.count()
	t.Logf("%d failures, %d events, %d duplicates, %d messages came back, log: %v", len(failureTimes), acked, ledger.duplicateCount(),
		r.logCounts("INFO")["Removed a message that came back after it had been finished"], logged)
	if unexplained := ledger.unexplainedDuplicates(failureTimes, slowest); len(unexplained) > 0 {
		t.Errorf("%d of %d duplicates were not being delivered when the power failed: %s", len(unexplained), ledger.duplicateCount(), strings.Join(unexplained[:min(len(unexplained), 5)], "; "))
	}
	addResult("power lost %d times under load, file names durable as with %s | %d events acknowledged, %d lost, %d repeated, in order", len(failureTimes), order, acked, lost, ledger.duplicateCount())
}

// The power fails while the receiver is idle, and everything that was not synced is lost. That must be nothing that was acknowledged,
// and delivered events must not be delivered again.
func TestPowerLossAtRestRepeatsNothing(t *testing.T) {
	t.Parallel()
	for _, order := range []unsynced.Order{unsynced.Journal, unsynced.Strict} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			p := newPowerDisk(t, order)
			ledger := newLedger()
			sink := newSinkServer(t, ledger)
			r := newReceiverOnPowerDisk(p, sink)
			rounds := shortOrLong(1, 4)
			for round := range rounds + 1 {
				p.startReceiver(r)
				for webhook, s := range newSenders(t, ledger, r) {
					if webhook < splitWebhook || round < rounds { // the last round only shows what is delivered again
						s.send(webhook, 1)
					}
				}
				if round < rounds {
					p.failPowerAtRest(r)
					p.startReceiver(r)
				}
				sink.up()
				ledger.awaitDelivery(t)
				r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
				sink.down()
				p.failPowerAtRest(r)
			}
			if reported := r.logCounts("ERROR")["Messages of the buffer are gone that were stored before"]; reported > 0 {
				t.Errorf("%d losses were reported, and nothing is lost", reported)
			}
			acked, lost := ledger.count()
			if ledger.duplicateCount() > 0 {
				t.Errorf("%d of %d events were delivered twice", ledger.duplicateCount(), acked)
			}
			addResult("power lost %d times at rest, file names durable as with %s | %d events acknowledged, %d lost, %d repeated", 2*rounds, order, acked, lost, ledger.duplicateCount())
		})
	}
}

// newReceiverOnPowerDisk prepares a receiver with its buffer on the disk.
func newReceiverOnPowerDisk(p *powerDisk, sink *sinkServer) *receiver {
	p.t.Helper()
	const mebibytes256 = "268435456"
	r := newReceiver(p.t, writeRoutes(p.t, "backoffDelay: PT0.1S, retry: 100", sink.uris(webhookCount)...), "--buffer-max-bytes", mebibytes256)
	r.dir = filepath.Join(p.path, "buffer")
	r.args = append(r.args, "--buffer-dir", r.dir)
	return r
}

// newSenders returns a sender for each webhook.
func newSenders(t *testing.T, ledger *ledger, r *receiver) (senders []*sender) {
	for webhook := range webhookCount {
		s := newSender(t, ledger, r)
		s.interval = 250 * time.Millisecond
		switch webhook {
		case splitWebhook:
			s.events, s.padding = 300, incompressible(32<<10)
		case largeRemainderWebhook:
			s.events, s.padding = 20, compressible(512<<10)
		case largeEventWebhook:
			s.events, s.padding = 1, incompressible(9<<20)
		}
		if webhook >= splitWebhook {
			s.interval, s.retryDelay = 2*time.Second, time.Second
		}
		senders = append(senders, s)
	}
	return senders
}

// startReceiver starts a receiver in the namespace where the disk is mounted now.
func (p *powerDisk) startReceiver(r *receiver) {
	p.t.Helper()
	r.launcher = p.enter()
	r.startAndWait()
}

// awaitFailure waits for the change at which the power fails.
func (p *powerDisk) awaitFailure() {
	p.t.Helper()
	select {
	case <-p.disk.Failed():
	case <-time.After(awaitTimeout):
		p.t.Fatal("nothing is written")
	}
}

// failPower runs a receiver, lets the power fail, during its start or under load, and restores it. It returns when the power failed.
func (p *powerDisk) failPower(r *receiver, ledger *ledger, starting bool) time.Time {
	p.t.Helper()
	changes := 1 + p.random.IntN(1<<p.random.IntN(11))
	if starting {
		p.disk.FailAfter(changes)
		r.launcher = p.enter()
		r.start()
	} else {
		p.startReceiver(r)
		acked, _ := ledger.count()
		r.await("a batch is acknowledged", func() bool { now, _ := ledger.count(); return now > acked })
		if p.random.IntN(2) == 1 { // otherwise the receiver is still busy with its backlog
			elapse(p.t.Context(), rand.N(4*time.Second))
		}
		p.disk.FailAfter(changes)
	}
	p.awaitFailure()
	r.end(syscall.SIGKILL)
	p.disk.ReleaseWaiting()
	r.awaitExit("after the power failed")
	failedAt := time.Now()
	survival := p.disk.Draw()
	p.t.Logf("the power failed after %d changes, starting %t, %+v", changes, starting, survival)
	p.restorePower(survival)
	return failedAt
}

// failPowerAtRest lets the power fail while nothing is written.
func (p *powerDisk) failPowerAtRest(r *receiver) {
	p.t.Helper()
	r.kill()
	p.restorePower(unsynced.Survival{PieceBytes: 512})
}

// sometimes applies a behaviour to one request in five.
func sometimes(bad behaviour) behaviour {
	return func(w http.ResponseWriter, r *http.Request) bool { return rand.IntN(5) == 0 && bad(w, r) }
}

// compressible returns padding that compresses well.
func compressible(bytes int) func() string {
	text := strings.Repeat("a", bytes)
	return func() string { return text }
}
