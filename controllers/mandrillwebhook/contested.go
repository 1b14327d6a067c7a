package mandrillwebhook

import (
	"fmt"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// What somebody else may change back.
const (
	subjectWebhook = "webhook"
	subjectSecret  = "secret"
)

func (s *state) contested(subject string) registration.Contested {
	return registration.Contested{Object: s.webhook.UID, Subject: subject}
}

// checkContest leaves the webhook as it is if somebody else changes it back each time.
func (r *Reconciler) checkContest(run *state, want mandrill.WebhookSpec, have mandrill.Webhook, differences []string) error {
	if len(have.Events) == 0 { // Mandrill has disabled it
		return nil
	}
	wait := r.contests.Changed(run.contested(subjectWebhook), registration.Change{
		Want: registration.Text(want), Have: registration.Text(mandrill.WebhookSpec{URL: have.URL, Description: have.Description, Events: have.Events}),
		Limit: registration.WebhookChanges, WasInOrder: wasTrue(run.webhook, v1alpha1.ConditionRegistered), WasContested: registration.IsContested(run.webhook) && !registration.IsNewer(run.webhook, v1alpha1.ConditionRegistered),
	}, r.Now())
	if wait == 0 {
		return nil
	}
	return controllers.StalledAt(v1alpha1.ReasonContested, wait, fmt.Errorf(
		"somebody else changes webhook %d back at Mandrill each time (%s), such as another installation or another cluster with this URL and account: "+
			"let only one of them have it, by --watch-namespaces, by spec.installation, or by deleting the other MandrillWebhook with deletionPolicy Retain; "+
			"the operator leaves the webhook as it is, and tries again after a pause, or when the spec changes", have.ID, strings.Join(differences, ", ")))
}

// checkSecretContest leaves the signing key Secret as it is if somebody else changes it back each time.
func (r *Reconciler) checkSecretContest(run *state, present identity) error {
	now, subject := r.Now(), run.contested(subjectSecret)
	have := identity{}
	if run.secret != nil {
		have = identityOf(run.secret)
	}
	if have == present || run.secret == nil {
		r.contests.InOrder(subject, present.URL+" "+present.Key, now)
		return nil
	}
	wait := r.contests.Changed(subject, registration.Change{
		Want: present.URL + " " + present.Key, Have: have.URL + " " + have.Key, Limit: registration.SecretChanges,
	}, now)
	if wait == 0 {
		return nil
	}
	return controllers.StalledAt(v1alpha1.ReasonContested, wait, fmt.Errorf(
		"somebody else changes the Secret %q back each time, such as another installation that handles this object too: "+
			"let only one of them handle it, by --watch-namespaces or spec.installation; the operator tries again after a pause, or when the spec changes", secretName(run.webhook)))
}
