package registration

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Facts are what webhooks are recognised by.
type Facts struct {
	Object  *v1alpha1.MandrillWebhook
	URL     string                       // to register
	Key     string                       // signing key in the Secret
	ShownAs func(url, shown string) bool // whether the status may show a URL so, with its secrets hidden
}

// Evidence says why a webhook at Mandrill is an object's, the strongest first. The first three prove that the object made
// or adopted it. One at the object's URL is not the object's until it is adopted.
type Evidence int

// The evidence.
const (
	Recorded Evidence = iota // the status has its ID, and it is that webhook
	ByKey                    // the Secret has its signing key
	ByIntent                 // a call with an unknown outcome made it, or moved it to its URL
	AtURL                    // it is at exactly the object's URL
	None
)

// Evidence says whether a webhook of an account is the object's.
func (f Facts) Evidence(in *account.Account, webhook mandrill.Webhook) Evidence {
	switch {
	case f.IsRecorded(in, webhook):
		return Recorded
	case f.Key != "" && webhook.AuthKey == f.Key:
		return ByKey
	case f.Pending(webhook) >= 0:
		return ByIntent
	case webhook.URL == f.URL:
		return AtURL
	}
	return None
}

// IsRecorded reports whether a webhook is the one in the status. IDs of two accounts may be equal, and so may the seconds in
// which their webhooks were created, so with an unknown or another API key the webhook needs the object's signing key or URL, or the
// URL to which a call with an unknown outcome was to move it, which gives it another signing key.
func (f Facts) IsRecorded(in *account.Account, webhook mandrill.Webhook) bool {
	status := f.Object.Status
	if status.WebhookID == 0 || webhook.ID != status.WebhookID {
		return false
	}
	if f.Key != "" && webhook.AuthKey == f.Key {
		return true
	}
	sameKey := status.APIKeyFingerprint == in.Fingerprint(string(f.Object.UID))
	if status.Upstream == nil || status.Upstream.CreatedAt == nil || webhook.CreatedAt.IsZero() {
		return sameKey
	}
	if !status.Upstream.CreatedAt.Equal(&metav1.Time{Time: webhook.CreatedAt.Truncate(time.Second)}) {
		return false
	}
	return sameKey || f.ShownAs(webhook.URL, status.URL) || webhook.URL == f.URL ||
		slices.ContainsFunc(status.PendingRegistrations, func(pending v1alpha1.PendingRegistration) bool { return f.isMoved(webhook, pending) })
}

// Match finds the object's webhook in a list: the one with the strongest evidence, and of two the one at the URL.
func (f Facts) Match(in *account.Account, list []mandrill.Webhook) (mandrill.Webhook, Evidence) {
	var best mandrill.Webhook
	found := None
	for _, webhook := range list {
		why := f.Evidence(in, webhook)
		if why < found || why == found && why != None && webhook.URL == f.URL && best.URL != f.URL {
			best, found = webhook, why
		}
	}
	return best, found
}
