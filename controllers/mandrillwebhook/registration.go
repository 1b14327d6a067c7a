package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/controllers/upstream"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	// How old a view of the account may be, in polling intervals.
	viewIntervals = 2
	// addMaxAge is how old the view may be when something is added. If it were older, somebody else may have added the same,
	// and then there would be two.
	addMaxAge = 10 * time.Second
	// refusedRetry is how soon to try again if the remedy may be at Mandrill, such as a plan or a key made valid again.
	refusedRetry = 30 * time.Minute
)

// registration makes Mandrill have exactly the webhook that the spec asks for.
func (r *Reconciler) registration(ctx context.Context, run *state) error {
	view, err := r.find(ctx, run)
	if err != nil {
		return run.unlisted("listing webhooks", err, v1alpha1.ConditionRegistered, v1alpha1.ConditionSigningKeyStored)
	}
	if view.why != registration.None && view.why != registration.Recorded {
		if err := r.checkClaim(ctx, run, view.webhook); err != nil {
			return err
		}
	}
	if view.why == registration.AtURL && run.webhook.Spec.AdoptionPolicy == v1alpha1.AdoptionRefuse {
		return controllers.StalledAt(v1alpha1.ReasonAdoptionRefused, r.Resync, registration.AdoptionRefusal(view.webhook))
	}
	if view.why != registration.None {
		if err := r.checkDisabled(run, view.webhook); err != nil {
			run.account.Follow(run.key(), view.webhook) //nolint:contextcheck // a poller outlives the reconcile
			return err
		}
	}
	want := desired(run)
	have, err := r.converge(ctx, run, view, want)
	if err != nil {
		return err
	}
	r.leaveAccount(ctx, run, view, have)
	r.orphans.Adopted(have.ID, run.account)
	if view.why == registration.AtURL {
		r.normal(run.webhook, v1alpha1.ReasonAdopted, registration.AdoptionMessage(view.webhook, run.webhook.Spec.DeletionPolicy))
	}
	run.remote = have
	run.account.Follow(run.key(), have) //nolint:contextcheck // a poller outlives the reconcile
	r.report(run)
	r.checkElsewhere(ctx, run, view.why)
	if err := r.checkOthers(ctx, run, view); err != nil {
		return err
	}
	return r.checkOutcome(run, want, have)
}

// unlisted gives an error of a list its class. An object of which the conditions were True stays as it is while Mandrill does
// not answer.
func (s *state) unlisted(doing string, err error, conditions ...string) error {
	refusal := s.refusal(doing, err)
	if mandrill.Temporary(err) && !slices.ContainsFunc(conditions, func(name string) bool { return !wasTrue(s.webhook, name) }) {
		return controllers.Unchecked(refusal)
	}
	return refusal
}

// converge adds the webhook, or updates it if it differs, and returns what Mandrill has then.
func (r *Reconciler) converge(ctx context.Context, run *state, view remoteView, want mandrill.WebhookSpec) (have mandrill.Webhook, err error) {
	if view.why == registration.None {
		if have, err = r.add(ctx, run, want); err != nil {
			return have, err
		}
		r.normal(run.webhook, v1alpha1.ReasonRegistered, fmt.Sprintf("Created webhook %d at Mandrill", have.ID))
		r.reportRecreated(run, have)
		r.countDrift(run, causeDeleted)
		return have, nil
	}
	have = view.webhook
	if differences := r.outstanding(run, want, have); len(differences) > 0 {
		if err = r.checkContest(run, want, have, differences); err != nil {
			run.account.Follow(run.key(), have) //nolint:contextcheck // a poller outlives the reconcile
			return have, err
		}
		if have, err = r.update(ctx, run, view, want, differences); err != nil {
			return have, err // what is pending stays: it may be the only proof that the webhook is the object's
		}
	}
	r.contests.InOrder(run.contested(subjectWebhook), registration.Text(want), r.Now())
	if at := run.facts().Pending(view.webhook); view.why != registration.Recorded && at >= 0 {
		run.facts().FoundPending(at)
	}
	run.facts().RuleOutPending(r.Now())
	return have, nil
}

// update writes a webhook that differs. One that moves to another URL is announced there before.
func (r *Reconciler) update(ctx context.Context, run *state, view remoteView, want mandrill.WebhookSpec, differences []string) (mandrill.Webhook, error) {
	have := view.webhook
	if err := r.mayWrite(run); err != nil {
		return have, err
	}
	disabled, known := len(have.Events) == 0, func() {}
	if have.URL != want.URL {
		var err error
		if known, err = r.announce(ctx, run, have.ID, progress.Update(have.ID, differences)); err != nil {
			return have, err
		}
	}
	var err error
	r.during(ctx, run, progress.Update(have.ID, differences), func() { have, err = r.upsert(ctx, run, have.ID, want) })
	if isOutcome(err) {
		known()
	}
	if err != nil {
		return have, run.refusal("updating the webhook", err)
	}
	r.outcomes.Set(run.webhook, want, have)
	r.normal(run.webhook, v1alpha1.ReasonUpdated, fmt.Sprintf("Updated webhook %d at Mandrill: %s differed", have.ID, strings.Join(differences, ", ")))
	if disabled {
		differences = []string{causeDisabled}
	}
	r.countDrift(run, differences...)
	return have, nil
}

// add registers a new webhook. The status says so before, because nobody may get the answer.
func (r *Reconciler) add(ctx context.Context, run *state, want mandrill.WebhookSpec) (mandrill.Webhook, error) {
	if err := r.mayWrite(run); err != nil {
		return mandrill.Webhook{}, err
	}
	known, err := r.announce(ctx, run, 0, progress.Registration(run.found, run.webhook.Generation))
	if err != nil {
		return mandrill.Webhook{}, err
	}
	have, err := r.upsert(ctx, run, 0, want)
	if isOutcome(err) {
		known()
	}
	if err != nil {
		return have, run.refusal("adding the webhook", err)
	}
	r.outcomes.Set(run.webhook, want, have)
	return have, nil
}

// countDrift counts differences that were repaired although the object had been in order and has not changed.
func (r *Reconciler) countDrift(run *state, causes ...string) {
	if run.account == r.accounts.Followed(run.key()) && wasTrue(run.webhook, v1alpha1.ConditionRegistered) {
		for _, cause := range causes {
			r.Metrics.Repaired(cause)
		}
	}
}

// leaveAccount deletes the webhook in the account that the object used before, if its API key is another account's now. After
// a restart that account is not known any more, and the webhook in it is reported.
func (r *Reconciler) leaveAccount(ctx context.Context, run *state, view remoteView, now mandrill.Webhook) {
	before := r.accounts.Followed(run.key())
	if before == nil {
		r.reportLeft(run, view)
		return
	}
	seen := before.Seen(run.key())
	if seen.ID == 0 || before == run.account || seen.ID == now.ID && seen.CreatedAt.Equal(now.CreatedAt.Time) {
		return // another key of the same account
	}
	var err error
	r.during(ctx, run, progress.Removal(seen.ID, "which is in the account of the API key before"), func() {
		err = errors.Join(r.removeInbound(ctx, run, registrationAt{account: before, id: seen.ID}), before.Delete(ctx, seen.ID))
	})
	if err != nil {
		r.orphans.Add(run.key(), seen.ID, before)
		r.warn(run.webhook, v1alpha1.ReasonOrphaned,
			fmt.Sprintf("The API key is another account's, and webhook %d, or inbound routes to its URL, could not be deleted in the previous account, delete those that still exist there: %s", seen.ID, run.redact(err.Error())))
		return
	}
	r.normal(run.webhook, v1alpha1.ReasonDeleted, fmt.Sprintf("Deleted webhook %d in the account that was used before", seen.ID))
}

// reportLeft reports a recorded webhook that an account with another API key does not have.
func (r *Reconciler) reportLeft(run *state, view remoteView) {
	if view.why == registration.Recorded || !run.changedKey(run.account) {
		return
	}
	id := run.webhook.Status.WebhookID
	r.orphans.Add(run.key(), id, nil)
	r.warn(run.webhook, v1alpha1.ReasonOrphaned, leftBehind(id))
}

// reportRecreated warns of a webhook that somebody else had deleted.
func (r *Reconciler) reportRecreated(run *state, now mandrill.Webhook) {
	if id := run.webhook.Status.WebhookID; id != 0 && run.webhook.Status.Upstream != nil && !run.changedKey(run.account) {
		r.warn(run.webhook, v1alpha1.ReasonRecreated, fmt.Sprintf("Somebody else has deleted webhook %d at Mandrill, such as another cluster or "+
			"installation with this URL, and it is made again as %d: what Mandrill had queued for it is lost", id, now.ID))
	}
}

func leftBehind(id int64) string {
	return fmt.Sprintf("Webhook %d was registered with an earlier API key, and the account of the present key does not have it: delete it in the earlier account if it still exists there", id)
}

// changedKey reports whether the recorded webhook was last seen with another API key than that of an account.
func (s *state) changedKey(in *account.Account) bool {
	status := s.webhook.Status
	return status.WebhookID != 0 && status.APIKeyFingerprint != "" && status.APIKeyFingerprint != in.Fingerprint(string(s.webhook.UID))
}

// desired is the webhook that the spec asks for.
func desired(run *state) mandrill.WebhookSpec {
	spec := mandrill.WebhookSpec{URL: run.url, Description: run.webhook.Spec.Description}
	for _, event := range run.webhook.Spec.Events {
		spec.Events = append(spec.Events, mandrill.WireName(string(event)))
	}
	return spec
}

// refusal gives an error of the API its class. The message is Mandrill's, with secrets of URLs hidden.
func (s *state) refusal(doing string, err error) error {
	if step := new(controllers.StepError); errors.As(err, &step) {
		return err
	}
	text := fmt.Errorf("%s: %s", doing, s.redact(err.Error()))
	switch {
	case errors.Is(err, mandrill.ErrInvalidKey):
		return controllers.StalledAt(v1alpha1.ReasonInvalidAPIKey, refusedRetry,
			fmt.Errorf("Mandrill does not accept the API key: put a valid one into the Secret %q", s.webhook.Spec.APIKeySecretRef.Name)) //nolint:staticcheck // a name
	case errors.Is(err, mandrill.ErrValidation) && strings.Contains(err.Error(), `"url"`):
		return controllers.Transient(v1alpha1.ReasonURLCheckFailed,
			fmt.Errorf("Mandrill asked the URL and did not get the answer 200: check DNS, ingress and certificate of %s (%w)", s.redact(s.url), text)) //nolint:staticcheck // a name
	case mandrill.Temporary(err), errors.Is(err, mandrill.ErrUnknownWebhook),
		errors.Is(err, mandrill.ErrUnknownInboundRoute), errors.Is(err, mandrill.ErrUnknownInboundDomain): // deleted since the list: list again
		return text
	}
	var refused *mandrill.APIError
	if errors.As(err, &refused) && refused.Name != "" { // without a name a proxy refused, which may pass
		return controllers.StalledAt(v1alpha1.ReasonRefused, refusedRetry, text)
	}
	return text
}

// report copies what Mandrill reports about the webhook into the status.
func (r *Reconciler) report(run *state) {
	status, remote := &run.webhook.Status, run.remote
	before := status.Upstream
	seen := upstream.Seen{
		Suspended: run.webhook.Spec.Suspend, Reenabled: run.wasDisabled(), ID: remote.ID, Left: upstream.Replaced(*status, run.changedKey(run.account), remote),
	}
	status.WebhookID = remote.ID
	status.APIKeyFingerprint = run.account.Fingerprint(string(run.webhook.UID))
	status.URL = r.urls.Shown(run.webhook)
	status.Events = registration.CurrentNames(remote.Events)
	r.reportEvents(run)
	next := &v1alpha1.Upstream{
		CreatedAt: registration.OptionalTime(remote.CreatedAt), LastSentAt: registration.OptionalTime(remote.LastSentAt),
		BatchesSent: remote.BatchesSent, EventsSent: remote.EventsSent,
		LastError: run.redact(remote.LastError),
	}
	if before != nil {
		next.LastCheckedAt = before.LastCheckedAt
	}
	changed := before == nil || !registration.SameUpstream(*before, *next)
	if changed {
		now := metav1.NewTime(r.Now().Truncate(1e9))
		next.LastCheckedAt = &now
	}
	seen.Before, seen.Now, seen.Changed = before, next, changed
	upstream.Report(run.conditions, seen)
	status.Upstream = next
}
