package registration

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// pendingWindow is how long a call may still make a webhook: the time-out of the client, some more, and the age of a list.
	pendingWindow = 160 * time.Second
	// clockSkew is how much the clocks of the operator and of Mandrill may differ.
	clockSkew = 5 * time.Minute
	// maxPending is what the CRD allows. The oldest go first.
	maxPending = 16
)

// Pending returns the position of the pending registration that may have made or moved a webhook, -1 if none can.
func (f Facts) Pending(webhook mandrill.Webhook) int {
	return slices.IndexFunc(f.Object.Status.PendingRegistrations, func(pending v1alpha1.PendingRegistration) bool {
		if pending.WebhookID != 0 {
			return f.isMoved(webhook, pending)
		}
		return f.ShownAs(webhook.URL, pending.URL) && !webhook.CreatedAt.IsZero() && !webhook.CreatedAt.Before(pending.Since.Add(-clockSkew))
	})
}

// isMoved reports whether a webhook is at the URL to which a pending registration was to move it.
func (f Facts) isMoved(webhook mandrill.Webhook, pending v1alpha1.PendingRegistration) bool {
	return webhook.ID == pending.WebhookID && f.ShownAs(webhook.URL, pending.URL)
}

// MayAppear returns the URLs at which pending registrations may still make a webhook.
func (f Facts) MayAppear() (urls []string) {
	for _, pending := range f.Object.Status.PendingRegistrations {
		if pending.WebhookID == 0 {
			urls = append(urls, pending.URL)
		}
	}
	return urls
}

// Places returns the URLs at which other webhooks may be the object's too, those of pending registrations as the status shows them.
func (f Facts) Places() []string {
	list := []string{f.URL}
	for _, pending := range f.Object.Status.PendingRegistrations {
		list = append(list, pending.URL)
	}
	return list
}

// Announced returns the pending registrations with one more call for a URL, as the status shows it: of webhooks/update for the
// webhook with an ID, or of webhooks/add for 0.
func Announced(list []v1alpha1.PendingRegistration, id int64, shown string, now metav1.Time) []v1alpha1.PendingRegistration {
	pending := v1alpha1.PendingRegistration{URL: shown, WebhookID: id, Since: now}
	list = slices.Clone(list)
	if at := slices.IndexFunc(list, func(p v1alpha1.PendingRegistration) bool { return p.URL == shown && p.WebhookID == id }); at >= 0 {
		pending = list[at]
		list = slices.Delete(list, at, at+1)
	}
	pending.Last = now
	pending.Calls++
	list = append(list, pending)
	return list[max(0, len(list)-maxPending):]
}

// FoundPending counts a webhook as made by the pending registration at a position.
func (f Facts) FoundPending(at int) {
	list := slices.Clone(f.Object.Status.PendingRegistrations)
	if list[at].Calls--; list[at].Calls <= 0 {
		list = slices.Delete(list, at, at+1)
	}
	f.Object.Status.PendingRegistrations = list
}

// RuleOutPending removes the registrations that can no longer have made a webhook that a list of this moment lacks.
func (f Facts) RuleOutPending(now time.Time) {
	list := slices.DeleteFunc(slices.Clone(f.Object.Status.PendingRegistrations), func(pending v1alpha1.PendingRegistration) bool {
		return now.Sub(pending.Last.Time) > pendingWindow
	})
	if len(list) == 0 {
		list = nil
	}
	f.Object.Status.PendingRegistrations = list
}
