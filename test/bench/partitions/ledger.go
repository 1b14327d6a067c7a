package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// messagesPerWebhook is how many messages a webhook has. Its events belong to them in turn, and those of one message keep their order.
const messagesPerWebhook = 40

// ledger is the sink. It accepts everything at once, and records which events were made and which arrived.
type ledger struct {
	webhooks []webhookLedger
	address  string
	arrived  atomic.Int64
	first    atomic.Int64  // when the first event arrived, in nanoseconds since 1970; 0: none yet
	latest   atomic.Int64  // when the latest one did
	progress chan struct{} // gets a value when an event arrives, unless it has one
}

// webhookLedger has the events of one webhook, by number.
type webhookLedger struct {
	mu         sync.Mutex
	seen       []bool
	last       [messagesPerWebhook]int // highest number by message
	arrived    int
	duplicates int
	outOfOrder int
}

func startLedger(ctx context.Context, webhooks int) (*ledger, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &ledger{webhooks: make([]webhookLedger, webhooks), address: listener.Addr().String(), progress: make(chan struct{}, 1)}
	server := &fasthttp.Server{Handler: l.accept, ReadBufferSize: 16 << 10, NoDefaultDate: true}
	go func() { _ = server.Serve(listener) }() // ends with the process
	return l, nil
}

func (l *ledger) sinkURL(webhook int) string {
	return "http://" + l.address + "/" + strconv.Itoa(webhook)
}

var numberMember = []byte(`"number":`)

// accept is a request with an event.
func (l *ledger) accept(request *fasthttp.RequestCtx) {
	webhook, err := strconv.Atoi(strings.TrimPrefix(string(request.Path()), "/"))
	_, rest, found := bytes.Cut(request.PostBody(), numberMember)
	digits, _, _ := bytes.Cut(rest, []byte(","))
	number, numberErr := strconv.Atoi(string(digits))
	if err != nil || numberErr != nil || !found || webhook >= len(l.webhooks) || !l.webhooks[webhook].arrive(number) {
		request.SetStatusCode(fasthttp.StatusBadRequest) // the receiver gives the event up, and the check finds it missing
		return
	}
	now := time.Now().UnixNano()
	l.first.CompareAndSwap(0, now)
	l.latest.Store(now)
	l.arrived.Add(1)
	select {
	case l.progress <- struct{}{}:
	default:
	}
	request.SetStatusCode(fasthttp.StatusAccepted)
}

// arrive records an event. It reports whether the event was made.
func (w *webhookLedger) arrive(number int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if number >= len(w.seen) {
		return false
	}
	if w.seen[number] {
		w.duplicates++
		return true
	}
	w.seen[number] = true
	w.arrived++
	message := number % messagesPerWebhook
	if number < w.last[message] {
		w.outOfOrder++
	}
	w.last[message] = max(w.last[message], number)
	return true
}

// newEvents makes the next events of a webhook.
func (l *ledger) newEvents(g *generator, webhook, count int) [][]byte {
	w := &l.webhooks[webhook]
	w.mu.Lock()
	first := len(w.seen)
	w.seen = slices.Grow(w.seen, count)[:first+count]
	w.mu.Unlock()
	events := make([][]byte, count)
	for i := range events {
		events[i] = g.event(webhook, first+i)
	}
	return events
}

// waiting returns how many events of a webhook were made and have not arrived.
func (l *ledger) waiting(webhook int) int {
	w := &l.webhooks[webhook]
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen) - w.arrived
}

func (l *ledger) waitingOfAll() (total int) {
	for webhook := range l.webhooks {
		total += l.waiting(webhook)
	}
	return total
}

// startClock forgets when events arrived before.
func (l *ledger) startClock() { l.first.Store(0); l.latest.Store(0) }

// took returns the time between the first and the latest event.
func (l *ledger) took() time.Duration { return time.Duration(l.latest.Load() - l.first.Load()) }

// stallTimeout is how long nothing may arrive before missing events count as lost.
const stallTimeout = 30 * time.Second

// awaitAll waits for all events, and checks that none arrived twice or out of order.
func (l *ledger) awaitAll(ctx context.Context) error {
	timer := time.NewTimer(stallTimeout)
	defer timer.Stop()
	for l.waitingOfAll() > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.progress:
			timer.Reset(stallTimeout)
		case <-timer.C:
			return fmt.Errorf("%d events are lost", l.waitingOfAll())
		}
	}
	duplicates, outOfOrder := 0, 0
	for i := range l.webhooks {
		w := &l.webhooks[i]
		w.mu.Lock()
		duplicates, outOfOrder = duplicates+w.duplicates, outOfOrder+w.outOfOrder
		w.mu.Unlock()
	}
	if duplicates > 0 || outOfOrder > 0 {
		return fmt.Errorf("%d events arrived twice, and %d out of order", duplicates, outOfOrder)
	}
	return nil
}
