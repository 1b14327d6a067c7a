package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/deletion"
	"github.com/mandrill-operator/mandrill-operator/controllers/inbound"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
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
	if !controllerutil.ContainsFinalizer(webhook, r.Scope.Finalizer()) {
		return ctrl.Result{}, nil
	}
	run := newState(webhook)
	r.probes.Forget(run.key())
	if wait, err := r.awaitHeir(ctx, webhook); err != nil || wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, err
	}
	since := deletion.FailingSince(webhook)
	last := !since.IsZero() && r.Now().Sub(since) >= deletionDeadline
	var err error
	r.during(ctx, run, progress.Deletion, func() { err = r.unregister(ctx, run, last) })
	if err != nil {
		switch {
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err): // the heir has changed meanwhile
			return ctrl.Result{RequeueAfter: conflictRetry}, nil
		case !last && !r.hasLostKey(ctx, webhook, err):
			return r.stillDeleting(ctx, run, err)
		}
		r.orphans.Add(run.key(), webhook.Status.WebhookID, r.accounts.Followed(run.key()))
		r.warnOrphaned(webhook, fmt.Sprintf("Gave up deleting %s at Mandrill, delete those that still exist there: %v", run.remains(), err))
	}
	if err := r.publisher.Withdraw(ctx, webhook); err != nil && !isStep(err) { // a Secret of somebody else stays as it is
		return ctrl.Result{}, err
	}
	if err := r.releaseSecrets(ctx, webhook); err != nil {
		return ctrl.Result{}, err
	}
	r.deletions.Done(webhook.UID, r.Now())
	if err := deletion.RemoveFinalizer(ctx, r.Client, webhook, r.Scope.Finalizer()); err != nil {
		return retryConflict("removing the finalizer", err)
	}
	r.forget(webhook)
	r.Metrics.Reconciled(nil)
	return ctrl.Result{}, nil
}

// remains says what of the object may still exist at Mandrill.
func (s *state) remains() string {
	if s.webhook.Status.WebhookID == 0 {
		return "the webhook and inbound routes with the URL " + s.webhook.Status.URL
	}
	return fmt.Sprintf("webhook %d and inbound routes to its URL", s.webhook.Status.WebhookID)
}

// warnOrphaned records the Event at the object and, because Kubernetes refuses Events in a namespace that is being deleted, at
// the Secret with the routes too.
func (r *Reconciler) warnOrphaned(webhook *v1alpha1.MandrillWebhook, message string) {
	r.warn(webhook, v1alpha1.ReasonOrphaned, message)
	routes := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: r.RoutesSecret.Namespace, Name: r.RoutesSecret.Name},
	}
	text := fmt.Sprintf("MandrillWebhook %s/%s: %s", webhook.Namespace, webhook.Name, message)
	r.Recorder.Eventf(routes, webhook, corev1.EventTypeWarning, v1alpha1.ReasonOrphaned, "Reconcile", "%s", controllers.Truncate(text))
}

// releaseSecrets leaves Secrets that others fill to them: the garbage collector deletes those that the object owns.
func (r *Reconciler) releaseSecrets(ctx context.Context, webhook *v1alpha1.MandrillWebhook) error {
	for _, use := range []ownedsecrets.Use{r.keySecret(webhook), publisher.SidecarSecret(webhook)} {
		if _, err := r.secrets.Get(ctx, webhook, use); err != nil && !isStep(err) {
			return err
		}
	}
	return nil
}

func isStep(err error) bool { return errors.As(err, new(*controllers.StepError)) }

// stillDeleting writes into the status why the object is still there, and tries again later.
func (r *Reconciler) stillDeleting(ctx context.Context, run *state, cause error) (ctrl.Result, error) {
	webhook := run.webhook
	if deletion.FailingSince(webhook).IsZero() {
		meta.RemoveStatusCondition(run.conditions.List, v1alpha1.ConditionReconciling) // it begins now
	}
	waiting := controllers.Waiting(v1alpha1.ReasonDeleting, deletionRetry, fmt.Errorf("deleting the webhook at Mandrill, which is tried for 10 minutes: %w", cause))
	run.conditions.Summarise(waiting)
	r.Metrics.Reconciled(waiting)
	webhook.Status.ObservedGeneration = webhook.Generation
	if err := r.patchStatus(ctx, run); client.IgnoreNotFound(err) != nil {
		return retryConflict("writing the status", err)
	}
	return controllers.Result(waiting)
}

// registrationAt is what an object may have at Mandrill in one account.
type registrationAt struct {
	account *account.Account
	id      int64  // of its webhook as the status has it, 0 if the status speaks of another account
	heir    *state // of an object that takes the webhook over if it is in its account too, nil if there is none
}

// unregister deletes what the object has at Mandrill, or leaves it to another object: in the account of its API key and, if
// that is another, in the account that it followed last. The last time it deletes as much as it can.
func (r *Reconciler) unregister(ctx context.Context, run *state, last bool) error {
	webhook := run.webhook
	if r.deletions.IsDone(webhook.UID) {
		return nil
	}
	heir, err := r.heir(ctx, run)
	if err != nil && !last {
		return err
	}
	if stays(webhook) && (heir == nil || last) {
		r.retained(webhook)
		return nil
	}
	if err := r.storedKey(ctx, run); err != nil && !isStep(err) { // a Secret of somebody else says nothing
		return err
	}
	if run.neverRegistered() {
		return nil
	}
	followed := r.accounts.Followed(run.key())
	err = r.credentials(ctx, run)
	if followed == nil && run.account == nil && heir != nil && !run.changedKey(heir.account) { // the heir has the same key
		followed = heir.account
	}
	if followed == nil || followed == run.account {
		if err != nil {
			return err
		}
		return r.unregisterAt(ctx, run, registrationAt{run.account, webhook.Status.WebhookID, heir}, last)
	}
	// The Secret is gone, as with its namespace, or has another key now.
	if err := r.unregisterAt(ctx, run, registrationAt{followed, webhook.Status.WebhookID, heir}, last); err != nil {
		return err
	}
	if run.account == nil {
		return nil
	}
	err = r.unregisterAt(ctx, run, registrationAt{run.account, 0, heir}, last)
	if controllers.Reason(err) == v1alpha1.ReasonInvalidAPIKey { // with such a key nothing was registered
		return nil
	}
	return err
}

// stays reports whether the object's webhook stays at Mandrill when the object is deleted.
func stays(webhook *v1alpha1.MandrillWebhook) bool {
	return webhook.Spec.DeletionPolicy == v1alpha1.DeletionRetain || registration.IsContested(webhook)
}

func (r *Reconciler) retained(webhook *v1alpha1.MandrillWebhook) {
	if webhook.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		r.warn(webhook, v1alpha1.ReasonRetained, fmt.Sprintf(
			"Left webhook %d at Mandrill, because somebody else changes it too, such as another installation or cluster: delete it there if nobody needs it", webhook.Status.WebhookID))
		return
	}
	r.normal(webhook, v1alpha1.ReasonRetained, "Left the webhook at Mandrill, as deletionPolicy says")
}

// hasLostKey reports whether the API key is missing and cannot come back, because the namespace is being deleted.
func (r *Reconciler) hasLostKey(ctx context.Context, webhook *v1alpha1.MandrillWebhook, err error) bool {
	return controllers.Reason(err) == v1alpha1.ReasonAPIKeySecretNotFound && deletion.InTerminatingNamespace(ctx, r.Client, webhook)
}

// neverRegistered reports whether the object has recorded nothing that may exist at Mandrill.
func (s *state) neverRegistered() bool {
	status := s.webhook.Status
	return status.WebhookID == 0 && len(status.PendingRegistrations) == 0 && s.stored.Key == "" && !inbound.MayExist(s.webhook)
}

// unregisterAt deletes the object's inbound routes, and then its webhooks, in one account. What another object has, or takes
// over, stays.
func (r *Reconciler) unregisterAt(ctx context.Context, run *state, at registrationAt, last bool) error {
	ours, taken, err := r.ours(ctx, run, at)
	if err != nil && last {
		return errors.Join(err, r.removeInbound(ctx, run, at))
	}
	if err != nil {
		return err
	}
	if at.heir != nil && !taken {
		if ours, taken, err = r.passOn(ctx, run, at, ours); err != nil {
			return err
		}
	}
	if stays(run.webhook) {
		if !taken {
			r.retained(run.webhook)
		}
		return nil
	}
	rest := r.withoutShared(ctx, run, ours)
	taken = taken || len(rest) < len(ours)
	ours = rest
	var inboundErr error
	if !taken { // otherwise the routes are those of the other object too
		if inboundErr = r.removeInbound(ctx, run, at); inboundErr != nil && !last {
			return inboundErr
		}
	}
	if at.id != 0 && len(ours) == 0 && !taken && run.changedKey(at.account) {
		r.orphans.Add(run.key(), at.id, nil)
		r.warnOrphaned(run.webhook, leftBehind(at.id))
	}
	for _, webhook := range ours {
		if err := at.account.Delete(ctx, webhook.ID); err != nil {
			return run.refusal("deleting the webhook", err)
		}
		r.normal(run.webhook, v1alpha1.ReasonDeleted, fmt.Sprintf("Deleted webhook %d at Mandrill", webhook.ID))
		if pending := run.facts().Pending(webhook); pending >= 0 && !run.facts().IsRecorded(at.account, webhook) {
			run.facts().FoundPending(pending)
		}
	}
	run.facts().RuleOutPending(r.Now())
	if urls := run.facts().MayAppear(); len(urls) > 0 && !last {
		return fmt.Errorf("the outcome of webhooks/add is not known, and it may still make a webhook at %s", urls[0])
	}
	return inboundErr
}

// ours returns the webhooks of an account that are provably the object's, and reports whether one that was is another object's
// now. One that is only at its URL is not the object's.
func (r *Reconciler) ours(ctx context.Context, run *state, at registrationAt) (ours []mandrill.Webhook, taken bool, err error) {
	list, err := at.account.Webhooks(ctx, addMaxAge)
	if err == nil && len(list) == 0 && at.id == 0 { // one empty list may be wrong, and there is no ID to ask for
		list, err = at.account.Webhooks(ctx, -1)
	}
	if err != nil {
		return nil, false, run.refusal("listing webhooks", err)
	}
	if at.id != 0 && !slices.ContainsFunc(list, func(webhook mandrill.Webhook) bool { return webhook.ID == at.id }) {
		webhook, exists, err := at.account.Webhook(ctx, at.id) // the list may be wrong
		if err != nil {
			return nil, false, run.refusal("looking for the webhook", err)
		}
		if exists {
			list = append(list, webhook)
		}
	}
	for _, webhook := range list {
		why := run.facts().Evidence(at.account, webhook)
		if why > registration.ByIntent || why == registration.Recorded && at.id == 0 {
			continue
		}
		owner, err := r.claimant(ctx, run.webhook, at.account, webhook)
		if err != nil {
			return nil, false, err
		}
		if owner == nil {
			ours = append(ours, webhook)
		}
		taken = taken || owner != nil
	}
	return ours, taken, nil
}
