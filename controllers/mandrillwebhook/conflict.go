package mandrillwebhook

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// urlOwner returns another object that has a better claim to the URL of this one, or nil. Then those that wait for the URL are in
// the state.
func (r *Reconciler) urlOwner(ctx context.Context, run *state) (*v1alpha1.MandrillWebhook, error) {
	webhook := run.webhook
	others, err := r.sameURL(ctx, webhook)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		if r.precedes(&other, webhook) {
			return &other, nil
		}
		if other.DeletionTimestamp.IsZero() {
			run.waiting = append(run.waiting, other.Namespace+"/"+other.Name)
		}
	}
	slices.Sort(run.waiting)
	return nil, nil //nolint:nilnil // nobody
}

// yieldURL leaves the URL to its owner: the routes for it are withdrawn and, if both objects have recorded the same
// webhook at Mandrill, this one forgets its number. A webhook at another URL, and its routes, stay as they are. An owner that is
// being deleted hands its webhook over, and nothing is changed until it is gone.
func (r *Reconciler) yieldURL(ctx context.Context, run *state, owner *v1alpha1.MandrillWebhook) error {
	if !owner.DeletionTimestamp.IsZero() {
		return controllers.Waiting(v1alpha1.ReasonURLConflict, dependencyRetry,
			fmt.Errorf("the MandrillWebhook %s/%s has the same URL and is being deleted: wait until it is gone", owner.Namespace, owner.Name))
	}
	if status := &run.webhook.Status; status.WebhookID == owner.Status.WebhookID {
		status.WebhookID = 0
	}
	if err := r.publisher.WithdrawFrom(ctx, run.webhook, run.url); err != nil {
		return err
	}
	why := "it is older"
	if r.isRegistered(owner) {
		why = "it is registered there"
	}
	return controllers.Stalled(v1alpha1.ReasonURLConflict,
		fmt.Errorf("the MandrillWebhook %s/%s has the same URL: change one of them; that one keeps the URL, because %s, and this one waits for it; or, if this one is to replace it, delete that one",
			owner.Namespace, owner.Name, why))
}

// sameURL returns the other objects with the URL of this one.
func (r *Reconciler) sameURL(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]v1alpha1.MandrillWebhook, error) {
	ours, err := r.urls.Of(webhook)
	if err != nil {
		return nil, nil //nolint:nilerr // without a URL there is nothing to share
	}
	var list v1alpha1.MandrillWebhookList
	if err := r.Client.List(ctx, &list, client.MatchingFields{byURL: webhookurl.Redact(ours)}); err != nil {
		return nil, fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(other v1alpha1.MandrillWebhook) bool {
		theirs, err := r.urls.Of(&other)
		return err != nil || theirs != ours || other.UID == webhook.UID || r.Scope.IsReleased(&other)
	}), nil
}

// precedes reports whether object a has a better claim to a URL than b: the one that is registered there, else the
// older one. One that is registered there and being deleted has it until it has handed its webhook over.
func (r *Reconciler) precedes(a, b *v1alpha1.MandrillWebhook) bool {
	if r.isRegistered(a) != r.isRegistered(b) || !a.DeletionTimestamp.IsZero() {
		return r.isRegistered(a)
	}
	return scope.Older(a, b)
}

// isRegistered reports whether an object's webhook is at the object's URL.
func (r *Reconciler) isRegistered(o *v1alpha1.MandrillWebhook) bool {
	return o.Status.WebhookID != 0 && o.Status.URL == r.urls.Shown(o)
}
