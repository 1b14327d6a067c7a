package registration

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Mandrill disables a webhook that fails too often by emptying its events. A webhook that is enabled again at once is
// likely to fail again, so the pause before it is enabled grows each time, and starts over after a day.
const (
	firstReenablePause = time.Minute
	lastReenablePause  = time.Hour
	reenableMemory     = 24 * time.Hour
)

// Reenables holds when disabled webhooks were last enabled. It is in memory only: after a restart a disabled webhook is
// enabled at once.
type Reenables struct {
	mu   sync.Mutex
	last map[types.NamespacedName]reenable
}

type reenable struct {
	at    time.Time
	pause time.Duration // until the next
}

// Due returns how long to wait before a webhook is enabled. Zero means now, and records that it is.
func (r *Reenables) Due(object types.NamespacedName, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, known := r.last[object]
	if known && now.Sub(last.at) > reenableMemory {
		known = false
	}
	next := reenable{now, firstReenablePause}
	if known {
		if wait := last.at.Add(last.pause).Sub(now); wait > 0 {
			return wait
		}
		next.pause = min(2*last.pause, lastReenablePause)
	}
	if r.last == nil {
		r.last = map[types.NamespacedName]reenable{}
	}
	r.last[object] = next
	return 0
}

// Forget forgets an object.
func (r *Reenables) Forget(object types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, object)
}
