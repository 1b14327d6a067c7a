package registration

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// IsContested reports whether the object's webhook is contested, as the status says. A deletion makes a generation of its own, so the
// generation does not count.
func IsContested(webhook *v1alpha1.MandrillWebhook) bool {
	condition := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionRegistered)
	return condition != nil && condition.Reason == v1alpha1.ReasonContested
}

// SaysContested reports whether the status says that the object's webhook or its Secret is contested.
func SaysContested(webhook *v1alpha1.MandrillWebhook) bool {
	stored := meta.FindStatusCondition(webhook.Status.Conditions, v1alpha1.ConditionSigningKeyStored)
	return IsContested(webhook) || stored != nil && stored.Reason == v1alpha1.ReasonContested
}

// IsNewer reports whether the spec has changed since a condition was set.
func IsNewer(webhook *v1alpha1.MandrillWebhook, name string) bool {
	condition := meta.FindStatusCondition(webhook.Status.Conditions, name)
	return condition == nil || condition.ObservedGeneration != webhook.Generation
}

// IDs returns the numbers of webhooks.
func IDs(list []mandrill.Webhook) []int64 {
	ids := make([]int64, 0, len(list))
	for _, webhook := range list {
		ids = append(ids, webhook.ID)
	}
	return ids
}

// JoinIDs returns numbers as a text.
func JoinIDs(ids []int64) string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, strconv.FormatInt(id, 10))
	}
	return strings.Join(texts, ", ")
}
