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
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for _, order := range []unsynced.Order{unsynced.Journal, unsynced.Strict} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			losePower(t, order, choose(1, 5), choose(4, 6))
		})
	}
}

// What the batches and the sink of a webhook are like.
const (
	plainly = iota
	sluggishly
	refused  // some events, at first: so that what is left of batches is written down
	apart    // so large that they are taken apart
	loosely  // what is left of them is large enough to be taken apart
	singly   // of one event that is so large that it is an object
	webhooks // how many there are
)

func losePower(t *testing.T, order unsynced.Order, rounds, failures int) {
	t.Helper()
	p := newPowered(t, order)
	book := newLedger()
	sink := newConsumer(t, book)
	sink.behave(sluggishly, sluggish)
	sink.behave(refused, sometimes(answering(http.StatusInternalServerError, "")))
	sink.behave(loosely, sometimes(answering(http.StatusInternalServerError, "")))
	r := newPoweredReceiver(p, sink)
	senders := sendersOf(book, r)[:choose(apart, webhooks)] // large ones take long with the race detector
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
			moments = append(moments, p.fail(r, book, n%4 == 3))
		}
		p.run(r)
		stop()
		sink.up() // the last batches may wait for room
		sending.Wait()
		book.settle(t)
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
	said := r.said("WARN", "ERROR")
	if said["Lost a damaged message of the buffer"] > 0 {
		t.Errorf("messages are damaged; the log: %v", said)
	}
	acked, lost := book.count()
	t.Logf("%d failures, %d events, %d duplicates, the log: %v", len(moments), acked, book.repeated(), said)
	if strays := book.strays(moments); len(strays) > 0 {
		t.Errorf("%d of %d duplicates were not being delivered when the power failed: %s", len(strays), book.repeated(), strings.Join(strays[:min(len(strays), 5)], "; "))
	}
	result("power lost, %d times, names as with %s | %d events acknowledged, %d lost, %d delivered twice, order kept", len(moments), order, acked, lost, book.repeated())
}

// The power fails when nothing is being done, and everything that was not synced is gone: that is nothing of what was
// acknowledged, and what was delivered does not come back.
func TestPowerLossAtRest(t *testing.T) {
	t.Parallel()
	for _, order := range []unsynced.Order{unsynced.Journal, unsynced.Strict} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			p := newPowered(t, order)
			book := newLedger()
			sink := newConsumer(t, book)
			r := newPoweredReceiver(p, sink)
			rounds := choose(1, 4)
			for round := range rounds + 1 {
				p.run(r)
				for webhook, s := range sendersOf(book, r) {
					if webhook < apart || round < rounds { // in the end one sees only what comes back
						s.send(t.Context(), webhook, 1)
					}
				}
				if round < rounds {
					p.rest(r)
					p.run(r)
				}
				sink.up()
				book.settle(t)
				r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
				sink.down()
				p.rest(r)
			}
			acked, lost := book.count()
			if book.repeated() > 0 {
				t.Errorf("%d of %d events were delivered twice", book.repeated(), acked)
			}
			result("power lost at rest, %d times, names as with %s | %d events acknowledged, %d lost, %d delivered twice", 2*rounds, order, acked, lost, book.repeated())
		})
	}
}

// newPoweredReceiver prepares one with its buffer on the disk.
func newPoweredReceiver(p *powered, sink *consumer) *receiver {
	p.t.Helper()
	const mebibytes256 = "268435456"
	r := newReceiver(p.t, writeRoutes(p.t, "backoffDelay: PT0.1S, retry: 100", sink.uris(webhooks)...), "--buffer-max-bytes", mebibytes256)
	r.dir = filepath.Join(p.path, "buffer")
	r.args = append(r.args, "--buffer-dir", r.dir)
	return r
}

// sendersOf returns one for each webhook.
func sendersOf(book *ledger, r *receiver) (senders []*sender) {
	for webhook := range webhooks {
		s := newSender(book, r)
		s.pace = 250 * time.Millisecond
		switch webhook {
		case apart:
			s.events, s.padding = 300, noise(32<<10)
		case loosely:
			s.events, s.padding = 20, repeated(512<<10)
		case singly:
			s.events, s.padding = 1, noise(9<<20)
		}
		if webhook >= apart {
			s.pace, s.pause = 2*time.Second, time.Second
		}
		senders = append(senders, s)
	}
	return senders
}

// run has a receiver run where the disk is mounted now.
func (p *powered) run(r *receiver) {
	p.t.Helper()
	r.wrap = p.wrap()
	r.started()
}

// fail has a receiver run, and the power fail and come back.
func (p *powered) fail(r *receiver, book *ledger, starting bool) time.Time {
	p.t.Helper()
	changes := 1 + p.random.IntN(1<<p.random.IntN(11))
	if starting {
		p.disk.FailAfter(changes)
		r.wrap = p.wrap()
		r.start()
	} else {
		p.run(r)
		acked, _ := book.count()
		r.await("a batch is acknowledged", func() bool { now, _ := book.count(); return now > acked })
		<-time.After(time.Duration(p.random.IntN(2)) * rand.N(4*time.Second)) // else it is still busy with what it has found
		p.disk.FailAfter(changes)
	}
	select {
	case <-p.disk.Failed():
	case <-time.After(patience):
		p.t.Fatal("nothing is written")
	}
	_ = r.process.Process.Kill()
	p.disk.Abandon()
	<-r.ended
	moment := time.Now()
	luck := p.disk.Draw()
	p.t.Logf("the power failed after %d changes, starting %t, %+v", changes, starting, luck)
	p.again(luck)
	return moment
}

// rest has the power fail while nothing is written.
func (p *powered) rest(r *receiver) {
	p.t.Helper()
	r.kill()
	p.again(unsynced.Luck{Piece: 512})
}

// sometimes has a sink behave badly once in five times.
func sometimes(bad behaviour) behaviour {
	return func(w http.ResponseWriter, r *http.Request) bool { return rand.IntN(5) == 0 && bad(w, r) }
}

// repeated makes padding that can be compressed.
func repeated(bytes int) func() string {
	text := strings.Repeat("a", bytes)
	return func() string { return text }
}
