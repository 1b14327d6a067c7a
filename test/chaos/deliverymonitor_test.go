package chaos_test

import (
	"sync"
	"testing"
	"time"
)

// deliveryMonitor observes at the sinks which member of a cluster delivers. Only one may at a time.
type deliveryMonitor struct {
	t            *testing.T
	mu           sync.Mutex
	deliverer    int // the member that sent the last request; -1: none yet
	since        time.Time
	last         time.Time
	inFlight     [memberCount]int // requests by member
	longestPause time.Duration    // the longest time without a request
	overlaps     int              // requests that came while another member's was in flight
}

// begin records a request of a member.
func (m *deliveryMonitor) begin(member int) (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for other, requests := range m.inFlight {
		if other != member && requests > 0 {
			m.overlaps++
		}
	}
	if m.deliverer < 0 {
		m.deliverer, m.since, m.last = member, now, now
	}
	m.longestPause = max(m.longestPause, now.Sub(m.last))
	if m.deliverer != member {
		m.t.Logf("member %d delivers, %s after member %d did", member, now.Sub(m.last).Round(time.Millisecond), m.deliverer)
		m.since = now
	}
	m.deliverer, m.last = member, now
	m.inFlight[member]++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.inFlight[member]--
	}
}

// current returns the member that delivers, and since when.
func (m *deliveryMonitor) current() (member int, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deliverer, m.since
}

// stats returns the number of overlapping requests of different members, and the longest time without a request.
func (m *deliveryMonitor) stats() (clashes int, pause time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overlaps, m.longestPause
}
