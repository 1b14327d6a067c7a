package view

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// command is a command of this program, complete.
func command(webhook *v1alpha1.MandrillWebhook, text string) string {
	return fmt.Sprintf("kubectl mandrill %s -n %s", text, webhook.Namespace)
}

// next is the command to run next for a condition. One that repairs what is wrong has the names that the object has.
func next(webhook *v1alpha1.MandrillWebhook, condition *metav1.Condition) string {
	switch condition.Reason {
	case v1alpha1.ReasonSuspended:
		return command(webhook, "resume "+webhook.Name)
	case v1alpha1.ReasonSinkRefusing, v1alpha1.ReasonDeadLettering:
		return command(webhook, "dead-letters list --webhook "+webhook.Namespace+"/"+webhook.Name)
	case v1alpha1.ReasonBufferFull, v1alpha1.ReasonBufferUnavailable:
		return command(webhook, "backlog list")
	case v1alpha1.ReasonAPIKeySecretNotFound:
		return access.CreateAPIKey(webhook)
	case v1alpha1.ReasonAPIKeyMissing, v1alpha1.ReasonInvalidAPIKey:
		return access.SetAPIKey(webhook)
	}
	if ref := webhook.Spec.URLSecretRef; ref != nil {
		switch condition.Reason {
		case v1alpha1.ReasonURLSecretNotFound:
			return access.CreateURLSecret(webhook, ref)
		case v1alpha1.ReasonURLSecretMissing:
			return access.SetURLSecret(webhook, ref)
		}
	}
	return command(webhook, "doctor "+webhook.Name)
}
