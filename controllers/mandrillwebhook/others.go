package mandrillwebhook

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Other webhooks of the account may post to the object's URL: somebody made them by hand, by another program or in another
// cluster. If their batches were refused, Mandrill would repeat these and hold back all others for the URL. So their keys, which
// the list has, are accepted like earlier keys of the object's own webhook, as long as the webhooks exist.
const (
	// maxOthers bounds the keys of other webhooks.
	maxOthers = maxPrevious / 2
	// othersRecheck is how soon to accept the keys of other webhooks for longer, long before they expire.
	othersRecheck = gracePeriod / 4
)

// checkOthers deletes webhooks that earlier attempts to register have made, also those of another operator that handles the object,
// and accepts and reports others at the object's URL.
func (r *Reconciler) checkOthers(ctx context.Context, run *state, view remoteView) error {
	var others, foreign []mandrill.Webhook
	for _, other := range view.list {
		if other.ID == run.remote.ID || run.facts().Pending(other) < 0 && other.URL != run.url {
			continue
		}
		owner, err := r.claimant(ctx, run.webhook, run.account, other)
		if err != nil {
			return err
		}
		at := run.facts().Pending(other)
		if owner != nil || at < 0 && run.facts().Evidence(run.account, other) != registration.ByKey {
			if others = append(others, other); owner == nil {
				foreign = append(foreign, other)
			}
			continue
		}
		if err := r.mayWrite(run); err != nil {
			return err
		}
		r.during(ctx, run, progress.Removal(other.ID, "which an earlier attempt to register had made"), func() { err = run.account.Delete(ctx, other.ID) })
		if err != nil {
			return run.refusal("deleting a duplicate", err)
		}
		if at >= 0 {
			run.facts().FoundPending(at)
		}
		r.normal(run.webhook, v1alpha1.ReasonDeleted, fmt.Sprintf("Deleted webhook %d at Mandrill, which an earlier attempt to register had made", other.ID))
	}
	run.account.FollowOthers(run.key(), run.facts().Places(), others)
	slices.SortFunc(foreign, func(a, b mandrill.Webhook) int { return cmp.Compare(a.ID, b.ID) })
	r.reportOthers(run, foreign, run.acceptOthers(foreign, r.Now()))
	return nil
}

// acceptOthers accepts the keys of other webhooks for a while, and returns the numbers of those whose batches are refused.
func (s *state) acceptOthers(others []mandrill.Webhook, now time.Time) (refused []int64) {
	s.others = len(others) > 0
	for i, other := range others {
		key := identity{s.url, other.AuthKey}
		if other.AuthKey == "" || i >= maxOthers || !key.usable() {
			refused = append(refused, other.ID)
			continue
		}
		s.retired = acceptOther(s.retired, key, now)
	}
	return refused
}

// acceptOther adds an identity to the retired ones, or renews it before it expires. It goes first, because the first make room for
// those of the object's own webhook.
func acceptOther(list []retired, other identity, now time.Time) []retired {
	until := metav1.NewTime(now.Add(gracePeriod).Truncate(time.Second))
	list = slices.Clone(list)
	if at := slices.IndexFunc(list, func(r retired) bool { return r.identity == other }); at < 0 {
		list = slices.Insert(list, 0, retired{other, until})
	} else if list[at].Until.Sub(now) < gracePeriod/2 {
		list[at].Until = until
	}
	return list
}

// saidBefore reports whether a condition has a message already.
func (s *state) saidBefore(condition, message string) bool {
	before := meta.FindStatusCondition(s.webhook.Status.Conditions, condition)
	return before != nil && before.Message == controllers.Truncate(message)
}

// reportOthers sets URLExclusive: which other webhooks post to the object's URL, and which other objects wait for it.
func (r *Reconciler) reportOthers(run *state, foreign []mandrill.Webhook, refused []int64) {
	switch {
	case len(foreign) > 0:
		message := fmt.Sprintf("The account has other webhooks at this URL, so that events may arrive twice: delete %s in Mandrill", registration.JoinIDs(registration.IDs(foreign)))
		if len(refused) > 0 {
			message += fmt.Sprintf("; batches of %s are refused, because there are too many keys, and hold up those of all others at this URL", registration.JoinIDs(refused))
		}
		if !run.saidBefore(v1alpha1.ConditionURLExclusive, message) {
			r.warn(run.webhook, v1alpha1.ReasonOtherWebhooks, message)
		}
		run.conditions.Set(v1alpha1.ConditionURLExclusive, metav1.ConditionFalse, v1alpha1.ReasonOtherWebhooks, message)
	case run.elsewhere:
		message := fmt.Sprintf("The URL leads to the receiver of another installation or cluster, which has webhook %d too: let only one of them have it, "+
			"and set deletionPolicy Retain in the other MandrillWebhook before you delete it", run.remote.ID)
		if !run.saidBefore(v1alpha1.ConditionURLExclusive, message) {
			r.warn(run.webhook, v1alpha1.ReasonOtherReceiver, message)
		}
		run.conditions.Set(v1alpha1.ConditionURLExclusive, metav1.ConditionFalse, v1alpha1.ReasonOtherReceiver, message)
	case len(run.waiting) > 0:
		run.conditions.Set(v1alpha1.ConditionURLExclusive, metav1.ConditionFalse, v1alpha1.ReasonURLConflict, fmt.Sprintf(
			"Other MandrillWebhooks have the same URL and wait for it, while this one keeps it: change the URL of %s, or of this one", strings.Join(run.waiting, ", ")))
	default:
		run.conditions.Set(v1alpha1.ConditionURLExclusive, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	}
}
