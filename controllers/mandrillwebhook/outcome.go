package mandrillwebhook

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Mandrill may store something else than it is given: a description without the space at its end, a URL with a slash. Writing
// the same again changes nothing, so what it made of a generation is remembered, and a difference that a write did not remove
// is reported.

// writeOutcomes is what Mandrill made of the last write for each object. After a restart one more write is made unless the
// condition Registered says the same.
type writeOutcomes struct {
	mu   sync.Mutex
	last map[types.UID]writeOutcome
}

type writeOutcome struct {
	generation int64
	wanted     mandrill.WebhookSpec
	made       mandrill.Webhook
}

func (o *writeOutcomes) set(run *state, wanted mandrill.WebhookSpec, made mandrill.Webhook) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = map[types.UID]writeOutcome{}
	}
	o.last[run.webhook.UID] = writeOutcome{run.webhook.Generation, wanted, made}
}

func (o *writeOutcomes) forget(object types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.last, object)
}

// settled returns the differences that a write for this generation has left behind.
func (o *writeOutcomes) settled(run *state, wanted mandrill.WebhookSpec, have mandrill.Webhook) []string {
	o.mu.Lock()
	last, known := o.last[run.webhook.UID]
	o.mu.Unlock()
	known = known && last.generation == run.webhook.Generation && last.made.ID == have.ID &&
		last.wanted.URL == wanted.URL && last.wanted.Description == wanted.Description && slices.Equal(last.wanted.Events, wanted.Events)
	var settled []string
	if known && last.made.URL == have.URL {
		settled = append(settled, causeURL)
	}
	if known && last.made.Description == have.Description || reported(run, descriptionRemark(have)) {
		settled = append(settled, causeDescription)
	}
	if known && len(have.Events) > 0 && sameSet(last.made.Events, have.Events) {
		settled = append(settled, causeEvents)
	}
	return settled
}

// outstanding returns the differences that a write may remove.
func (r *Reconciler) outstanding(run *state, want mandrill.WebhookSpec, have mandrill.Webhook) []string {
	differences := without(diff(want, have), r.outcomes.settled(run, want, have))
	if alreadyTried(want.Events, have, run.webhook) {
		differences = without(differences, []string{causeEvents})
	}
	return differences
}

// remark is what Registered says although the webhook is registered.
type remark struct{ reason, message string }

func descriptionRemark(have mandrill.Webhook) remark {
	return remark{v1alpha1.ReasonStoredDifferently,
		fmt.Sprintf("Mandrill stores the description as %q: write it like that in spec.description, or leave it", have.Description)}
}

// reported reports whether Registered makes a remark about this generation.
func reported(run *state, remark remark) bool {
	condition := meta.FindStatusCondition(run.webhook.Status.Conditions, v1alpha1.ConditionRegistered)
	return condition != nil && condition.ObservedGeneration == run.webhook.Generation &&
		condition.Reason == remark.reason && condition.Message == controllers.Truncate(remark.message)
}

// checkOutcome reports what differs after a write. At another URL the receiver refuses the batches.
func (r *Reconciler) checkOutcome(run *state, want mandrill.WebhookSpec, have mandrill.Webhook) error {
	differences := diff(want, have)
	if slices.Contains(differences, causeURL) {
		return controllers.StalledAt(v1alpha1.ReasonURLChanged, refusedRetry,
			fmt.Errorf("Mandrill has registered the URL as %s: write it like that in spec.url", run.redact(redactURL(have.URL)))) //nolint:staticcheck // a name
	}
	if slices.Contains(differences, causeDescription) {
		run.remark = descriptionRemark(have)
	}
	return nil
}
