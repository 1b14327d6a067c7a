package chaos_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/chaos/unsynced"
)

// The power fails again and again while batches come, at any change of a file, and what was not synced is gone, all or some of
// it. What got a 200 arrives, in order, and only what was being delivered when the power failed arrives twice.
func TestPowerLossLosesNothing(t *testing.T) {
	t.Parallel()
	for _, order := range []unsynced.Order{unsynced.Journal, unsynced.Strict} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			testPowerLoss(t, order, shortOrLong(1, 5), shortOrLong(4, 6))
		})
	}
}

// What the batches and the sink of a webhook are like.
const (
	plainWebhook = iota
	slowWebhook
	refusedWebhook  // some events, at first: so that what is left of batches is written down
	splitWebhook    // so large that they are taken apart
	largeRemainderWebhook  // what is left of them is large enough to be taken apart
	largeEventWebhook   // of one event that is so large that it is an object
	webhookCount // how many there are
)

func testPowerLoss(t *testing.T, order unsynced.Order, rounds, failures int) {
	t.Helper()
	p := newPowerDisk(t, order)
	book := newLedger()
	sink := newSinkServer(t, book)
	sink.setBehaviour(slowWebhook, delayRandomly)
	sink.setBehaviour(refusedWebhook, sometimes(answerWith(http.StatusInternalServerError, "")))
	sink.setBehaviour(largeRemainderWebhook, sometimes(answerWith(http.StatusInternalServerError, "")))
	r := newReceiverOnPowerDisk(p, sink)
	senders := newSenders(book, r)[:shortOrLong(splitWebhook, webhookCount)] // large ones take long with the race detector
	var moments []time.Time
	for round := range rounds {
		sink.up()
		var sending sync.WaitGroup
		until, stop := context.WithCancel(t.Context())
		for webhook, s := range senders {
			sending.Go(func() { s.run(until, t.Context(), webhook) })
		}
		for n := range failures {
			if n == failures/2 {
				sink.down()
			}
			moments = append(moments, p.failPower(r, book, n%4 == 3))
		}
		p.startReceiver(r)
		stop()
		sink.up() // the last batches may wait for room
		sending.Wait()
		book.awaitDelivery(t)
		r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
		if t.Failed() {
			return
		}
		sink.down()
		r.kill()
		acked, _ := book.count()
		t.Logf("%d failures, %d events acknowledged", (round+1)*failures, acked)
	}
	for _, s := range senders {
		statuses, _ := s.answers()
		for status := range statuses {
			if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
				t.Errorf("batches were answered with %v", statuses)
			}
		}
	}
	said := r.logCounts("WARN", "ERROR")
	if said["Lost a message of the buffer"] > 0 {
		t.Errorf("messages are damaged; the log: %v", said)
	}
	acked, lost := book.count()
	t.Logf("%d failures, %d events, %d duplicates, the log: %v", len(moments), acked, book.duplicateCount(), said)
	if strays := book.unexplainedDuplicates(moments); len(strays) > 0 {
		t.Errorf("%d of %d duplicates were not being delivered when the power failed: %s", len(strays), book.duplicateCount(), strings.Join(strays[:min(len(strays), 5)], "; "))
	}
	addResult("power lost, %d times, names as with %s | %d events acknowledged, %d lost, %d delivered twice, order kept", len(moments), order, acked, lost, book.duplicateCount())
}

// The power fails when nothing is being done, and everything that was not synced is gone: that is nothing of what was
// acknowledged, and what was delivered does not come back.
func TestPowerLossAtRestRepeatsNothing(t *testing.T) {
	t.Parallel()
	for _, order := range []unsynced.Order{unsynced.Journal, unsynced.Strict} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			p := newPowerDisk(t, order)
			book := newLedger()
			sink := newSinkServer(t, book)
			r := newReceiverOnPowerDisk(p, sink)
			rounds := shortOrLong(1, 4)
			for round := range rounds + 1 {
				p.startReceiver(r)
				for webhook, s := range newSenders(book, r) {
					if webhook < splitWebhook || round < rounds { // in the end one sees only what comes back
						s.send(t.Context(), webhook, 1)
					}
				}
				if round < rounds {
					p.failPowerAtRest(r)
					p.startReceiver(r)
				}
				sink.up()
				book.awaitDelivery(t)
				r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
				sink.down()
				p.failPowerAtRest(r)
			}
			acked, lost := book.count()
			if book.duplicateCount() > 0 {
				t.Errorf("%d of %d events were delivered twice", book.duplicateCount(), acked)
			}
			addResult("power lost at rest, %d times, names as with %s | %d events acknowledged, %d lost, %d delivered twice", 2*rounds, order, acked, lost, book.duplicateCount())
		})
	}
}

// newPoweredReceiver prepares one with its buffer on the disk.
func newReceiverOnPowerDisk(p *powerDisk, sink *sinkServer) *receiver {
	p.t.Helper()
	const mebibytes256 = "268435456"
	r := newReceiver(p.t, writeRoutes(p.t, "backoffDelay: PT0.1S, retry: 100", sink.uris(webhookCount)...), "--buffer-max-bytes", mebibytes256)
	r.dir = filepath.Join(p.path, "buffer")
	r.args = append(r.args, "--buffer-dir", r.dir)
	return r
}

// sendersOf returns one for each webhook.
func newSenders(book *ledger, r *receiver) (senders []*sender) {
	for webhook := range webhookCount {
		s := newSender(book, r)
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

// run has a receiver run where the disk is mounted now.
func (p *powerDisk) startReceiver(r *receiver) {
	p.t.Helper()
	r.launcher = p.enter()
	r.startAndWait()
}

// fail has a receiver run, and the power fail and come back.
func (p *powerDisk) failPower(r *receiver, book *ledger, starting bool) time.Time {
	p.t.Helper()
	changes := 1 + p.random.IntN(1<<p.random.IntN(11))
	if starting {
		p.disk.FailAfter(changes)
		r.launcher = p.enter()
		r.start()
	} else {
		p.startReceiver(r)
		acked, _ := book.count()
		r.await("a batch is acknowledged", func() bool { now, _ := book.count(); return now > acked })
		<-time.After(time.Duration(p.random.IntN(2)) * rand.N(4*time.Second)) // else it is still busy with what it has found
		p.disk.FailAfter(changes)
	}
	select {
	case <-p.disk.Failed():
	case <-time.After(awaitTimeout):
		p.t.Fatal("nothing is written")
	}
	_ = r.process.Process.Kill()
	p.disk.ReleaseWaiting()
	<-r.exited
	moment := time.Now()
	luck := p.disk.Draw()
	p.t.Logf("the power failed after %d changes, starting %t, %+v", changes, starting, luck)
	p.restorePower(luck)
	return moment
}

// rest has the power fail while nothing is written.
func (p *powerDisk) failPowerAtRest(r *receiver) {
	p.t.Helper()
	r.kill()
	p.restorePower(unsynced.Survival{PieceBytes: 512})
}

// sometimes has a sink behave badly once in five times.
func sometimes(bad behaviour) behaviour {
	return func(w http.ResponseWriter, r *http.Request) bool { return rand.IntN(5) == 0 && bad(w, r) }
}

// repeated makes padding that can be compressed.
func compressible(bytes int) func() string {
	text := strings.Repeat("a", bytes)
	return func() string { return text }
}
