package mandrillwebhook

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/deletion"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
)

// handOver lets an object of another installation go, if this one had it before. Until the other installation serves it, and for
// the grace period after that, the receiver keeps the routes that it has. The webhook stays at Mandrill, unless the object
// is deleted before another installation takes it. The status is the other installation's.
func (r *Reconciler) handOver(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (ctrl.Result, error) {
	if !r.Scope.IsLeaving(webhook) {
		return ctrl.Result{}, nil
	}
	deleting := !webhook.DeletionTimestamp.IsZero()
	if deleting && !r.Scope.OthersHold(webhook) && !r.handovers.Served(webhook.UID) {
		return r.finalize(ctx, webhook)
	}
	r.forget(webhook)
	if r.handovers.Begin(webhook.UID) {
		r.normal(webhook, v1alpha1.ReasonHandedOver, fmt.Sprintf(
			"spec.installation is %q: this installation (%q) keeps the routes as they are until that one has taken the object, and leaves the webhook at Mandrill",
			webhook.Spec.Installation, r.Scope.Installation))
	}
	if !deleting {
		if !r.Scope.OthersServe(webhook) {
			return ctrl.Result{}, nil // a watch sees it
		}
		if left := r.handovers.Left(webhook.UID, gracePeriod, r.Now()); left > 0 {
			return ctrl.Result{RequeueAfter: left}, nil
		}
	}
	if !publisher.IsSidecar(webhook) { // the Secret of a sidecar is the other installation's now
		if err := r.publisher.Withdraw(ctx, webhook); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := deletion.RemoveFinalizer(ctx, r.Client, webhook, r.Scope.Finalizer()); err != nil {
		return retryConflict("removing the finalizer", err)
	}
	r.handovers.Forget(webhook.UID)
	return ctrl.Result{}, nil
}

// forget forgets what is in memory of an object.
func (r *Reconciler) forget(webhook *v1alpha1.MandrillWebhook) {
	r.forgetNamed(client.ObjectKeyFromObject(webhook))
	r.atURLs.Forget(publisher.ObjectID(webhook))
	r.outcomes.Forget(webhook.UID)
	r.contests.Forget(webhook.UID)
	r.said.Forget(webhook.UID)
}

// leaving passes every change of objects that this installation is to let go.
func (r *Reconciler) leaving() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		UpdateFunc:  func(e event.UpdateEvent) bool { return r.Scope.IsLeaving(e.ObjectNew.(*v1alpha1.MandrillWebhook)) },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
