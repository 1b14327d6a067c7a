package chaos_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

const signingKey = "signing-key"

func hookURL(webhook int) string { return fmt.Sprintf("https://hooks.example.com/w%d", webhook) }

// sender sends batches as Mandrill does: a batch that does not get 200 is sent again. It uses several receivers in turn.
type sender struct {
	t          *testing.T
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
	slowestAck time.Duration
	lastAck    time.Time     // the last acknowledgement
	longestGap time.Duration // the longest time between two acknowledgements
}

// patience is how long a batch may be refused that must be accepted: far longer than a fault lasts.
const patience = 5 * time.Minute

func newSender(t *testing.T, ledger *ledger, receivers ...*receiver) *sender {
	t.Helper()
	return &sender{
		t: t, ledger: ledger, receivers: receivers, events: 100, retryDelay: 20 * time.Millisecond, timeout: 40 * time.Second, statuses: map[int]int{},
	}
}

// run sends batches of a webhook until ctx ends. The last one is sent until it is acknowledged.
func (s *sender) run(ctx context.Context, webhook int) {
	giveUp, cancel := context.WithCancelCause(s.t.Context())
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { time.AfterFunc(patience, func() { cancel(errRefused) }) })()
	ticker := time.NewTicker(max(s.interval, time.Nanosecond))
	defer ticker.Stop()
	for ctx.Err() == nil && s.deliver(giveUp, webhook) { //nolint:contextcheck // the last batch is sent on
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// start sends batches of some webhooks until the returned function is called, which waits for the last ones.
func (s *sender) start(webhooks int) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var sending sync.WaitGroup
	for webhook := range webhooks {
		sending.Go(func() { s.run(ctx, webhook) })
	}
	return func() { cancel(); sending.Wait() }
}

// send sends a number of batches of a webhook.
func (s *sender) send(webhook, batches int) {
	for range batches {
		giveUp, cancel := context.WithTimeoutCause(s.t.Context(), patience, errRefused)
		delivered := s.deliver(giveUp, webhook)
		cancel()
		if !delivered {
			return
		}
	}
}

var errRefused = errors.New("it is refused for too long")

// deliver sends a new batch until it is acknowledged. If ctx ends because of [errRefused] that is an error.
func (s *sender) deliver(ctx context.Context, webhook int) bool {
	batch := s.ledger.newBatch(webhook, s.events, s.padding)
	request, err := mandrilltest.NewRequest(ctx, fmt.Sprintf("http://receiver/w%d", webhook), hookURL(webhook), signingKey, mandrilltest.Batch(batch.raw...))
	if err != nil {
		panic(err) // the URL is valid
	}
	last := map[string]int{} // status by receiver
	for ctx.Err() == nil {
		receiver := s.receivers[int(s.next.Add(1))%len(s.receivers)]
		status := s.attempt(ctx, receiver, request)
		if status == http.StatusOK {
			s.ledger.recordAck(batch)
			return true
		}
		if ctx.Err() == nil {
			last[receiver.address] = status
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.retryDelay):
		}
	}
	if errors.Is(context.Cause(ctx), errRefused) {
		s.t.Errorf("a batch of webhook %d: %v; the last statuses, by receiver: %v", webhook, errRefused, last)
	}
	return false
}

// attempt sends a batch once and returns the status, or 0 without an answer.
func (s *sender) attempt(ctx context.Context, receiver *receiver, prepared *http.Request) int {
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
		s.slowestAck = max(s.slowestAck, time.Since(begin))
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

// slowestAcknowledgement is how long the slowest answer with status 200 took.
func (s *sender) slowestAcknowledgement() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slowestAck
}

// incompressible returns padding that compresses badly.
func incompressible(bytes int) func() string {
	return func() string {
		random := make([]byte, bytes/4*3)
		_, _ = rand.Read(random) // never fails
		return base64.StdEncoding.EncodeToString(random)
	}
}
