package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
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
	list, err := run.account.Webhooks(ctx, viewIntervals*r.Resync)
	if err != nil {
		return run.refusal("listing webhooks", err)
	}
	want, id := desired(run), run.webhook.Status.WebhookID
	have, known := match(list, id, run)
	if !known {
		if list, err = run.account.Webhooks(ctx, addMaxAge); err != nil {
			return run.refusal("listing webhooks", err)
		}
		have, known = match(list, id, run)
	}
	adopted := known && have.ID != id
	if adopted {
		if err := r.checkClaim(ctx, run, have); err != nil {
			return err
		}
	}
	if known {
		if err := r.checkDisabled(run, have); err != nil {
			run.account.Follow(run.key(), have) //nolint:contextcheck // a poller outlives the reconcile
			return err
		}
	}
	differences := diff(want, have)
	if alreadyTried(want.Events, have, run.webhook) {
		differences = without(differences, []string{causeEvents})
	}
	switch {
	case !known:
		if have, err = r.upsert(ctx, run, 0, want); err != nil {
			return run.refusal("adding the webhook", err)
		}
		r.normal(run.webhook, v1alpha1.ReasonRegistered, fmt.Sprintf("Created webhook %d at Mandrill", have.ID))
		r.countDrift(run, causeDeleted)
	case len(differences) > 0:
		disabled := len(have.Events) == 0
		if have, err = r.upsert(ctx, run, have.ID, want); err != nil {
			return run.refusal("updating the webhook", err)
		}
		r.normal(run.webhook, v1alpha1.ReasonUpdated, fmt.Sprintf("Updated webhook %d at Mandrill: %s differed", have.ID, strings.Join(differences, ", ")))
		if disabled {
			differences = []string{causeDisabled}
		}
		r.countDrift(run, differences...)
	}
	r.leaveAccount(ctx, run, have)
	r.orphans.adopted(have.ID, run.account)
	if adopted && have.AuthKey != run.stored.Key { // with the stored key it has been this object's before
		r.normal(run.webhook, v1alpha1.ReasonAdopted, fmt.Sprintf("Took over webhook %d, which existed at this URL", have.ID))
	}
	run.remote = have
	run.account.Follow(run.key(), have) //nolint:contextcheck // a poller outlives the reconcile
	r.report(run)
	return nil
}

// countDrift counts differences that were repaired although the object had been in order and has not changed.
func (r *Reconciler) countDrift(run *state, causes ...string) {
	if run.account == r.accounts.Followed(run.key()) && wasTrue(run.webhook, v1alpha1.ConditionRegistered) {
		for _, cause := range causes {
			r.Metrics.repaired(cause)
		}
	}
}

// leaveAccount deletes the webhook in the account that the object used before, if its API key is another account's now.
func (r *Reconciler) leaveAccount(ctx context.Context, run *state, now mandrill.Webhook) {
	id, before := run.webhook.Status.WebhookID, r.accounts.Followed(run.key())
	if id == 0 || before == nil || before == run.account {
		return
	}
	if seen := before.Seen(run.key()); seen.ID == now.ID && seen.CreatedAt.Equal(now.CreatedAt.Time) {
		return // another key of the same account
	}
	if err := errors.Join(r.removeInbound(ctx, run, registrationAt{before, id}), before.Delete(ctx, id)); err != nil {
		r.orphans.add(run.key(), id, before)
		r.warn(run.webhook, v1alpha1.ReasonOrphaned,
			fmt.Sprintf("The API key is another account's, and webhook %d, or inbound routes to its URL, could not be deleted in the previous account, delete those that still exist there: %s", id, run.redact(err.Error())))
		return
	}
	r.normal(run.webhook, v1alpha1.ReasonDeleted, fmt.Sprintf("Deleted webhook %d in the account that was used before", id))
}

// desired is the webhook that the spec asks for.
func desired(run *state) mandrill.WebhookSpec {
	spec := mandrill.WebhookSpec{URL: run.url, Description: run.webhook.Spec.Description}
	for _, event := range run.webhook.Spec.Events {
		spec.Events = append(spec.Events, mandrill.WireName(string(event)))
	}
	return spec
}

// match finds the object's webhook: the one with the recorded id, else the one whose key is stored, else the one at
// exactly the URL. The status may be lost or late, and a crash may have left a webhook that nobody recorded.
func match(list []mandrill.Webhook, id int64, run *state) (mandrill.Webhook, bool) {
	for _, is := range []func(mandrill.Webhook) bool{
		func(w mandrill.Webhook) bool { return id != 0 && w.ID == id },
		func(w mandrill.Webhook) bool { return run.stored.Key != "" && w.AuthKey == run.stored.Key },
		func(w mandrill.Webhook) bool { return w.URL == run.url },
	} {
		if at := slices.IndexFunc(list, is); at >= 0 {
			return list[at], true
		}
	}
	return mandrill.Webhook{}, false
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

// diff returns what differs between the webhook that is wanted and the one that Mandrill has.
func diff(want mandrill.WebhookSpec, have mandrill.Webhook) []string {
	var differences []string
	if want.URL != have.URL {
		differences = append(differences, causeURL)
	}
	if want.Description != have.Description {
		differences = append(differences, causeDescription)
	}
	if !sameSet(want.Events, have.Events) {
		differences = append(differences, causeEvents)
	}
	return differences
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
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
	status.WebhookID = remote.ID
	status.URL = r.urls.shown(run.webhook)
	status.Events = currentNames(remote.Events)
	r.reportEvents(run)
	next := &v1alpha1.Upstream{
		CreatedAt: optionalTime(remote.CreatedAt), LastSentAt: optionalTime(remote.LastSentAt),
		BatchesSent: remote.BatchesSent, EventsSent: remote.EventsSent,
		LastError: run.redact(remote.LastError),
	}
	if before != nil {
		next.LastCheckedAt = before.LastCheckedAt
	}
	if before == nil || !sameUpstream(*before, *next) {
		now := metav1.NewTime(r.Now().Truncate(1e9))
		next.LastCheckedAt = &now
		reportDelivering(run.conditions, before, next)
	}
	status.Upstream = next
}

func sameUpstream(a, b v1alpha1.Upstream) bool {
	return a.CreatedAt.Equal(b.CreatedAt) && a.LastSentAt.Equal(b.LastSentAt) && a.BatchesSent == b.BatchesSent &&
		a.EventsSent == b.EventsSent && a.LastError == b.LastError
}

// reportDelivering sets Delivering, Mandrill's own view. Batches sent since the last report mean that an error is over.
func reportDelivering(conditions *controllers.Conditions, before, now *v1alpha1.Upstream) {
	switch {
	case before != nil && now.BatchesSent > before.BatchesSent, now.LastError == "" && now.BatchesSent > 0:
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionTrue, v1alpha1.ReasonDelivered, "")
	case now.LastError != "":
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed,
			"Mandrill reports, and it may be over: "+now.LastError+" (look at the sink, and at the receiver's log and metrics)")
	default:
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionUnknown, v1alpha1.ReasonNothingSentYet, "Mandrill has not sent anything yet")
	}
}

func optionalTime(t mandrill.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	whole := metav1.NewTime(t.Truncate(1e9))
	return &whole
}
