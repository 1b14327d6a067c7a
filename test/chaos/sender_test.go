package chaos_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const signingKey = "signing-key"

func hookURL(webhook int) string { return fmt.Sprintf("https://hooks.example.com/w%d", webhook) }

// sender sends batches as Mandrill does: a batch that does not get 200 is sent again. It uses several receivers in turn.
type sender struct {
	ledger     *ledger
	receivers  []*receiver
	events     int           // of a batch
	padding    func() string // of an event
	retryDelay time.Duration // before a batch is sent again
	interval   time.Duration // between batches of one webhook
	timeout    time.Duration // of an answer

	next atomic.Int64

	mu         sync.Mutex
	statuses   map[int]int // 0: no answer
	slowest    time.Duration
	lastAck    time.Time     // the last acknowledgement
	longestGap time.Duration // the longest time between two acknowledgements
}

func newSender(ledger *ledger, receivers ...*receiver) *sender {
	return &sender{
		ledger: ledger, receivers: receivers, events: 100, retryDelay: 20 * time.Millisecond, timeout: 40 * time.Second, statuses: map[int]int{},
	}
}

// run sends batches of a webhook until ctx ends. The last one is sent until it is acknowledged, or giveUp ends.
func (s *sender) run(ctx, giveUp context.Context, webhook int) {
	ticker := time.NewTicker(max(s.interval, time.Nanosecond))
	defer ticker.Stop()
	for ctx.Err() == nil {
		if !s.deliver(giveUp, webhook, s.ledger.newBatch(webhook, s.events, s.padding)) {
			return
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// send sends a number of batches of a webhook.
func (s *sender) send(ctx context.Context, webhook, batches int) {
	for range batches {
		s.deliver(ctx, webhook, s.ledger.newBatch(webhook, s.events, s.padding))
	}
}

// deliver sends a batch until it is acknowledged.
func (s *sender) deliver(ctx context.Context, webhook int, batch *sentBatch) bool {
	request, err := mandrilltest.NewRequest(ctx, fmt.Sprintf("http://receiver/w%d", webhook), hookURL(webhook), signingKey, mandrilltest.Batch(batch.raw...))
	if err != nil {
		panic(err) // the URL is valid
	}
	for ctx.Err() == nil {
		if s.attempt(ctx, request) == http.StatusOK {
			s.ledger.recordAck(batch)
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.retryDelay):
		}
	}
	return false
}

// attempt sends a batch once, to the next receiver, and returns the status, or 0 without an answer.
func (s *sender) attempt(ctx context.Context, prepared *http.Request) int {
	receiver := s.receivers[int(s.next.Add(1))%len(s.receivers)]
	request := prepared.Clone(ctx)
	request.URL.Host, request.Host = receiver.address, ""
	request.Body, _ = prepared.GetBody() // reading bytes cannot fail
	begin := time.Now()
	status := 0
	if response, err := receiver.client(s.timeout).Do(request); err == nil {
		status = response.StatusCode
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if ctx.Err() != nil && status == 0 {
		return 0 // the test gave up
	}
	s.mu.Lock()
	s.statuses[status]++
	s.slowest = max(s.slowest, time.Since(begin))
	if status == http.StatusOK {
		now := time.Now()
		if !s.lastAck.IsZero() {
			s.longestGap = max(s.longestGap, now.Sub(s.lastAck))
		}
		s.lastAck = now
	}
	s.mu.Unlock()
	return status
}

// answers returns the number of answers by status, and the slowest answer.
func (s *sender) answers() (map[int]int, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.statuses), s.slowest
}

// incompressible returns padding that compresses badly.
func incompressible(bytes int) func() string {
	return func() string {
		random := make([]byte, bytes/4*3)
		_, _ = rand.Read(random) // never fails
		return base64.StdEncoding.EncodeToString(random)
	}
}
