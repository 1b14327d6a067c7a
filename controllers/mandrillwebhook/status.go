package mandrillwebhook

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// statusWriter writes conditions of its own into the status of objects. Hold puts them into lists as they are now, and holds the
// writer back until they are released: a merge patch writes a list of conditions as a whole.
type statusWriter interface {
	Hold(object types.UID, lists ...*[]metav1.Condition) (release func())
}

// patchStatus writes what has changed of the status. What says which webhooks are the object's must not replace what is newer:
// otherwise one that another operator has recorded would be forgotten.
func (r *Reconciler) patchStatus(ctx context.Context, run *state) error {
	if r.Delivery != nil {
		release := r.Delivery.Hold(run.webhook.UID, &run.before.Status.Conditions, &run.webhook.Status.Conditions)
		defer release()
	}
	patch := client.MergeFromWithOptions(run.before, client.MergeFromWithOptimisticLock{})
	before, now := run.before.Status, run.webhook.Status
	if before.WebhookID == now.WebhookID && equality.Semantic.DeepEqual(before.PendingRegistrations, now.PendingRegistrations) {
		patch = client.MergeFrom(run.before)
	}
	return r.Client.Status().Patch(ctx, run.webhook, patch)
}
