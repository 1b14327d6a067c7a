// Package heirs decides which object takes over the webhook of another one that is being deleted, as after a rename, and what
// it records of it. Deleting the webhook and adding another would lose the batches that wait at Mandrill.
package heirs

import (
	"cmp"
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Patience is how long a deletion waits for another object with the same URL. Whether that one takes the webhook over is not known
// while its API key or the secret in its URL cannot be read.
const Patience = time.Minute

// Candidates returns the objects of a list, which have the URL of one that is being deleted, that may take its webhook over, the
// best first. One that has a webhook already moves that one to the URL, and cannot have two.
func Candidates(list []v1alpha1.MandrillWebhook, from *v1alpha1.MandrillWebhook, older func(a, b *v1alpha1.MandrillWebhook) bool) []*v1alpha1.MandrillWebhook {
	var found []*v1alpha1.MandrillWebhook
	for i := range list {
		other := &list[i]
		if other.UID != from.UID && other.DeletionTimestamp.IsZero() && (other.Status.WebhookID == 0 || HasTaken(other, from)) {
			found = append(found, other)
		}
	}
	slices.SortFunc(found, func(a, b *v1alpha1.MandrillWebhook) int {
		if order := cmp.Compare(b.Status.WebhookID, a.Status.WebhookID); order != 0 { // the one that has taken it
			return order
		}
		if older(a, b) {
			return -1
		}
		return 1
	})
	return found
}

// HasTaken reports whether an object has recorded the webhook of another.
func HasTaken(by, from *v1alpha1.MandrillWebhook) bool {
	return by.Status.WebhookID != 0 && by.Status.WebhookID == from.Status.WebhookID
}

// SameAccount reports whether two API keys are of the account that has a webhook.
func SameAccount(ctx context.Context, a, b *account.Account, has mandrill.Webhook) (bool, error) {
	if a == b {
		return true, nil
	}
	found, exists, err := b.Webhook(ctx, has.ID)
	return exists && has.AuthKey != "" && found.AuthKey == has.AuthKey && found.CreatedAt.Equal(has.CreatedAt.Time), err
}

// Handed is what is handed over.
type Handed struct {
	Webhook mandrill.Webhook
	ShownAs string // the URL of the heir, with its secrets hidden
	Account *account.Account
	Inbound []v1alpha1.InboundRouteStatus
}

// Record writes into the status of the heir what makes the webhook provably its own.
func Record(heir, from *v1alpha1.MandrillWebhook, handed Handed) {
	status := &heir.Status
	status.WebhookID = handed.Webhook.ID
	status.URL = handed.ShownAs
	status.APIKeyFingerprint = handed.Account.Fingerprint(string(heir.UID))
	status.Events = registration.CurrentNames(handed.Webhook.Events)
	status.Upstream = from.Status.Upstream.DeepCopy()
	if status.Upstream == nil {
		status.Upstream = &v1alpha1.Upstream{}
	}
	status.Upstream.CreatedAt = nil
	if created := handed.Webhook.CreatedAt; !created.IsZero() {
		whole := metav1.NewTime(created.Truncate(time.Second))
		status.Upstream.CreatedAt = &whole
	}
	for _, route := range handed.Inbound {
		if !slices.Contains(status.InboundRoutes, route) {
			status.InboundRoutes = append(status.InboundRoutes, route)
		}
	}
}
