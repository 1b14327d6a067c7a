package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// deletionDeadline is how long a webhook that cannot be deleted at Mandrill keeps its object.
	deletionDeadline = 10 * time.Minute
	// deletionRetry is how often it is tried until then.
	deletionRetry = 15 * time.Second
)

// finalize undoes what the steps did: first at Mandrill, so that it stops sending, inbound routes before the webhook that
// holds their key, and then the route of the receiver.
func (r *Reconciler) finalize(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(webhook, Finalizer) {
		return ctrl.Result{}, nil
	}
	since := failingSince(webhook)
	last := !since.IsZero() && r.Now().Sub(since) >= deletionDeadline
	if err := r.unregister(ctx, webhook, last); err != nil {
		if !last {
			return r.stillDeleting(ctx, webhook, err)
		}
		key := client.ObjectKeyFromObject(webhook)
		r.orphans.add(key, webhook.Status.WebhookID, r.accounts.Followed(key))
		r.warn(webhook, v1alpha1.ReasonOrphaned, fmt.Sprintf("Gave up deleting webhook %d and inbound routes to its URL at Mandrill, delete there what is left: %v", webhook.Status.WebhookID, err))
	}
	if _, err := r.setRoutes(ctx, webhook); err != nil && !isStep(err) { // another's Secret stays as it is
		return ctrl.Result{}, err
	}
	r.accounts.Forget(client.ObjectKeyFromObject(webhook))
	r.repairs.forget(client.ObjectKeyFromObject(webhook))
	before := webhook.DeepCopy()
	controllerutil.RemoveFinalizer(webhook, Finalizer)
	if err := r.Client.Patch(ctx, webhook, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("removing the finalizer: %w", err)
	}
	r.Metrics.reconciled(nil)
	return ctrl.Result{}, nil
}

func isStep(err error) bool { return errors.As(err, new(*controllers.StepError)) }

// failingSince tells when deleting failed first, zero when it has not: not when it was asked for, because the
// operator may have been away.
func failingSince(webhook *v1alpha1.MandrillWebhook) time.Time {
	reconciling := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionReconciling)
	if reconciling == nil || reconciling.Reason != v1alpha1.ReasonDeleting {
		return time.Time{}
	}
	return reconciling.LastTransitionTime.Time
}

// stillDeleting shows why the object is still there and tries again later.
func (r *Reconciler) stillDeleting(ctx context.Context, webhook *v1alpha1.MandrillWebhook, cause error) (ctrl.Result, error) {
	before := webhook.DeepCopy()
	conditions := &controllers.Conditions{List: &webhook.Status.Conditions, Generation: webhook.Generation}
	if failingSince(webhook).IsZero() {
		meta.RemoveStatusCondition(conditions.List, v1alpha1.ConditionReconciling) // the time starts now
	}
	waiting := controllers.Waiting(v1alpha1.ReasonDeleting, deletionRetry, fmt.Errorf("deleting the webhook at Mandrill, which is tried for 10 minutes: %w", cause))
	conditions.Summarise(waiting)
	r.Metrics.reconciled(waiting)
	webhook.Status.ObservedGeneration = webhook.Generation
	if err := r.Client.Status().Patch(ctx, webhook, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("writing the status: %w", err)
	}
	return controllers.Result(waiting)
}

// unregister deletes what the object has at Mandrill: in the account of its API key, and in the one that it followed
// last if that is another. That there is nothing is success. The last time it goes as far as it can.
func (r *Reconciler) unregister(ctx context.Context, webhook *v1alpha1.MandrillWebhook, last bool) error {
	if webhook.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
		r.normal(webhook, v1alpha1.ReasonRetained, "Left the webhook at Mandrill, as deletionPolicy says")
		return nil
	}
	run := &state{webhook: webhook}
	if err := r.resolveURL(ctx, run); err != nil && !isStep(err) { // a URL that is not known any more finds nothing
		return err
	}
	if err := r.storedKey(ctx, run); err != nil && !isStep(err) { // another's Secret says nothing
		return err
	}
	followed := r.accounts.Followed(client.ObjectKeyFromObject(webhook))
	err := r.credentials(ctx, run)
	if err == nil && (followed == nil || followed == run.account) {
		_, err = r.unregisterAt(ctx, run, last)
		return err
	}
	if followed == nil && webhook.Status.WebhookID == 0 && run.stored.Key == "" {
		return nil // nothing was ever registered
	}
	var gone bool
	if followed != nil { // the Secret is gone, as with its namespace, or has another key by now
		before := *run
		before.account = followed
		if gone, err = r.unregisterAt(ctx, &before, last); err != nil {
			return err
		}
	}
	if run.account != nil {
		unrecorded := *run
		unrecorded.webhook = webhook.DeepCopy()
		unrecorded.webhook.Status.WebhookID = 0 // the number is one of the account before
		_, err = r.unregisterAt(ctx, &unrecorded, last)
	}
	if gone {
		return nil
	}
	return err
}

// unregisterAt deletes the object's inbound routes, and then its webhook, in one account, and tells whether there was
// one.
func (r *Reconciler) unregisterAt(ctx context.Context, run *state, last bool) (gone bool, err error) {
	inboundErr := r.removeInbound(ctx, run, run.account)
	if inboundErr != nil && !last {
		return false, inboundErr
	}
	list, err := run.account.Webhooks(ctx, addMaxAge)
	if err != nil {
		return false, run.refusal("listing webhooks", err)
	}
	ours, err := r.ours(ctx, run, list)
	if err != nil || ours == nil {
		return false, errors.Join(err, inboundErr)
	}
	if err := run.account.Delete(ctx, ours.ID); err != nil {
		return false, run.refusal("deleting the webhook", err)
	}
	r.normal(run.webhook, v1alpha1.ReasonDeleted, fmt.Sprintf("Deleted webhook %d at Mandrill", ours.ID))
	return true, inboundErr
}

// ours finds the webhook to delete as match does. What is another object's is not ours: the webhook that it has
// recorded or, where we have neither recorded it nor its key, the one at its URL.
func (r *Reconciler) ours(ctx context.Context, run *state, list []mandrill.Webhook) (*mandrill.Webhook, error) {
	found, known := match(list, run)
	if !known {
		return nil, nil //nolint:nilnil // there is none
	}
	if owner, err := r.claimant(ctx, run.webhook, found); err != nil || owner != nil {
		return nil, err
	}
	if found.ID == run.webhook.Status.WebhookID || found.AuthKey == run.stored.Key {
		return &found, nil
	}
	others, err := r.sameURL(ctx, run.webhook)
	living := func(other v1alpha1.MandrillWebhook) bool { return other.DeletionTimestamp.IsZero() }
	if err != nil || slices.ContainsFunc(others, living) {
		return nil, err
	}
	return &found, nil
}
