package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Mandrill may carry out webhooks/add although nobody gets the answer: the connection breaks, the operator stops, or a proxy
// gives up. The status therefore says what is about to be registered, until a list after the call has shown what it made. The same
// is true of webhooks/update with another URL: the webhook may then have a URL and a signing key that the object has nowhere else.

const (
	// pendingRecheck is how soon to look again for what a call may have made.
	pendingRecheck = 75 * time.Second
	// conflictRetry gives a change of the object time to arrive in the cache.
	conflictRetry = 50 * time.Millisecond
)

// announce writes into the status that the object's URL is being registered, for a new webhook or, with an ID, for one that moves.
// The returned function takes that back: the outcome of the call is known.
func (r *Reconciler) announce(ctx context.Context, run *state, id int64, activity progress.Activity) (known func(), err error) {
	earlier := run.webhook.Status.PendingRegistrations
	now := metav1.NewTime(r.Now().Truncate(time.Second))
	list := registration.Announced(earlier, id, r.urls.Shown(run.webhook), now)
	written, patch := run.doing(activity)
	written.Status.PendingRegistrations = slices.Clone(list)
	if err := r.Client.Status().Patch(ctx, written, patch); err != nil {
		if apierrors.IsConflict(err) {
			return nil, controllers.Waiting(v1alpha1.ReasonProgressing, conflictRetry, errors.New("the object has changed, and is registered as it is now"))
		}
		return nil, fmt.Errorf("writing the status: %w", err)
	}
	r.wrote(run, written)
	run.webhook.Status.PendingRegistrations = list
	return func() { run.webhook.Status.PendingRegistrations = earlier }, nil
}

// isOutcome reports whether the answer to a write says that it was or was not made. Only Mandrill's own refusals do: a proxy
// may answer while Mandrill still works, and an error of Mandrill's server may come after the write.
func isOutcome(err error) bool {
	var refused *mandrill.APIError
	return err == nil || errors.As(err, &refused) && refused.Name != "" && !refused.Temporary()
}
