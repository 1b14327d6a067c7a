package mandrillwebhook

import (
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Mandrill disables a webhook that fails too often by emptying its events. A webhook that is enabled again at once is
// likely to fail again, so the pause before it is enabled grows each time, and starts over after a day.
const (
	firstReenablePause = time.Minute
	lastReenablePause  = time.Hour
	reenableMemory     = 24 * time.Hour
)

// reenables holds when disabled webhooks were last enabled. It is in memory only: after a restart a disabled webhook is
// enabled at once.
type reenables struct {
	mu   sync.Mutex
	last map[types.NamespacedName]reenable
}

type reenable struct {
	at    time.Time
	pause time.Duration // until the next
}

// due returns how long to wait before a webhook is enabled. Zero means now, and records that it is.
func (r *reenables) due(object types.NamespacedName, now time.Time) time.Duration {
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

func (r *reenables) forget(object types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, object)
}

// checkDisabled sets Delivering to False if Mandrill has disabled the webhook, and returns Waiting until it may be
// enabled again.
func (r *Reconciler) checkDisabled(run *state, have mandrill.Webhook) error {
	if have.ID != run.webhook.Status.WebhookID || len(have.Events) > 0 {
		return nil
	}
	message := "Mandrill has disabled the webhook, because too many batches failed"
	if have.LastError != "" {
		message += ", the last with: " + run.redact(have.LastError)
	}
	run.conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonDisabled, message)
	if wait := r.reenables.due(run.key(), r.Now()); wait > 0 {
		return controllers.Waiting(v1alpha1.ReasonDisabled, wait,
			fmt.Errorf("%s: it is enabled again after a pause; look at the sink, and at the receiver's log and metrics", message))
	}
	r.warn(run.webhook, v1alpha1.ReasonDisabled, message+"; it is enabled again")
	return nil
}
