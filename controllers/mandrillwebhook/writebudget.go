package mandrillwebhook

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// Whatever makes an object differ from Mandrill again and again, its writes are bounded: ten at once and ten a minute, and
// whoever needs more waits for a pause that doubles each time.
const (
	writeBurst      = 10
	writeRefill     = time.Minute / writeBurst
	firstWritePause = time.Minute
	lastWritePause  = 30 * time.Minute
)

// writeBudget limits how often each object is written to Mandrill. It is in memory only.
type writeBudget struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]*writeTokens
}

// writeTokens is the token bucket of one object.
type writeTokens struct {
	tokens  float64
	counted time.Time     // when tokens was computed
	until   time.Time     // end of the pause
	pause   time.Duration // the next
}

// take takes a token and returns zero, or returns how long the pause lasts. It reports whether the pause begins.
func (b *writeBudget) take(object types.NamespacedName, now time.Time) (wait time.Duration, begins bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[types.NamespacedName]*writeTokens{}
	}
	o := b.objects[object]
	if o == nil {
		o = &writeTokens{tokens: writeBurst, counted: now, pause: firstWritePause}
		b.objects[object] = o
	}
	if now.Before(o.until) {
		return o.until.Sub(now), false
	}
	if o.tokens += float64(now.Sub(o.counted)) / float64(writeRefill); o.tokens >= writeBurst {
		o.tokens, o.pause = writeBurst, firstWritePause
	}
	o.counted = now
	if o.tokens >= 1 {
		o.tokens--
		return 0, false
	}
	wait = o.pause
	o.until, o.pause = now.Add(wait), min(2*o.pause, lastWritePause)
	o.tokens, o.counted = 1, o.until
	return wait, true
}

func (b *writeBudget) forget(object types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, object)
}

// mayWrite takes a token of the object's budget, or returns Waiting until there is one.
func (r *Reconciler) mayWrite(run *state) error {
	wait, begins := r.writes.take(run.key(), r.Now())
	if wait == 0 {
		return nil
	}
	message := fmt.Sprintf("the webhook was changed at Mandrill more than %d times within a minute, so that changes pause for up to %s: "+
		"another installation, a program or a person undoes them, or the spec changes all the time", writeBurst, lastWritePause)
	if begins {
		r.warn(run.webhook, v1alpha1.ReasonWritesPaused, message)
	}
	return controllers.Waiting(v1alpha1.ReasonWritesPaused, wait, fmt.Errorf("%s", message))
}
