package registration

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Spacing is the least time between writes to Mandrill for two versions of an object. An object that changes again and again
// must not make a call for each change; at this rate it stays within its [Budget].
const Spacing = refill

// Version is what a write to Mandrill is made for. Writes for one version follow each other at once: a webhook and its inbound
// routes belong together.
type Version struct {
	Generation int64
	URL        string // with its secret parts, which change without the generation
}

// Spacer holds which version of each object was last written to Mandrill. It is in memory only.
type Spacer struct {
	mu   sync.Mutex
	last map[types.NamespacedName]written
}

type written struct {
	version Version
	at      time.Time // zero for the first version, so that the first change is written at once
}

// Wait returns how long a write for a version has to wait. Zero means now. After the wait the caller writes what the object
// wants by then, so that the last change is not lost.
func (s *Spacer) Wait(object types.NamespacedName, version Version, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.last[object]
	if !ok || last.version == version {
		return 0
	}
	return max(0, last.at.Add(Spacing).Sub(now))
}

// Wrote records a write.
func (s *Spacer) Wrote(object types.NamespacedName, version Version, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[types.NamespacedName]written{}
	}
	last, ok := s.last[object]
	if !ok || last.version == version && last.at.IsZero() {
		now = time.Time{}
	}
	s.last[object] = written{version, now}
}

// Forget forgets an object.
func (s *Spacer) Forget(object types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, object)
}
