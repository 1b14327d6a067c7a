package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// lossy is how long before a kill what was delivered may not have been written down: a round begins events for a second,
// waits for those that are under way, and writes, on a machine that has other things to do.
const unsavedWindow = 5 * time.Second

// unread is how long after a kill the consumer may read what had been sent before.
const unreadWindow = 2 * time.Second

// The receiver is killed again and again while batches come. What got a 200 arrives, in order, and only what was being
// delivered at a kill arrives twice.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	const webhooks = 4
	kills, least := shortOrLong(6, 110), shortOrLong(10_000, 220_000)
	book := newLedger()
	sink := newSinkServer(t, book)
	for webhook := range webhooks / 2 { // so that there is always something being delivered
		sink.setBehaviour(webhook, delayRandomly)
	}
	sink.up()
	r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.1S", sink.uris(webhooks)...))
	s := newSender(book, r)
	s.interval = 250 * time.Millisecond // 1600 events a second
	var senders sync.WaitGroup
	sending, stop := context.WithCancel(t.Context())
	for webhook := range webhooks {
		senders.Go(func() { s.run(sending, t.Context(), webhook) })
	}
	moments := killRepeatedly(r, s, kills)
	book.waitFor(t, "enough events", func() bool { return book.acknowledged >= least })
	stop()
	senders.Wait()
	book.awaitDelivery(t)
	r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
	statuses, _ := s.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
			t.Errorf("batches were answered with %v", statuses)
		}
	}
	strays := book.unexplainedDuplicates(moments)
	acked, lost := book.count()
	t.Logf("%d kills, %d events, %d duplicates, answers %v", kills, acked, book.duplicateCount(), statuses)
	if len(strays) > 0 {
		t.Errorf("%d of %d duplicates were not being delivered at a kill: %s", len(strays), book.duplicateCount(), strings.Join(strays[:min(len(strays), 5)], "; "))
	}
	if most := kills * webhooks * maxRepeatedPerKill; book.duplicateCount() > most {
		t.Errorf("%d duplicates, want at most %d", book.duplicateCount(), most)
	}
	addResult("kill -9, %d times | %d events acknowledged, %d lost, %d delivered twice (%.1f at each kill), order kept",
		kills, acked, lost, book.duplicateCount(), float64(book.duplicateCount())/float64(kills))
}

func delayRandomly(http.ResponseWriter, *http.Request) bool {
	<-time.After(rand.N(150 * time.Millisecond))
	return false
}

// inFlight is how many events of a webhook may be delivered in a round and not written down, at most, on average over all kills.
const maxRepeatedPerKill = 1000

// killAtRandom starts a receiver, kills it, and so on, and returns when it was killed. It runs in the end.
func killRepeatedly(r *receiver, s *sender, kills int) (moments []time.Time) {
	for n := range kills {
		r.start()
		if n%5 != 4 { // else at some time while it starts
			r.await("the receiver is ready", r.ready)
			acked, _ := s.ledger.count()
			r.await("a batch is acknowledged", func() bool { now, _ := s.ledger.count(); return now > acked })
		}
		<-time.After(rand.N(1500 * time.Millisecond))
		r.kill()
		moments = append(moments, time.Now())
		if n%10 == 9 {
			acked, waiting := s.ledger.count()
			r.t.Logf("%d kills, %d events acknowledged, %d of them under way", n+1, acked, waiting)
		}
	}
	r.startAndWait()
	return moments
}

// strays are the duplicates of events that arrived first when no kill was near, or again before it.
func (l *ledger) unexplainedDuplicates(moments []time.Time) (strays []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for serial, event := range l.events {
		if event.arrivals < 2 {
			continue
		}
		explained := false
		var next time.Time // kill after it arrived first
		for _, moment := range moments {
			near := event.first.After(moment.Add(-unsavedWindow)) && event.first.Before(moment.Add(unreadWindow))
			explained = explained || near && event.last.After(moment)
			if next.IsZero() && moment.After(event.first) {
				next = moment
			}
		}
		if !explained {
			strays = append(strays, fmt.Sprintf("event %d of sender %d, %s before a kill, and again %s after that",
				serial, event.sender, next.Sub(event.first).Round(time.Millisecond), event.last.Sub(next).Round(time.Millisecond)))
		}
	}
	return strays
}
