package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// unsavedWindow is how long before a kill a delivery may not have been saved: a cycle begins events for a second, waits for those in
// flight and then saves, on a busy machine. Where the machine or its disk stalls, an acknowledgement takes as long.
func unsavedWindow(slowestAck time.Duration) time.Duration { return 5*time.Second + slowestAck }

// unreadWindow is how long after a kill the sink may still read events that were sent before it.
func unreadWindow(slowestAck time.Duration) time.Duration { return 2*time.Second + slowestAck }

// The receiver is killed repeatedly under load. Every acknowledged event arrives, in order, and only events that were being delivered
// at a kill arrive twice.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	const webhooks = 4
	kills, minEvents := shortOrLong(6, 110), shortOrLong(10_000, 220_000)
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	for webhook := range webhooks / 2 { // so that deliveries are always in flight
		sink.setBehaviour(webhook, delayRandomly)
	}
	sink.up()
	r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.1S", sink.uris(webhooks)...))
	s := newSender(t, ledger, r)
	s.interval = 250 * time.Millisecond // 1600 events a second
	stop := s.start(webhooks)
	killTimes := killRepeatedly(r, s, kills)
	ledger.waitFor(t, "enough events", func() bool { return ledger.acknowledged >= minEvents })
	stop()
	ledger.awaitDelivery(t)
	r.await("an empty backlog", func() bool { return r.metric("mandrill_receiver_backlog_events") == 0 })
	statuses, _ := s.answers()
	for status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable && status != 0 {
			t.Errorf("batches got the statuses %v", statuses)
		}
	}
	unexplained := ledger.unexplainedDuplicates(killTimes, s.slowestAcknowledgement())
	acked, lost := ledger.count()
	t.Logf("%d kills, %d events, %d duplicates, statuses %v", kills, acked, ledger.duplicateCount(), statuses)
	if len(unexplained) > 0 {
		t.Errorf("%d of %d duplicates were not being delivered at a kill: %s", len(unexplained), ledger.duplicateCount(), strings.Join(unexplained[:min(len(unexplained), 5)], "; "))
	}
	if maxRepeated := kills * webhooks * maxRepeatedPerKill; ledger.duplicateCount() > maxRepeated {
		t.Errorf("%d duplicates, want at most %d", ledger.duplicateCount(), maxRepeated)
	}
	addResult("kill -9 %d times | %d events acknowledged, %d lost, %d repeated (%.1f per kill), in order",
		kills, acked, lost, ledger.duplicateCount(), float64(ledger.duplicateCount())/float64(kills))
}

func delayRandomly(_ http.ResponseWriter, r *http.Request) bool {
	elapse(r.Context(), rand.N(150*time.Millisecond))
	return false
}

// maxRepeatedPerKill is how many events of a webhook may be delivered but not saved at a kill, on average over all kills.
const maxRepeatedPerKill = 1000

// killRepeatedly starts and kills a receiver at random moments, and returns the times of the kills. In the end the receiver runs.
func killRepeatedly(r *receiver, s *sender, kills int) (killTimes []time.Time) {
	for n := range kills {
		r.start()
		if n%5 != 4 { // every fifth kill is at some moment of the start
			r.await("the receiver is ready", r.ready)
			acked, _ := s.ledger.count()
			r.await("a batch is acknowledged", func() bool { now, _ := s.ledger.count(); return now > acked })
		}
		elapse(r.t.Context(), rand.N(1500*time.Millisecond))
		r.kill()
		killTimes = append(killTimes, time.Now())
		if n%10 == 9 {
			acked, waiting := s.ledger.count()
			r.t.Logf("%d kills, %d events acknowledged, %d of them not delivered yet", n+1, acked, waiting)
		}
	}
	r.startAndWait()
	return killTimes
}

// unexplainedDuplicates describes the duplicates that no kill explains: a kill explains an event that arrived shortly before it and
// again after it.
func (l *ledger) unexplainedDuplicates(kills []time.Time, slowestAck time.Duration) (unexplained []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for serial, event := range l.events {
		if event.arrivals < 2 {
			continue
		}
		explained := false
		var nextKill time.Time // the first kill after the event's first arrival
		for _, moment := range kills {
			near := event.first.After(moment.Add(-unsavedWindow(slowestAck))) && event.first.Before(moment.Add(unreadWindow(slowestAck)))
			explained = explained || near && event.last.After(moment)
			if nextKill.IsZero() && moment.After(event.first) {
				nextKill = moment
			}
		}
		if !explained {
			unexplained = append(unexplained, fmt.Sprintf("event %d of sender %d arrived %s before a kill, and again %s after it",
				serial, event.sender, nextKill.Sub(event.first).Round(time.Millisecond), event.last.Sub(nextKill).Round(time.Millisecond)))
		}
	}
	return unexplained
}
