package mandrillwebhook

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Two clusters with the same object, URL and account share one webhook, and Mandrill does not say whose it is. The receiver at the
// URL does: it has the webhook's key, and answers which object it has it from.

// checkElsewhere finds out whether another installation has the webhook too, when the object gets one that it did not make itself.
func (r *Reconciler) checkElsewhere(ctx context.Context, run *state, why registration.Evidence) {
	said := meta.FindStatusCondition(run.webhook.Status.Conditions, v1alpha1.ConditionURLExclusive)
	known := said != nil && said.Reason == v1alpha1.ReasonOtherReceiver
	if object := publisher.ObjectID(run.webhook); known || why == registration.ByKey || why == registration.AtURL || r.atURLs.Suspects(object) {
		run.elsewhere, run.askAgain = r.atURLs.Confirm(ctx, run.remote, object, known, r.Now())
	}
}

// withoutShared returns the webhooks that may be deleted: not those on which another installation relies.
func (r *Reconciler) withoutShared(ctx context.Context, run *state, ours []mandrill.Webhook) (rest []mandrill.Webhook) {
	for _, webhook := range ours {
		if !r.atURLs.Elsewhere(ctx, webhook, publisher.ObjectID(run.webhook)) {
			rest = append(rest, webhook)
			continue
		}
		r.warn(run.webhook, v1alpha1.ReasonRetained, fmt.Sprintf("Left webhook %d and its inbound routes at Mandrill, because its URL leads to the receiver of "+
			"another installation or cluster, which accepts its batches: delete it there if nobody needs it", webhook.ID))
	}
	return rest
}
