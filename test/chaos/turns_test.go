package chaos_test

import (
	"sync"
	"testing"
	"time"
)

// turns takes note of which member of a cluster delivers, as the consumer sees it: one at a time.
type turns struct {
	t       *testing.T
	mu      sync.Mutex
	member  int // that has sent something last; -1: none
	since   time.Time
	last    time.Time
	under   [members]int  // requests under way
	pause   time.Duration // the longest in which nothing came
	clashes int           // requests that came while another member's was under way
}

// begin takes note of a request of a member.
func (u *turns) begin(member int) (end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	for other, requests := range u.under {
		if other != member && requests > 0 {
			u.clashes++
		}
	}
	if u.member < 0 {
		u.member, u.since, u.last = member, now, now
	}
	u.pause = max(u.pause, now.Sub(u.last))
	if u.member != member {
		u.t.Logf("member %d delivers, %s after member %d did", member, now.Sub(u.last).Round(time.Millisecond), u.member)
		u.since = now
	}
	u.member, u.last = member, now
	u.under[member]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.under[member]--
	}
}

// who delivers, and since when.
func (u *turns) who() (member int, since time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.member, u.since
}

// count returns how many requests came while another member's was under way, and the longest time in which none came.
func (u *turns) count() (clashes int, pause time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.clashes, u.pause
}
