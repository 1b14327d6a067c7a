package mandrillwebhook

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/upstream"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// checkDisabled sets Delivering to False if Mandrill has disabled the webhook, and returns Waiting until it may be
// enabled again.
func (r *Reconciler) checkDisabled(run *state, have mandrill.Webhook) error {
	if have.ID != run.webhook.Status.WebhookID || len(have.Events) > 0 {
		return nil
	}
	message, remedy := upstream.Disabled(run.webhook.Spec.Suspend, run.redact(have.LastError))
	wait := r.reenables.Due(run.key(), r.Now())
	run.conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonDisabled,
		message+": "+remedy+". "+upstream.Reenabling(r.Now().Add(wait), wait > 0, r.Resync))
	if wait > 0 {
		return controllers.Waiting(v1alpha1.ReasonDisabled, wait, fmt.Errorf("%s: it is enabled again after a pause; %s", message, remedy))
	}
	r.warn(run.webhook, v1alpha1.ReasonWebhookDisabled, message+"; it is enabled again; "+remedy)
	return nil
}

// wasDisabled reports whether Mandrill had disabled the webhook when the operator looked last.
func (s *state) wasDisabled() bool {
	condition := meta.FindStatusCondition(s.found, v1alpha1.ConditionDelivering)
	return condition != nil && condition.Reason == v1alpha1.ReasonDisabled
}
