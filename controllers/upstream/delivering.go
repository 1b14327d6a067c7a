// Package upstream turns what Mandrill reports about its deliveries into the condition Delivering.
package upstream

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
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

// Reenabling says when the operator enables a disabled webhook again, and how soon its status shows that somebody else has.
func Reenabling(at time.Time, paused bool, resync time.Duration) string {
	if paused {
		return fmt.Sprintf("The operator enables it again at %s; if somebody enables it earlier, that shows within %s", at.UTC().Format(time.RFC3339), resync)
	}
	return fmt.Sprintf("The operator enables it again now, which shows within %s", resync)
}

// Seen is what Mandrill reports about a webhook, and what it reported before.
type Seen struct {
	Before, Now *v1alpha1.Upstream // the first is nil if nothing was reported before
	Changed     bool               // Now is something else than Before
	Suspended   bool               // by spec.suspend
	Reenabled   bool               // Mandrill had disabled the webhook when the operator looked last
	Left        int64              // webhook of the account before, which another one of the present account has replaced
	ID          int64
}

// Report sets Delivering, Mandrill's own view.
func Report(conditions *controllers.Conditions, seen Seen) {
	set, now := conditions.Set, seen.Now
	if seen.Left != 0 {
		set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonAccountChanged, accountChanged(seen.ID, seen.Left))
		return
	}
	condition := meta.FindStatusCondition(*conditions.List, v1alpha1.ConditionDelivering)
	wasSuspended := condition != nil && condition.Reason == v1alpha1.ReasonSuspended
	newError := seen.Before == nil || now.LastError != seen.Before.LastError
	switch {
	case seen.Changed && now.BatchesSent > 0 && now.LastError == "":
		set(v1alpha1.ConditionDelivering, metav1.ConditionTrue, v1alpha1.ReasonDelivered, "")
	case seen.Changed && seen.Before != nil && now.BatchesSent > seen.Before.BatchesSent && !newError: // Mandrill does not say which came last
		set(v1alpha1.ConditionDelivering, metav1.ConditionTrue, v1alpha1.ReasonDelivered,
			"Mandrill has sent batches since it reported an error, which may be over: "+now.LastError+" ("+hint(now.LastError)+")")
	case seen.Suspended && now.LastError != "" && (seen.Changed || condition == nil || condition.Status == metav1.ConditionFalse):
		set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonSuspended,
			"Batches are refused because spec.suspend is true, and Mandrill sends them again for some hours. It reports: "+now.LastError)
	case wasSuspended && !seen.Suspended && !seen.Changed:
		set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet,
			"Mandrill has not sent anything since spec.suspend was set to false")
	case seen.Reenabled && now.LastError == "":
		set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet,
			"The webhook, which Mandrill had disabled, is enabled again, and Mandrill has not sent anything since")
	case seen.Reenabled:
		set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed,
			"The webhook, which Mandrill had disabled, is enabled again. Mandrill's last error, which may be over: "+now.LastError+" ("+hint(now.LastError)+")")
	case !seen.Changed:
	case now.LastError != "":
		set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed,
			"Mandrill reports, and it may be over: "+now.LastError+" ("+hint(now.LastError)+")")
	default:
		set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "Mandrill has not sent anything yet")
	}
}

// Replaced returns the number of the recorded webhook if the one of an account with another API key has replaced it, or 0.
func Replaced(status v1alpha1.MandrillWebhookStatus, changedKey bool, now mandrill.Webhook) int64 {
	recorded := status.Upstream
	same := status.WebhookID == now.ID && (recorded == nil || recorded.CreatedAt == nil || recorded.CreatedAt.Equal(&metav1.Time{Time: now.CreatedAt.Time}))
	if !changedKey || same {
		return 0
	}
	return status.WebhookID
}

func accountChanged(id, left int64) string {
	return fmt.Sprintf("The API key in the Secret is that of another Mandrill account than before: webhook %d of that account has replaced webhook %d "+
		"of the earlier one, and Mandrill has not sent anything for it yet. If mail is still sent with the earlier account, put its API key back", id, left)
}
