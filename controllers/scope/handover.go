package scope

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Handovers are the objects that another installation has, and that this one has not let go yet. They are in memory only: after
// a restart a handover takes as long again.
type Handovers struct {
	mu   sync.Mutex
	list map[types.UID]time.Time // since when the other installation serves the object; zero if it does not
}

// Begin records that an object leaves, and reports whether that is new.
func (h *Handovers) Begin(object types.UID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.list == nil {
		h.list = map[types.UID]time.Time{}
	}
	_, known := h.list[object]
	if !known {
		h.list[object] = time.Time{}
	}
	return !known
}

// Left returns how much of the grace period is left. It begins when the other installation first serves the object.
func (h *Handovers) Left(object types.UID, grace time.Duration, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.list[object].IsZero() {
		h.list[object] = now
	}
	return max(0, h.list[object].Add(grace).Sub(now))
}

// Served reports whether the other installation has served an object: then that one deletes its webhook.
func (h *Handovers) Served(object types.UID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.list[object].IsZero()
}

// Forget forgets an object.
func (h *Handovers) Forget(object types.UID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.list, object)
}
