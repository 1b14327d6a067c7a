package chaos_test

import (
	"sync"
	"time"
)

// deliveryMonitor observes at the sinks which member delivers a webhook. Only one may at a time.
type deliveryMonitor struct {
	mu       sync.Mutex
	webhooks map[int]*webhookDelivery
}

// webhookDelivery is the delivery of one webhook.
type webhookDelivery struct {
	deliverer    int // the member that sent the last request
	since        time.Time
	last         time.Time
	inFlight     map[int]int   // requests by member
	longestPause time.Duration // the longest time without a request
	overlaps     int           // requests that came while another member's was in flight
}

func newDeliveryMonitor() *deliveryMonitor {
	return &deliveryMonitor{webhooks: map[int]*webhookDelivery{}}
}

// begin records a request of a member.
func (m *deliveryMonitor) begin(member, webhook int) (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	w := m.webhooks[webhook]
	if w == nil {
		w = &webhookDelivery{deliverer: member, since: now, last: now, inFlight: map[int]int{}}
		m.webhooks[webhook] = w
	}
	for other, requests := range w.inFlight {
		if other != member && requests > 0 {
			w.overlaps++
		}
	}
	w.longestPause = max(w.longestPause, now.Sub(w.last))
	if w.deliverer != member {
		w.deliverer, w.since = member, now
	}
	w.last = now
	w.inFlight[member]++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		w.inFlight[member]--
	}
}

// deliveredBy returns the webhooks that a member delivers.
func (m *deliveryMonitor) deliveredBy(member int) map[int]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	delivered := map[int]bool{}
	for webhook, w := range m.webhooks {
		if w.deliverer == member {
			delivered[webhook] = true
		}
	}
	return delivered
}

// lastHandover returns when the last of some webhooks got the member that delivers it now.
func (m *deliveryMonitor) lastHandover(webhooks map[int]bool) (last time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for webhook := range webhooks {
		if w := m.webhooks[webhook]; w.since.After(last) {
			last = w.since
		}
	}
	return last
}

// stats returns the number of overlapping requests of different members, and the longest time without a request for one webhook.
func (m *deliveryMonitor) stats() (clashes int, pause time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.webhooks {
		clashes, pause = clashes+w.overlaps, max(pause, w.longestPause)
	}
	return clashes, pause
}

// shares returns how many webhooks each member delivers.
func (m *deliveryMonitor) shares(members int) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	shares := make([]int, members)
	for _, w := range m.webhooks {
		shares[w.deliverer]++
	}
	return shares
}
