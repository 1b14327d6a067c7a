package mandrillwebhook

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// outstanding returns the differences that a write may remove.
func (r *Reconciler) outstanding(run *state, want mandrill.WebhookSpec, have mandrill.Webhook) []string {
	differences := registration.Without(registration.Diff(want, have), r.outcomes.Settled(run.webhook, want, have))
	for cause, remark := range map[string]remark{causeDescription: descriptionRemark(have), causeURL: urlRemark(run, have)} {
		if reported(run, remark) { // before the operator restarted
			differences = registration.Without(differences, []string{cause})
		}
	}
	if registration.AlreadyTried(want.Events, have, run.webhook) {
		differences = registration.Without(differences, []string{causeEvents})
	}
	return differences
}

// remark is what Registered says although the webhook is registered.
type remark struct{ reason, message string }

func descriptionRemark(have mandrill.Webhook) remark {
	return remark{v1alpha1.ReasonStoredDifferently,
		fmt.Sprintf("Mandrill stores the description as %q: write it like that in spec.description, or leave it", have.Description)}
}

func urlRemark(run *state, have mandrill.Webhook) remark {
	return remark{v1alpha1.ReasonURLChanged,
		fmt.Sprintf("Mandrill has registered the URL as %s: write it like that in spec.url", run.redact(webhookurl.Redact(have.URL)))}
}

// reported reports whether Registered makes a remark about this generation.
func reported(run *state, remark remark) bool {
	condition := meta.FindStatusCondition(run.webhook.Status.Conditions, v1alpha1.ConditionRegistered)
	return condition != nil && condition.ObservedGeneration == run.webhook.Generation &&
		condition.Reason == remark.reason && condition.Message == controllers.Truncate(remark.message)
}

// checkOutcome reports what differs after a write. At another URL the receiver refuses the batches.
func (r *Reconciler) checkOutcome(run *state, want mandrill.WebhookSpec, have mandrill.Webhook) error {
	differences := registration.Diff(want, have)
	if slices.Contains(differences, causeURL) {
		return controllers.StalledAt(v1alpha1.ReasonURLChanged, refusedRetry, errors.New(urlRemark(run, have).message))
	}
	if slices.Contains(differences, causeDescription) {
		run.remark = descriptionRemark(have)
	}
	return nil
}

// mayWrite takes a token of the object's budget, or returns Waiting until there is one. Changes of the object that follow each
// other quickly share a write.
func (r *Reconciler) mayWrite(run *state) error {
	version := registration.Version{Generation: run.webhook.Generation, URL: run.url}
	if wait := r.spacer.Wait(run.key(), version, r.Now()); wait > 0 {
		return controllers.Waiting(v1alpha1.ReasonProgressing, wait,
			fmt.Errorf("an earlier change went to Mandrill less than %s ago, and this one follows", registration.Spacing))
	}
	registered := meta.FindStatusCondition(run.webhook.Status.Conditions, v1alpha1.ConditionRegistered)
	paused := registered != nil && registered.Reason == v1alpha1.ReasonWritesPaused
	wait, begins := r.writes.Take(run.key(), paused, r.Now())
	if wait == 0 {
		r.spacer.Wrote(run.key(), version, r.Now())
		return nil
	}
	message := fmt.Sprintf("the webhook was changed at Mandrill more than %d times within a minute, so that changes pause for up to %s: "+
		"another installation, a program or a person undoes them, or the spec changes all the time", registration.Burst, registration.LastPause)
	if begins {
		r.warn(run.webhook, v1alpha1.ReasonWritesPaused, message)
	}
	return controllers.Waiting(v1alpha1.ReasonWritesPaused, wait, errors.New(message))
}
