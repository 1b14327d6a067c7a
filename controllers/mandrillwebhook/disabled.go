package mandrillwebhook

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

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
	if wait := r.reenables.Due(run.key(), r.Now()); wait > 0 {
		return controllers.Waiting(v1alpha1.ReasonDisabled, wait,
			fmt.Errorf("%s: it is enabled again after a pause; look at the sink, and at the receiver's log and metrics", message))
	}
	r.warn(run.webhook, v1alpha1.ReasonDisabled, message+"; it is enabled again")
	return nil
}
