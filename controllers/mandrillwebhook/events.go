package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Which events the API accepts differs between accounts and times, and Mandrill adds and drops names without notice.
// A refused event must not keep the others from being registered.

// upsert updates the webhook with the given id, or adds one if that is 0, with as many of its events as Mandrill accepts.
func (r *Reconciler) upsert(ctx context.Context, run *state, id int64, want mandrill.WebhookSpec) (mandrill.Webhook, error) {
	for {
		var have mandrill.Webhook
		var err error
		if id == 0 {
			have, err = run.account.Add(ctx, want)
		} else {
			have, err = run.account.Update(ctx, id, want)
		}
		if err == nil && len(have.Events) == 0 {
			return have, controllers.StalledAt(v1alpha1.ReasonRefused, refusedRetry,
				errors.New("Mandrill took none of the events: name others in spec.events, or tick them in Mandrill's web interface"+eventtypes.DidYouMean(want.Events)))
		}
		refused := registration.RefusedEvents(err, want.Events)
		if len(refused) == 0 || len(refused) == len(want.Events) {
			return have, err
		}
		want.Events = registration.Without(want.Events, refused)
	}
}

// reportEvents sets EventsAccepted: which events Mandrill did not accept, and which it added.
func (r *Reconciler) reportEvents(run *state) {
	var want []string
	for _, event := range run.webhook.Spec.Events {
		want = append(want, string(event))
	}
	have := run.webhook.Status.Events
	missing, added := registration.Without(want, have), registration.Without(have, want)
	switch {
	case len(missing) > 0:
		message := fmt.Sprintf("Mandrill does not accept %s; the other events are registered: take out of spec.events what is not needed, or tick it for webhook %d in Mandrill's web interface",
			strings.Join(missing, ", "), run.webhook.Status.WebhookID) + eventtypes.DidYouMean(missing)
		if before := meta.FindStatusCondition(run.webhook.Status.Conditions, v1alpha1.ConditionEventsAccepted); before == nil || before.Message != message {
			r.warn(run.webhook, v1alpha1.ReasonEventsRefused, message)
		}
		run.conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionFalse, v1alpha1.ReasonEventsRefused, message)
	case len(added) > 0:
		run.conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionTrue, v1alpha1.ReasonEventsAdded,
			"Mandrill sends more than was asked for: "+strings.Join(added, ", "))
	default:
		run.conditions.Set(v1alpha1.ConditionEventsAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, strings.TrimPrefix(eventtypes.DidYouMean(have), "; "))
	}
}
