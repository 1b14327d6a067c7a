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
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// deletionDeadline is how long an object is kept while its webhook cannot be deleted at Mandrill.
	deletionDeadline = 10 * time.Minute
	// deletionRetry is the pause between attempts to delete it.
	deletionRetry = 15 * time.Second
)

// finalize undoes what the steps did: first at Mandrill, so that it stops sending, inbound routes before the webhook that
// holds their key, and then at the receiver.
func (r *Reconciler) finalize(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(webhook, Finalizer) {
		return ctrl.Result{}, nil
	}
	run := newState(webhook)
	since := failingSince(webhook)
	last := !since.IsZero() && r.Now().Sub(since) >= deletionDeadline
	if err := r.unregister(ctx, run, last); err != nil {
		if !last {
			return r.stillDeleting(ctx, run, err)
		}
		r.orphans.add(run.key(), webhook.Status.WebhookID, r.accounts.Followed(run.key()))
		r.warn(webhook, v1alpha1.ReasonOrphaned, fmt.Sprintf("Gave up deleting webhook %d and inbound routes to its URL at Mandrill, delete those that still exist there: %v", webhook.Status.WebhookID, err))
	}
	if err := r.publisher.withdraw(ctx, webhook); err != nil && !isStep(err) { // a Secret of somebody else stays as it is
		return ctrl.Result{}, err
	}
	if err := r.releaseSecrets(ctx, webhook); err != nil {
		return ctrl.Result{}, err
	}
	r.accounts.Forget(run.key())
	r.reenables.forget(run.key())
	before := webhook.DeepCopy()
	controllerutil.RemoveFinalizer(webhook, Finalizer)
	if err := r.Client.Patch(ctx, webhook, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("removing the finalizer: %w", err)
	}
	r.Metrics.reconciled(nil)
	return ctrl.Result{}, nil
}

// releaseSecrets leaves Secrets that others fill to them: the garbage collector deletes those that the object owns.
func (r *Reconciler) releaseSecrets(ctx context.Context, webhook *v1alpha1.MandrillWebhook) error {
	for _, use := range []secretUse{r.keySecret(webhook), sidecarSecret(webhook)} {
		if _, err := r.secrets.get(ctx, webhook, use); err != nil && !isStep(err) {
			return err
		}
	}
	return nil
}

func isStep(err error) bool { return errors.As(err, new(*controllers.StepError)) }

// failingSince returns when deleting first failed, zero if it has not. The deletion timestamp would not do: the
// operator may have been away since then.
func failingSince(webhook *v1alpha1.MandrillWebhook) time.Time {
	reconciling := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionReconciling)
	if reconciling == nil || reconciling.Reason != v1alpha1.ReasonDeleting {
		return time.Time{}
	}
	return reconciling.LastTransitionTime.Time
}

// stillDeleting writes into the status why the object is still there, and tries again later.
func (r *Reconciler) stillDeleting(ctx context.Context, run *state, cause error) (ctrl.Result, error) {
	webhook := run.webhook
	before := webhook.DeepCopy()
	if failingSince(webhook).IsZero() {
		meta.RemoveStatusCondition(run.conditions.List, v1alpha1.ConditionReconciling) // failingSince starts now
	}
	waiting := controllers.Waiting(v1alpha1.ReasonDeleting, deletionRetry, fmt.Errorf("deleting the webhook at Mandrill, which is tried for 10 minutes: %w", cause))
	run.conditions.Summarise(waiting)
	r.Metrics.reconciled(waiting)
	webhook.Status.ObservedGeneration = webhook.Generation
	if err := r.Client.Status().Patch(ctx, webhook, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("writing the status: %w", err)
	}
	return controllers.Result(waiting)
}

// registrationAt is what an object may have at Mandrill in one account.
type registrationAt struct {
	account *account.Account
	id      int64 // of its webhook as the status has it, 0 if the status speaks of another account
}

// unregister deletes what the object has at Mandrill: in the account of its API key and, if that is another, in the
// account that it followed last. Finding nothing is success. The last time it deletes as much as it can.
func (r *Reconciler) unregister(ctx context.Context, run *state, last bool) error {
	webhook := run.webhook
	if webhook.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
		r.normal(webhook, v1alpha1.ReasonRetained, "Left the webhook at Mandrill, as deletionPolicy says")
		return nil
	}
	if err := r.resolveURL(ctx, run); err != nil && !isStep(err) { // without a URL nothing is found by it
		return err
	}
	if err := r.storedKey(ctx, run); err != nil && !isStep(err) { // a Secret of somebody else says nothing
		return err
	}
	followed := r.accounts.Followed(run.key())
	err := r.credentials(ctx, run)
	if err == nil && (followed == nil || followed == run.account) {
		_, err = r.unregisterAt(ctx, run, registrationAt{run.account, webhook.Status.WebhookID}, last)
		return err
	}
	if followed == nil && webhook.Status.WebhookID == 0 && run.stored.Key == "" {
		return nil // nothing was ever registered
	}
	var gone bool
	if followed != nil { // the Secret is gone, as with its namespace, or has another key now
		if gone, err = r.unregisterAt(ctx, run, registrationAt{followed, webhook.Status.WebhookID}, last); err != nil {
			return err
		}
	}
	if run.account != nil {
		_, err = r.unregisterAt(ctx, run, registrationAt{account: run.account}, last)
	}
	if gone {
		return nil
	}
	return err
}

// unregisterAt deletes the object's inbound routes, and then its webhook, in one account, and reports whether there was
// a webhook.
func (r *Reconciler) unregisterAt(ctx context.Context, run *state, at registrationAt, last bool) (gone bool, err error) {
	inboundErr := r.removeInbound(ctx, run, at)
	if inboundErr != nil && !last {
		return false, inboundErr
	}
	list, err := at.account.Webhooks(ctx, addMaxAge)
	if err != nil {
		return false, run.refusal("listing webhooks", err)
	}
	ours, err := r.ours(ctx, run, at.id, list)
	if err != nil || ours == nil {
		return false, errors.Join(err, inboundErr)
	}
	if err := at.account.Delete(ctx, ours.ID); err != nil {
		return false, run.refusal("deleting the webhook", err)
	}
	r.normal(run.webhook, v1alpha1.ReasonDeleted, fmt.Sprintf("Deleted webhook %d at Mandrill", ours.ID))
	return true, inboundErr
}

// ours finds the webhook to delete, as match does with the recorded id. A webhook of another object is not ours: the
// one that it has recorded or, if we have recorded neither its id nor its key, the one at its URL.
func (r *Reconciler) ours(ctx context.Context, run *state, id int64, list []mandrill.Webhook) (*mandrill.Webhook, error) {
	found, known := match(list, id, run)
	if !known {
		return nil, nil //nolint:nilnil // there is none
	}
	if owner, err := r.claimant(ctx, run.webhook, found); err != nil || owner != nil {
		return nil, err
	}
	if found.ID == id || found.AuthKey == run.stored.Key {
		return &found, nil
	}
	others, err := r.sameURL(ctx, run.webhook)
	living := func(other v1alpha1.MandrillWebhook) bool { return other.DeletionTimestamp.IsZero() }
	if err != nil || slices.ContainsFunc(others, living) {
		return nil, err
	}
	return &found, nil
}
