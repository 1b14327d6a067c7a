package mandrillwebhook

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/deletion"
	"github.com/mandrill-operator/mandrill-operator/controllers/heirs"
	"github.com/mandrill-operator/mandrill-operator/controllers/inbound"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// An object that is deleted hands its webhook over to its heir: another object with the same URL and the same account, as after
// a rename. The webhook belongs to the heir from the moment that its status says so. What comes before and after may be done
// again, after a crash, and the heir waits until the other object is gone.

// awaitHeir returns how long to wait for an heir, as long as there is none: some tools delete the object with the earlier name
// before they create the one with the new name. Another object rarely has the URL of one without a spec.url, so that one does
// not wait.
func (r *Reconciler) awaitHeir(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (time.Duration, error) {
	if r.RenameWindow == 0 || webhook.Spec.URL == "" || stays(webhook) ||
		webhook.Status.WebhookID == 0 || r.deletions.IsDone(webhook.UID) {
		return 0, nil
	}
	candidates, err := r.heirCandidates(ctx, webhook)
	if err != nil || len(candidates) > 0 {
		return 0, err
	}
	return r.deletions.Left(webhook, r.RenameWindow, r.Now()), nil
}

// heirCandidates returns the objects that may take a webhook over, the best first. Those of other installations may not: only their
// own operator writes their status and Secrets.
func (r *Reconciler) heirCandidates(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]*v1alpha1.MandrillWebhook, error) {
	others, err := r.sameURL(ctx, webhook)
	others = slices.DeleteFunc(others, func(other v1alpha1.MandrillWebhook) bool { return !r.Scope.Handles(&other) })
	return heirs.Candidates(others, webhook, scope.Older), err
}

// heir returns the state of the object that takes over the webhook of one that is being deleted, nil if there is none, and finds
// the URL of the latter.
func (r *Reconciler) heir(ctx context.Context, run *state) (*state, error) {
	if err := r.resolveURL(ctx, run); err != nil && !isStep(err) { // without a URL nothing is found by it
		return nil, err
	}
	candidates, err := r.heirCandidates(ctx, run.webhook)
	if err != nil {
		return nil, err
	}
	since := deletion.FailingSince(run.webhook)
	for _, candidate := range candidates {
		heir := newState(candidate)
		err := r.resolveURL(ctx, heir)
		if err == nil {
			err = r.credentials(ctx, heir)
		}
		switch {
		case err == nil && (run.url == "" || run.url == heir.url):
			return heir, nil
		case err != nil && !isStep(err):
			return nil, err
		case err != nil && (since.IsZero() || r.Now().Sub(since) < heirs.Patience):
			return nil, fmt.Errorf("the MandrillWebhook %s/%s has the same URL, and whether it takes over the webhook is not known yet, because its API key or URL cannot be read",
				candidate.Namespace, candidate.Name)
		}
	}
	return nil, nil //nolint:nilnil // there is none
}

// passOn makes the heir own the webhook, with its signing key and the inbound routes to its URL. It returns the other webhooks
// of the object, and reports whether there was one to hand over.
func (r *Reconciler) passOn(ctx context.Context, run *state, at registrationAt, ours []mandrill.Webhook) (rest []mandrill.Webhook, done bool, err error) {
	heir := at.heir
	webhook, why := run.facts().Match(at.account, ours)
	if why == registration.None || webhook.URL != heir.url && run.url != heir.url {
		return ours, false, nil
	}
	same, err := heirs.SameAccount(ctx, at.account, heir.account, webhook)
	if err != nil {
		return ours, false, run.refusal("looking for the webhook with the API key of the object that takes it over", err)
	}
	if !same {
		return ours, false, nil
	}
	handed := heirs.Handed{Webhook: webhook, ShownAs: r.urls.Shown(heir.webhook), Account: heir.account}
	if handed.Inbound, err = r.ownInbound(ctx, run, at); err != nil {
		return ours, false, err
	}
	if err := r.giveKey(ctx, run, heir, webhook.AuthKey); err != nil {
		return ours, false, err
	}
	if err := r.recordHeir(ctx, run, heir, handed); err != nil {
		return ours, false, err
	}
	if pending := run.facts().Pending(webhook); pending >= 0 && why != registration.Recorded {
		run.facts().FoundPending(pending)
	}
	r.normal(run.webhook, v1alpha1.ReasonPassedOn, fmt.Sprintf("Left webhook %d to the MandrillWebhook %s, which has the same URL", webhook.ID, publisher.RouteName(heir.webhook)))
	r.normal(heir.webhook, v1alpha1.ReasonAdopted, fmt.Sprintf("Took over webhook %d of the MandrillWebhook %s, which had the same URL and is being deleted", webhook.ID, publisher.RouteName(run.webhook)))
	return slices.DeleteFunc(ours, func(other mandrill.Webhook) bool { return other.ID == webhook.ID }), true, nil
}

// ownInbound returns the inbound routes of an object in an account.
func (r *Reconciler) ownInbound(ctx context.Context, run *state, at registrationAt) ([]v1alpha1.InboundRouteStatus, error) {
	if !inbound.MayExist(run.webhook) {
		return nil, nil
	}
	own, err := r.ownRoutes(ctx, run, at.id)
	if err != nil {
		return nil, err
	}
	view, err := r.allInbound(ctx, run, at)
	if err != nil {
		return nil, err
	}
	var list []v1alpha1.InboundRouteStatus
	for _, name := range slices.Sorted(maps.Keys(view)) {
		for _, route := range view[name].Routes {
			if own.Has(route) {
				list = append(list, v1alpha1.InboundRouteStatus{ID: route.ID, Domain: name, Pattern: route.Pattern})
			}
		}
	}
	return list, nil
}

// giveKey writes the signing key, and those that are accepted for a while longer, into the Secret of the heir. An heir whose Secret
// is in conflict gets the key from Mandrill when that is over.
func (r *Reconciler) giveKey(ctx context.Context, run, heir *state, key string) error {
	present := identity{heir.url, key}
	if !present.usable() {
		return nil
	}
	use := r.keySecret(heir.webhook)
	use.From = run.webhook.UID
	found, err := r.secrets.Get(ctx, heir.webhook, use)
	if isStep(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if heir.secret = found; found != nil && metav1.IsControlledBy(found, heir.webhook) {
		r.useStored(heir)
	}
	for _, earlier := range run.retired {
		if !slices.Contains(heir.retired, earlier) {
			heir.retired = append(heir.retired, earlier)
		}
	}
	for _, earlier := range []identity{heir.stored, run.stored} {
		if earlier.usable() {
			heir.retired = retire(heir.retired, earlier, present, r.Now())
		}
	}
	return r.storeKey(ctx, heir, use, present)
}

// recordHeir makes the webhook the heir's. The heir keeps its finalizer from then on, because the webhook is deleted with it.
func (r *Reconciler) recordHeir(ctx context.Context, run, heir *state, handed heirs.Handed) error {
	before := heir.webhook.DeepCopy()
	if controllerutil.AddFinalizer(heir.webhook, r.Scope.Finalizer()) {
		if err := r.Client.Patch(ctx, heir.webhook, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("adding the finalizer of the object that takes the webhook over: %w", err)
		}
		before = heir.webhook.DeepCopy()
	}
	heirs.Record(heir.webhook, run.webhook, handed)
	if err := r.Client.Status().Patch(ctx, heir.webhook, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("writing the status of the object that takes the webhook over: %w", err)
	}
	return nil
}
