package registration

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Whatever makes an object differ from Mandrill again and again, its writes are bounded: ten at once and ten a minute, and
// an object that needs more waits for a pause that doubles each time.
const (
	Burst      = 10 // writes at once
	refill     = time.Minute / Burst
	firstPause = time.Minute
	LastPause  = 30 * time.Minute // the longest pause
)

// Budget limits how often each object is written to Mandrill. It is in memory only; that an object's writes pause is known from
// its status.
type Budget struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]*bucket
}

// bucket is the token bucket of one object.
type bucket struct {
	tokens  float64
	counted time.Time     // when tokens was computed
	until   time.Time     // end of the pause
	pause   time.Duration // the next
}

// Take takes a token and returns zero, or returns how long the pause lasts. It reports whether the pause begins. An object that
// is not known and was paused, before the operator started, has one write before the next pause.
func (b *Budget) Take(object types.NamespacedName, paused bool, now time.Time) (wait time.Duration, begins bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[types.NamespacedName]*bucket{}
	}
	o := b.objects[object]
	if o == nil {
		o = &bucket{tokens: Burst, counted: now, pause: firstPause}
		if paused {
			o.tokens, o.pause = 1, 2*firstPause
		}
		b.objects[object] = o
	}
	if now.Before(o.until) {
		return o.until.Sub(now), false
	}
	if o.tokens += float64(now.Sub(o.counted)) / float64(refill); o.tokens >= Burst {
		o.tokens, o.pause = Burst, firstPause
	}
	o.counted = now
	if o.tokens >= 1 {
		o.tokens--
		return 0, false
	}
	wait = o.pause
	o.until, o.pause = now.Add(wait), min(2*o.pause, LastPause)
	o.tokens, o.counted = 1, o.until
	return wait, true
}

// Forget forgets an object.
func (b *Budget) Forget(object types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, object)
}
