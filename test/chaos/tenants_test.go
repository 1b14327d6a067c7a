package chaos_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// maxDelay is how long the events of a webhook may wait because of others. Only make chaos has a machine for itself: elsewhere it is
// less than a sink that hangs takes, which is 10 seconds, or more where even the slowest answer to a batch took long.
func maxDelay(slowestAnswer time.Duration) time.Duration {
	if *long {
		return time.Second
	}
	return max(8*time.Second, 4*slowestAnswer)
}

// The sinks of 60 webhooks hang. Five others get their events as if they were alone.
func TestHangingWebhooksDelayNoOther(t *testing.T) {
	t.Parallel()
	const hanging, good = 60, 5
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	sink.up()
	for webhook := range hanging {
		sink.setBehaviour(webhook, hang)
	}
	r := newReceiver(t, writeRoutes(t, "", sink.uris(hanging+good)...))
	r.startAndWait()
	bad, fine := newSender(t, ledger, r), newSender(t, ledger, r)
	bad.events, bad.interval = 20, 5*time.Second
	fine.events, fine.interval = 20, 200*time.Millisecond
	sending, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for webhook := range hanging {
		senders.Go(func() { bad.run(sending, webhook) })
	}
	r.await("the sinks hang", func() bool { acked, _ := ledger.count(); return acked >= hanging*bad.events })
	for webhook := hanging; webhook < hanging+good; webhook++ {
		senders.Go(func() { fine.run(sending, webhook) })
	}
	began := time.Now()
	elapse(t.Context(), time.Duration(shortOrLong(12, 60))*time.Second) // longer than the time-out of the sinks
	phase := time.Since(began)
	stop()
	senders.Wait()
	isGood := func(sender int) bool { return sender >= hanging }
	ledger.waitFor(t, "the events of the good webhooks", func() bool { return ledger.undeliveredOf(isGood) == 0 })
	slowest, delivered := ledger.slowestDelivery(isGood)
	_, answer := fine.answers()
	if limit := maxDelay(answer); slowest > limit || delivered == 0 {
		t.Errorf("of %d events of webhooks whose sinks work, the slowest arrived %s after its 200, want %s at most; the slowest answer took %s",
			delivered, slowest, limit, answer)
		t.Logf("slow deliveries by second: %v", ledger.lateArrivals(began, limit))
	}
	for webhook := range hanging {
		sink.setBehaviour(webhook, nil)
	}
	_, backlog := ledger.count()
	ledger.awaitDelivery(t)
	acked, lost := ledger.count()
	addResult("sinks of %d webhooks hang for %s, %d others work | the %d events of the others arrive within %s of their 200; backlog of %d events delivered afterwards; %d acknowledged, %d lost, %d repeated",
		hanging, phase.Round(time.Second), good, delivered, slowest.Round(time.Millisecond), backlog, acked, lost, ledger.duplicateCount())
}

// lateArrivals counts the events that arrived later than a limit after their acknowledgement, by the second of that.
func (l *ledger) lateArrivals(began time.Time, limit time.Duration) map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	late := map[int]int{}
	for _, event := range l.events {
		if event.acknowledged && event.ackedAt.After(began) && event.first.Sub(event.ackedAt) > limit {
			late[int(event.ackedAt.Sub(began)/time.Second)]++
		}
	}
	return late
}

// undeliveredOf returns how many acknowledged events of some senders have not arrived. The ledger is locked.
func (l *ledger) undeliveredOf(selected func(sender int) bool) (count int) {
	for _, event := range l.events {
		if event.acknowledged && event.arrivals == 0 && selected(int(event.sender)) {
			count++
		}
	}
	return count
}

const (
	// poisonBytes is the size of an event that is legal, and takes more memory than there is.
	poisonBytes = 90 << 20
	// poisonLimit is enough for everything else.
	poisonLimit = 96 << 20
)

// A stored event needs more memory than the receiver may have. The receiver is killed twice at most. Then the event is a dead letter,
// and those of everybody arrive.
func TestPoisonIsQuarantined(t *testing.T) {
	t.Parallel()
	limited := newMemoryCgroup(t, poisonLimit, "POISON THAT EXHAUSTS THE MEMORY")
	const webhooks = 4
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	var arrived atomic.Int64
	sink.setBehaviour(0, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.ContentLength < poisonBytes {
			return false
		}
		received, _ := io.Copy(io.Discard, r.Body)
		arrived.Store(received)
		return true
	})
	r := newReceiver(t, writeRoutes(t, "backoffDelay: PT0.2S", sink.uris(webhooks)...))
	r.startAndWait()
	s := newSender(t, ledger, r)
	send := func(batches int) {
		for webhook := range webhooks {
			s.send(webhook, batches)
		}
	}
	send(shortOrLong(3, 30))
	poison := `{"event":"inbound","_id":"poison","text":"` + strings.Repeat("x", poisonBytes) + `"}`
	request, err := mandrilltest.NewRequest(t.Context(), "http://receiver/w0", hookURL(0), signingKey, mandrilltest.Batch([]byte(poison)))
	if err != nil {
		t.Fatal(err)
	}
	if status := s.attempt(t.Context(), r, request); status != http.StatusOK {
		t.Fatalf("the poison got the status %d", status)
	}
	send(shortOrLong(3, 30))
	r.stop()
	sink.up()
	unlimited := r.launcher
	r.launcher = limited.enter()
	kills, took := killedByMemory(r, func() bool {
		_, waiting := ledger.count()
		return waiting == 0 && r.metric("mandrill_receiver_dead_lettered_total", `reason="quarantined"`) > 0
	})
	ledger.awaitDelivery(t)
	letters := r.deadLetters("")
	if kills == 0 || kills > 2 || len(letters) != 1 || letters[0].Webhook != "shop/w0" || letters[0].Reason != "quarantined" {
		t.Errorf("the receiver was killed %d times, want 1 or 2; the dead letters are %+v", kills, letters)
	}
	t.Logf("peak of the memory: %d MiB", limited.peak()>>20)
	r.stop()
	r.launcher = unlimited
	r.startAndWait()
	var redriven struct{ Count int }
	r.admin(http.MethodPost, "/dead-letters/redrive", `{"all": true}`, &redriven)
	r.await("the poison arrives", func() bool { return arrived.Load() > 0 })
	if got := arrived.Load(); got != int64(len(poison)) {
		t.Errorf("the poison arrived with %d bytes, want %d", got, len(poison))
	}
	acked, lost := ledger.count()
	addResult("one stored event of %d MiB exhausts a cgroup of %d MiB | killed %d times, then a dead letter; %d events of others acknowledged, %d lost, %d repeated, all within %s; redriven without the limit it arrives",
		poisonBytes>>20, poisonLimit>>20, kills, acked, lost, ledger.duplicateCount(), took.Round(time.Second))
}

// killedByMemory starts a receiver whenever the kernel has killed it, until a condition holds.
func killedByMemory(r *receiver, condition func() bool) (kills int, took time.Duration) {
	r.t.Helper()
	r.exitExpected = true
	defer func() { r.exitExpected = false }()
	began := time.Now()
	r.start()
	r.await("everything is delivered or set aside", func() bool {
		select {
		case <-r.exited:
			if kills++; kills > 10 {
				r.t.Fatal("the receiver was killed again and again")
			}
			r.start()
			return false
		default:
			return condition()
		}
	})
	return kills, time.Since(began)
}

// The sink of one webhook refuses thousands of events. The dead letters of others stay.
func TestDeadLettersOfOneLeaveThoseOfOthers(t *testing.T) {
	t.Parallel()
	const webhooks, quietEvents = 4, 20
	noisy := shortOrLong(1_800, 10_000)
	ledger := newLedger()
	sink := newSinkServer(t, ledger)
	sink.up()
	for webhook := range webhooks {
		sink.setBehaviour(webhook, answerWith(http.StatusUnprocessableEntity, ""))
	}
	r := newReceiver(t, writeRoutes(t, "", sink.uris(webhooks)...), "--buffer-max-bytes", strconv.Itoa(64*mebibyte)) // a tenth of it for dead letters
	r.startAndWait()
	s := newSender(t, ledger, r)
	s.padding, s.events = incompressible(4<<10), quietEvents
	for webhook := 1; webhook < webhooks; webhook++ {
		s.send(webhook, 1)
	}
	deadLettered := func() float64 { return r.metric("mandrill_receiver_dead_lettered_total") }
	r.await("the dead letters of the others", func() bool { return deadLettered() == (webhooks-1)*quietEvents })
	s.events = 100
	began := time.Now()
	s.send(0, noisy/s.events)
	for before := 0.0; deadLettered() < float64((webhooks-1)*quietEvents+noisy); { // it takes as long as it takes
		r.await("more dead letters", func() bool { return deadLettered() > before })
		before = deadLettered()
	}
	took := time.Since(began)
	for webhook := 1; webhook < webhooks; webhook++ {
		name := fmt.Sprintf("shop/w%d", webhook)
		if letters := r.deadLetters(name); len(letters) != quietEvents {
			t.Errorf("of %d dead letters of %s, %d are left", quietEvents, name, len(letters))
		}
	}
	const evicted = "mandrill_receiver_dead_letters_evicted_total"
	all, own := r.metric(evicted), r.metric(evicted, `webhook="shop/w0"`)
	left := len(r.deadLetters("shop/w0"))
	if own == 0 || own != all || left+int(own) != noisy {
		t.Errorf("%v dead letters were evicted, %v of them of the noisy webhook, which has %d of %d", all, own, left, noisy)
	}
	addResult("the sink of one webhook refuses %d events | all %d dead letters of %d others stay; of its own the last %d, in %s", noisy, (webhooks-1)*quietEvents, webhooks-1, left, took.Round(time.Second))
}
