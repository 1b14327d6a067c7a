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
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// evidence says why a webhook at Mandrill is an object's, the strongest first. The first three prove that the object made
// or adopted it. One at the object's URL is not the object's until it is adopted.
type evidence int

const (
	recorded evidence = iota // the status has its ID, and it is that webhook
	byKey                    // the Secret has its signing key
	byIntent                 // a call of webhooks/add with an unknown outcome made it
	atURL                    // it is at exactly the object's URL
	none
)

// evidenceFor says whether a webhook of an account is the object's.
func (s *state) evidenceFor(in *account.Account, webhook mandrill.Webhook) evidence {
	switch {
	case s.isRecorded(in, webhook):
		return recorded
	case s.stored.Key != "" && webhook.AuthKey == s.stored.Key:
		return byKey
	case s.pendingFor(webhook) >= 0:
		return byIntent
	case webhook.URL == s.url:
		return atURL
	}
	return none
}

// isRecorded reports whether a webhook is the one in the status. IDs of two accounts may be equal, and so may the seconds in
// which their webhooks were created, so with an unknown or another API key the webhook needs the object's signing key or URL.
func (s *state) isRecorded(in *account.Account, webhook mandrill.Webhook) bool {
	status := s.webhook.Status
	if status.WebhookID == 0 || webhook.ID != status.WebhookID {
		return false
	}
	if s.stored.Key != "" && webhook.AuthKey == s.stored.Key {
		return true
	}
	sameKey := status.APIKeyFingerprint == in.Fingerprint(string(s.webhook.UID))
	if status.Upstream == nil || status.Upstream.CreatedAt == nil || webhook.CreatedAt.IsZero() {
		return sameKey
	}
	if !status.Upstream.CreatedAt.Equal(optionalTime(webhook.CreatedAt)) {
		return false
	}
	return sameKey || shownAs(webhook.URL, status.URL) || webhook.URL == s.url
}

// shownAs reports whether a URL may be the one that the status shows with its secrets hidden.
func shownAs(url, shown string) bool {
	if prefix, hides := strings.CutSuffix(shown, "="+hidden); hides {
		return strings.HasPrefix(redactURL(url), prefix+"=")
	}
	return shown != "" && redactURL(url) == shown
}

// match finds the object's webhook in a list: the one with the strongest evidence, and of two the one at the URL.
func (s *state) match(list []mandrill.Webhook) (mandrill.Webhook, evidence) {
	var best mandrill.Webhook
	found := none
	for _, webhook := range list {
		why := s.evidenceFor(s.account, webhook)
		if why < found || why == found && why != none && webhook.URL == s.url && best.URL != s.url {
			best, found = webhook, why
		}
	}
	return best, found
}

// remoteView is what an account has for an object.
type remoteView struct {
	list    []mandrill.Webhook
	webhook mandrill.Webhook // the object's, if why is not none
	why     evidence
}

// find looks for the object's webhook. A list that lacks a recorded webhook is not believed: Mandrill is asked for that one,
// because a second webhook would be added otherwise.
func (r *Reconciler) find(ctx context.Context, run *state) (remoteView, error) {
	maxAge := viewIntervals * r.Resync
	if len(run.webhook.Status.PendingRegistrations) > 0 {
		maxAge = addMaxAge
	}
	var view remoteView
	var err error
	for _, maxAge := range slices.Compact([]time.Duration{maxAge, addMaxAge}) {
		if view.list, err = run.account.Webhooks(ctx, maxAge); err != nil {
			return view, err
		}
		if view.webhook, view.why = run.match(view.list); view.why <= byKey {
			return view, nil
		}
	}
	id := run.webhook.Status.WebhookID
	if id == 0 {
		return view, nil
	}
	webhook, exists, err := run.account.Webhook(ctx, id)
	if err != nil {
		return view, err
	}
	if exists && run.evidenceFor(run.account, webhook) <= byKey {
		view.webhook, view.why = webhook, recorded
	}
	return view, nil
}

// checkClaim refuses to take over a webhook that another object has recorded.
func (r *Reconciler) checkClaim(ctx context.Context, run *state, have mandrill.Webhook) error {
	owner, err := r.claimant(ctx, run.webhook, have)
	if err != nil || owner == nil {
		return err
	}
	return controllers.Waiting(v1alpha1.ReasonURLConflict, dependencyRetry,
		fmt.Errorf("the webhook at this URL is still that of the MandrillWebhook %s/%s: wait until that has moved, or change one of them", owner.Namespace, owner.Name))
}

// claimant returns another object that has recorded a webhook, or nil. The URL must agree too: webhooks of different
// accounts may have the same number.
func (r *Reconciler) claimant(ctx context.Context, webhook *v1alpha1.MandrillWebhook, have mandrill.Webhook) (*v1alpha1.MandrillWebhook, error) {
	var list v1alpha1.MandrillWebhookList
	if err := r.Client.List(ctx, &list, client.MatchingFields{byWebhookID: strconv.FormatInt(have.ID, 10)}); err != nil {
		return nil, fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	for _, other := range list.Items {
		if other.UID != webhook.UID && other.Status.WebhookID == have.ID && strings.HasPrefix(redactURL(have.URL), withoutSecret(other.Status.URL)) {
			return &other, nil
		}
	}
	return nil, nil //nolint:nilnil // nobody
}
