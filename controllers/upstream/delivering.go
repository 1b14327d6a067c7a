// Package upstream turns what Mandrill reports about its deliveries into the condition Delivering.
package upstream

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// Disabled says that Mandrill has disabled a webhook, and why as far as it is known.
func Disabled(suspended bool, lastError string) (message, remedy string) {
	message = "Mandrill has disabled the webhook, because too many batches failed"
	if lastError != "" {
		message += ", the last with: " + lastError
	}
	if suspended {
		return message, "batches are refused because spec.suspend is true"
	}
	return message, hint(lastError)
}

// Report sets Delivering, Mandrill's own view. Changed says whether Mandrill reports something else than before.
func Report(conditions *controllers.Conditions, before, now *v1alpha1.Upstream, changed, suspended bool) {
	condition := meta.FindStatusCondition(*conditions.List, v1alpha1.ConditionDelivering)
	wasSuspended := condition != nil && condition.Reason == v1alpha1.ReasonSuspended
	newError := before == nil || now.LastError != before.LastError
	switch {
	case changed && now.BatchesSent > 0 && now.LastError == "":
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionTrue, v1alpha1.ReasonDelivered, "")
	case changed && before != nil && now.BatchesSent > before.BatchesSent && !newError: // Mandrill does not say which came last
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionTrue, v1alpha1.ReasonDelivered,
			"Mandrill has sent batches since it reported an error, which may be over: "+now.LastError+" ("+hint(now.LastError)+")")
	case suspended && now.LastError != "" && (changed || condition == nil || condition.Status == metav1.ConditionFalse):
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonSuspended,
			"Batches are refused because spec.suspend is true, and Mandrill sends them again for some hours. It reports: "+now.LastError)
	case wasSuspended && !suspended && !changed:
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet,
			"Mandrill has not sent anything since spec.suspend was set to false")
	case !changed:
	case now.LastError != "":
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed,
			"Mandrill reports, and it may be over: "+now.LastError+" ("+hint(now.LastError)+")")
	default:
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "Mandrill has not sent anything yet")
	}
}
