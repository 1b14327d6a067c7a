package mandrillwebhook

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// remoteView is what an account has for an object.
type remoteView struct {
	list    []mandrill.Webhook
	webhook mandrill.Webhook // the object's, if why is not None
	why     registration.Evidence
}

// find looks for the object's webhook. A list that lacks a recorded webhook is not believed: Mandrill is asked for that one.
// Otherwise a second webhook would be added, or the recorded one would be forgotten for another that the object has made.
func (r *Reconciler) find(ctx context.Context, run *state) (remoteView, error) {
	maxAge := viewIntervals * r.Resync
	if len(run.webhook.Status.PendingRegistrations) > 0 {
		maxAge = addMaxAge
	}
	id := run.webhook.Status.WebhookID
	var view remoteView
	var err error
	for _, maxAge := range slices.Compact([]time.Duration{maxAge, addMaxAge}) {
		if view.list, err = run.account.Webhooks(ctx, maxAge); err != nil {
			return view, err
		}
		if view.webhook, view.why = run.facts().Match(run.account, view.list); view.why == registration.Recorded || view.why == registration.ByKey && id == 0 {
			return view, nil
		}
	}
	if id == 0 {
		return view, nil
	}
	webhook, exists, err := run.account.Webhook(ctx, id)
	if err != nil {
		return view, err
	}
	if exists && run.facts().Evidence(run.account, webhook) <= registration.ByKey {
		view.webhook, view.why = webhook, registration.Recorded
	}
	return view, nil
}

// checkClaim refuses to take over a webhook that another object has recorded.
func (r *Reconciler) checkClaim(ctx context.Context, run *state, have mandrill.Webhook) error {
	owner, err := r.claimant(ctx, run.webhook, run.account, have)
	if err != nil || owner == nil {
		return err
	}
	return controllers.Waiting(v1alpha1.ReasonURLConflict, dependencyRetry,
		fmt.Errorf("the webhook at this URL is still that of the MandrillWebhook %s/%s: wait until that has moved, or change one of them", owner.Namespace, owner.Name))
}

// claimant returns another object that has recorded a webhook of an account, or nil. Webhooks of different accounts may have the
// same number, so the URL or the API key must agree too. Of two objects that are being deleted either deletes the webhook.
func (r *Reconciler) claimant(ctx context.Context, webhook *v1alpha1.MandrillWebhook, in *account.Account, have mandrill.Webhook) (*v1alpha1.MandrillWebhook, error) {
	var list v1alpha1.MandrillWebhookList
	if err := r.Client.List(ctx, &list, client.MatchingFields{byWebhookID: strconv.FormatInt(have.ID, 10)}); err != nil {
		return nil, fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	for _, other := range list.Items {
		deleted := !other.DeletionTimestamp.IsZero() && !webhook.DeletionTimestamp.IsZero()
		if other.UID == webhook.UID || other.Status.WebhookID != have.ID || r.Scope.IsReleased(&other) || deleted {
			continue
		}
		facts := registration.Facts{Object: &other, ShownAs: webhookurl.ShownAs}
		if strings.HasPrefix(webhookurl.Redact(have.URL), webhookurl.WithoutSecret(other.Status.URL)) || facts.IsRecorded(in, have) {
			return &other, nil
		}
	}
	return nil, nil //nolint:nilnil // nobody
}
