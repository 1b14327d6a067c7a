package chaos_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
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
			losePower(t, order, choose(4, 60))
		})
	}
}

// What a webhook's batches and sink are like in TestPowerLoss.
const (
	plainly = iota
	sluggishly
	refused  // some events, at first: so that what is left of batches is written down
	apart    // so large that they are taken apart
	loosely  // what is left of them is large enough to be taken apart
	singly   // of one event that is so large that it is an object
	webhooks // how many there are
)

func losePower(t *testing.T, order unsynced.Order, failures int) {
	p := newPowered(t, order)
	book := newLedger()
	sink := newConsumer(t, book)
	sink.behave(sluggishly, sluggish)
	sink.behave(refused, sometimes(answering(http.StatusInternalServerError, "")))
	sink.behave(loosely, sometimes(answering(http.StatusInternalServerError, "")))
	sink.up()
	r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.1S, retry: 100", sink.uris(webhooks)...), "--buffer-max-bytes", "1073741824")
	r.dir = filepath.Join(p.path, "buffer")
	r.args = append(r.args, "--buffer-dir", r.dir)
	var senders sync.WaitGroup
	sending, stop := context.WithCancel(t.Context())
	var all []*sender
	for webhook := range webhooks {
		s := newSender(book, r)
		s.pace = 250 * time.Millisecond
		switch webhook {
		case apart:
			s.events, s.padding, s.pace, s.pause = 300, noise(32<<10), time.Second, 300*time.Millisecond
		case loosely:
			s.events, s.padding, s.pace, s.pause = 20, repeated(512<<10), time.Second, 300*time.Millisecond
		case singly:
			s.events, s.padding, s.pace, s.pause = 1, noise(9<<20), time.Second, 300*time.Millisecond
		}
		all = append(all, s)
		senders.Go(func() { s.run(sending, t.Context(), webhook) })
	}
	var moments []time.Time
	for n := range failures {
		switch n % 6 { // the sinks are down in between
		case 2:
			sink.down()
		case 4:
			sink.up()
		}
		moments = append(moments, p.fail(r, book, n%4 == 3))
		if n%10 == 9 {
			acked, waiting := book.count()
			t.Logf("%d failures, %d events acknowledged, %d of them under way", n+1, acked, waiting)
		}
	}
	r.wrap = p.wrap()
	r.started()
	stop()
	senders.Wait()
	if sink.server == nil {
		sink.up()
	}
	book.settle(t)
	r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
	strays := book.strays(moments)
	acked, lost := book.count()
	t.Logf("%d failures, %d events, %d duplicates, the log: %v", failures, acked, book.duplicates, r.said("WARN", "ERROR"))
	if strays > 0 {
		t.Errorf("%d of %d duplicates were not being delivered when the power failed", strays, book.duplicates)
	}
	result("power lost, %d times, %s order | %d events acknowledged, %d lost, %d delivered twice, order kept", failures, order, acked, lost, book.duplicates)
}

// fail has a receiver run, and the power fail and come back.
func (p *powered) fail(r *receiver, book *ledger, starting bool) time.Time {
	p.t.Helper()
	r.wrap = p.wrap()
	changes := 1 + p.random.IntN(1<<p.random.IntN(11))
	if os.Getenv("MORE") != "" {
		changes = 150 + p.random.IntN(300)
	}
	if starting {
		p.disk.FailAfter(changes)
		r.start()
	} else {
		r.started()
		acked, _ := book.count()
		r.await("a batch is acknowledged", func() bool { now, _ := book.count(); return now > acked })
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

// sometimes has a sink behave badly once in five times.
func sometimes(bad behaviour) behaviour {
	return func(w http.ResponseWriter, r *http.Request) bool { return rand.IntN(5) == 0 && bad(w, r) }
}

// repeated makes padding that can be compressed.
func repeated(bytes int) func() string {
	text := strings.Repeat("a", bytes)
	return func() string { return text }
}
