package mandrillwebhook

import (
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Mandrill disables a webhook that fails too often by emptying its events. Enabling it at once and for ever would
// only make it fail again, so the pause before each repair grows, and is forgotten after a day in order.
const (
	firstRepairPause = time.Minute
	lastRepairPause  = time.Hour
	repairMemory     = 24 * time.Hour
)

// repairs remembers when disabled webhooks were enabled. It is in memory: a restart repairs at once, once.
type repairs struct {
	mu   sync.Mutex
	last map[types.NamespacedName]repair
}

type repair struct {
	at    time.Time
	pause time.Duration // until the next
}

// due tells how long a repair has to wait, zero for now, and takes note of one that is made.
func (r *repairs) due(object types.NamespacedName, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, repaired := r.last[object]
	if repaired && now.Sub(last.at) > repairMemory {
		repaired = false
	}
	next := repair{now, firstRepairPause}
	if repaired {
		if wait := last.at.Add(last.pause).Sub(now); wait > 0 {
			return wait
		}
		next.pause = min(2*last.pause, lastRepairPause)
	}
	if r.last == nil {
		r.last = map[types.NamespacedName]repair{}
	}
	r.last[object] = next
	return 0
}

func (r *repairs) forget(object types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, object)
}

// checkDisabled finds a webhook of ours that Mandrill has disabled, says so, and lets it be enabled when it is due.
func (r *Reconciler) checkDisabled(run *state, have mandrill.Webhook) error {
	if have.ID != run.webhook.Status.WebhookID || len(have.Events) > 0 {
		return nil
	}
	message := "Mandrill has disabled the webhook, because too many batches failed"
	if have.LastError != "" {
		message += ", the last with: " + run.hide(have.LastError)
	}
	conditions := &controllers.Conditions{List: &run.webhook.Status.Conditions, Generation: run.webhook.Generation}
	conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonDisabled, message)
	if wait := r.repairs.due(client.ObjectKeyFromObject(run.webhook), r.Now()); wait > 0 {
		return controllers.Waiting(v1alpha1.ReasonDisabled, wait,
			fmt.Errorf("%s: it is enabled again after a pause; look at the sink, and at the receiver's log and metrics", message))
	}
	r.warn(run.webhook, v1alpha1.ReasonDisabled, message+"; it is enabled again")
	return nil
}
