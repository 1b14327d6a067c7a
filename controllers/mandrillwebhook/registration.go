package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// How old a view of the account may be. Pollers renew it every interval; before something is added it must be
// recent, because whatever else works on the account would make a second webhook of it.
const (
	viewIntervals = 2
	addMaxAge     = 10 * time.Second
)

// registration makes Mandrill have exactly the webhook that the spec asks for.
func (r *Reconciler) registration(ctx context.Context, run *state) error {
	list, err := run.account.Webhooks(ctx, viewIntervals*r.Resync)
	if err != nil {
		return run.refusal("listing webhooks", err)
	}
	want := wanted(run)
	have, known := match(list, run.webhook.Status.WebhookID, run.url)
	if !known {
		if list, err = run.account.Webhooks(ctx, addMaxAge); err != nil {
			return run.refusal("listing webhooks", err)
		}
		have, known = match(list, run.webhook.Status.WebhookID, run.url)
	}
	adopted := known && have.ID != run.webhook.Status.WebhookID
	reason, differs := diff(want, have)
	switch {
	case !known:
		if have, err = run.account.Add(ctx, want); err != nil {
			return run.refusal("adding the webhook", err)
		}
		r.normal(run.webhook, v1alpha1.ReasonRegistered, fmt.Sprintf("Created webhook %d at Mandrill", have.ID))
	case differs:
		if have, err = run.account.Update(ctx, have.ID, want); err != nil {
			return run.refusal("updating the webhook", err)
		}
		r.normal(run.webhook, v1alpha1.ReasonUpdated, fmt.Sprintf("Updated webhook %d at Mandrill: %s", have.ID, reason))
	}
	if adopted {
		r.normal(run.webhook, v1alpha1.ReasonAdopted, fmt.Sprintf("Took over webhook %d, which existed at this URL", have.ID))
	}
	run.remote = have
	run.account.Follow(client.ObjectKeyFromObject(run.webhook), have) //nolint:contextcheck // a poller outlives the reconcile
	r.report(run)
	return nil
}

// wanted is the webhook that the spec asks for.
func wanted(run *state) mandrill.WebhookSpec {
	spec := mandrill.WebhookSpec{URL: run.url, Description: run.webhook.Spec.Description}
	for _, event := range run.webhook.Spec.Events {
		spec.Events = append(spec.Events, mandrill.WireName(string(event)))
	}
	return spec
}

// match finds the object's webhook: the recorded one, else the one at exactly the URL.
func match(list []mandrill.Webhook, id int64, url string) (mandrill.Webhook, bool) {
	at := slices.IndexFunc(list, func(w mandrill.Webhook) bool { return id != 0 && w.ID == id })
	if at < 0 {
		at = slices.IndexFunc(list, func(w mandrill.Webhook) bool { return w.URL == url })
	}
	if at < 0 {
		return mandrill.Webhook{}, false
	}
	return list[at], true
}

// diff tells whether the webhook must change, and why.
func diff(want mandrill.WebhookSpec, have mandrill.Webhook) (reason string, changed bool) {
	var reasons []string
	if want.URL != have.URL {
		reasons = append(reasons, "the URL differs")
	}
	if want.Description != have.Description {
		reasons = append(reasons, "the description differs")
	}
	if !sameSet(want.Events, have.Events) {
		reasons = append(reasons, "the events differ")
	}
	return strings.Join(reasons, ", "), len(reasons) > 0
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// refusal gives an error of the API its class. Its message is Mandrill's, without the URL's secret.
func (s *state) refusal(doing string, err error) error {
	text := fmt.Errorf("%s: %s", doing, strings.ReplaceAll(err.Error(), s.url, redactURL(s.url)))
	switch {
	case errors.Is(err, mandrill.ErrInvalidKey):
		return controllers.Stalled(v1alpha1.ReasonInvalidAPIKey,
			fmt.Errorf("Mandrill does not accept the API key: put a valid one into the Secret %q", s.webhook.Spec.APIKeySecretRef.Name)) //nolint:staticcheck // a name
	case errors.Is(err, mandrill.ErrValidation) && strings.Contains(err.Error(), `"url"`):
		return controllers.Transient(v1alpha1.ReasonURLCheckFailed,
			fmt.Errorf("Mandrill asked the URL and did not get the answer 200: check DNS, ingress and certificate of %s (%w)", redactURL(s.url), text)) //nolint:staticcheck // a name
	case mandrill.Temporary(err), errors.Is(err, mandrill.ErrUnknownWebhook): // deleted a moment ago: list again
		return text
	}
	var refused *mandrill.APIError
	if errors.As(err, &refused) {
		return controllers.Stalled(v1alpha1.ReasonRefused, text)
	}
	return text
}

// report writes what Mandrill says of the webhook into the status.
func (r *Reconciler) report(run *state) {
	status, remote := &run.webhook.Status, run.remote
	before := status.Upstream
	status.WebhookID = remote.ID
	status.Events = nil
	for _, event := range remote.Events {
		status.Events = append(status.Events, mandrill.CurrentName(event))
	}
	next := &v1alpha1.Upstream{
		CreatedAt: optionalTime(remote.CreatedAt), LastSentAt: optionalTime(remote.LastSentAt),
		BatchesSent: remote.BatchesSent, EventsSent: remote.EventsSent,
		LastError: strings.ReplaceAll(remote.LastError, run.url, redactURL(run.url)),
	}
	if before != nil {
		next.LastCheckedAt = before.LastCheckedAt
	}
	if before == nil || !sameUpstream(*before, *next) {
		now := metav1.NewTime(r.Now().Truncate(1e9))
		next.LastCheckedAt = &now
		delivering(&controllers.Conditions{List: &status.Conditions, Generation: run.webhook.Generation}, before, next)
	}
	status.Upstream = next
}

func sameUpstream(a, b v1alpha1.Upstream) bool {
	return a.CreatedAt.Equal(b.CreatedAt) && a.LastSentAt.Equal(b.LastSentAt) && a.BatchesSent == b.BatchesSent &&
		a.EventsSent == b.EventsSent && a.LastError == b.LastError
}

// delivering sets Mandrill's own view. Its last error may be over: batches sent since then say so.
func delivering(conditions *controllers.Conditions, before, now *v1alpha1.Upstream) {
	switch {
	case before != nil && now.BatchesSent > before.BatchesSent, now.LastError == "" && now.BatchesSent > 0:
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionTrue, v1alpha1.ReasonDelivered, "")
	case now.LastError != "":
		conditions.Set(v1alpha1.ConditionDelivering, metav1.ConditionFalse, v1alpha1.ReasonLastAttemptFailed,
			"Mandrill reports, and it may be over: "+now.LastError)
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
