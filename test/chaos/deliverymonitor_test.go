package chaos_test

import (
	"sync"
	"testing"
	"time"
)

// turns takes note of which member of a cluster delivers, as the consumer sees it: one at a time.
type deliveryMonitor struct {
	t       *testing.T
	mu      sync.Mutex
	deliverer  int // that has sent something last; -1: none
	since   time.Time
	last    time.Time
	inFlight   [memberCount]int  // requests under way
	longestPause   time.Duration // the longest in which nothing came
	overlaps int           // requests that came while another member's was under way
}

// begin takes note of a request of a member.
func (u *deliveryMonitor) begin(member int) (end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	for other, requests := range u.inFlight {
		if other != member && requests > 0 {
			u.overlaps++
		}
	}
	if u.deliverer < 0 {
		u.deliverer, u.since, u.last = member, now, now
	}
	u.longestPause = max(u.longestPause, now.Sub(u.last))
	if u.deliverer != member {
		u.t.Logf("member %d delivers, %s after member %d did", member, now.Sub(u.last).Round(time.Millisecond), u.deliverer)
		u.since = now
	}
	u.deliverer, u.last = member, now
	u.inFlight[member]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.inFlight[member]--
	}
}

// who delivers, and since when.
func (u *deliveryMonitor) current() (member int, since time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.deliverer, u.since
}

// count returns how many requests came while another member's was under way, and the longest time in which none came.
func (u *deliveryMonitor) stats() (clashes int, pause time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.overlaps, u.longestPause
}
