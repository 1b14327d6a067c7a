package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Mandrill may carry out webhooks/add although nobody gets the answer: the connection breaks, the operator stops, or a proxy
// gives up. The status therefore says what is about to be registered, until a list after the call has shown what it made.

const (
	// pendingWindow is how long a call may still make a webhook: the time-out of the client, and some more.
	pendingWindow = 150 * time.Second
	// pendingRecheck is how soon to look again for what a call may have made.
	pendingRecheck = pendingWindow / 2
	// clockSkew is how much the clocks of the operator and of Mandrill may differ.
	clockSkew = 5 * time.Minute
	// conflictRetry gives a change of the object time to arrive in the cache.
	conflictRetry = 50 * time.Millisecond
	// maxPending is what the CRD allows. The oldest go first.
	maxPending = 16
)

// pendingFor returns the position of the pending registration that may have made a webhook, -1 if none can.
func (s *state) pendingFor(webhook mandrill.Webhook) int {
	return slices.IndexFunc(s.webhook.Status.PendingRegistrations, func(pending v1alpha1.PendingRegistration) bool {
		return shownAs(webhook.URL, pending.URL) && !webhook.CreatedAt.IsZero() && !webhook.CreatedAt.Before(pending.Since.Add(-clockSkew))
	})
}

// announce writes into the status that the object's URL is about to be registered. The returned function takes that back: the
// outcome of the call is known.
func (r *Reconciler) announce(ctx context.Context, run *state) (known func(), err error) {
	earlier := run.webhook.Status.PendingRegistrations
	now := metav1.NewTime(r.Now().Truncate(time.Second))
	pending := v1alpha1.PendingRegistration{URL: r.urls.shown(run.webhook), Since: now}
	list := slices.Clone(earlier)
	if at := slices.IndexFunc(list, func(p v1alpha1.PendingRegistration) bool { return p.URL == pending.URL }); at >= 0 {
		pending = list[at]
		list = slices.Delete(list, at, at+1)
	}
	pending.Last = now
	pending.Calls++
	list = append(list, pending)
	list = list[max(0, len(list)-maxPending):]

	written := run.before.DeepCopy()
	written.Status.PendingRegistrations = list
	patch := client.MergeFromWithOptions(run.before.DeepCopy(), client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, written, patch); err != nil {
		if apierrors.IsConflict(err) {
			return nil, controllers.Waiting(v1alpha1.ReasonProgressing, conflictRetry, errors.New("the webhook is about to be registered"))
		}
		return nil, fmt.Errorf("writing the status: %w", err)
	}
	run.before.ResourceVersion, run.webhook.ResourceVersion = written.ResourceVersion, written.ResourceVersion
	run.before.Status.PendingRegistrations = slices.Clone(list)
	run.webhook.Status.PendingRegistrations = list
	return func() { run.webhook.Status.PendingRegistrations = earlier }, nil
}

// isOutcome reports whether the answer to a write says that it was or was not made. Only Mandrill's own refusals do: a proxy
// may answer while Mandrill still works, and an error of Mandrill's server may come after the write.
func isOutcome(err error) bool {
	var refused *mandrill.APIError
	return err == nil || isStep(err) || errors.As(err, &refused) && refused.Name != "" && !refused.Temporary()
}

// foundPending counts a webhook as made by the pending registration at a position.
func (s *state) foundPending(at int) {
	list := slices.Clone(s.webhook.Status.PendingRegistrations)
	if list[at].Calls--; list[at].Calls <= 0 {
		list = slices.Delete(list, at, at+1)
	}
	s.webhook.Status.PendingRegistrations = list
}

// ruleOutPending removes the registrations that can no longer have made a webhook that a list of this moment lacks.
func (s *state) ruleOutPending(now time.Time) {
	list := slices.DeleteFunc(slices.Clone(s.webhook.Status.PendingRegistrations), func(pending v1alpha1.PendingRegistration) bool {
		return now.Sub(pending.Last.Time) > pendingWindow+addMaxAge
	})
	if len(list) == 0 {
		list = nil
	}
	s.webhook.Status.PendingRegistrations = list
}
