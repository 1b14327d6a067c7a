package access

import (
	"cmp"
	"fmt"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// SigningKeySecret is the name of the Secret that has a webhook's signing key.
func SigningKeySecret(webhook *v1alpha1.MandrillWebhook) string {
	return cmp.Or(webhook.Status.SigningKeySecretName, webhook.Spec.SigningKeySecretName, webhook.Name+"-signing-key")
}

// APIKey is the key of the Secret with the API key.
func APIKey(ref v1alpha1.SecretKeyRef) string { return cmp.Or(ref.Key, "api-key") }

// CreateAPIKey is the command that makes the Secret of the API key.
func CreateAPIKey(webhook *v1alpha1.MandrillWebhook) string {
	ref := webhook.Spec.APIKeySecretRef
	return fmt.Sprintf("kubectl create secret generic %s -n %s --from-literal=%s=YOUR-API-KEY", ref.Name, webhook.Namespace, APIKey(ref))
}

// SetAPIKey is the command that puts an API key into the Secret that exists.
func SetAPIKey(webhook *v1alpha1.MandrillWebhook) string {
	ref := webhook.Spec.APIKeySecretRef
	return setSecret(webhook.Namespace, ref.Name, APIKey(ref), "YOUR-API-KEY")
}

// CreateURLSecret is the command that makes the Secret of spec.urlSecretRef, with the annotation without which no value of it is used.
func CreateURLSecret(webhook *v1alpha1.MandrillWebhook, ref *v1alpha1.URLSecretRef) string {
	return fmt.Sprintf("kubectl create secret generic %[1]s -n %[2]s --from-literal=%[3]s=A-LONG-RANDOM-TEXT && kubectl annotate secret %[1]s -n %[2]s %[4]s=true",
		ref.Name, webhook.Namespace, ref.Key, v1alpha1.AnnotationAllowURLSecret)
}

// SetURLSecret is the command that puts a value into the Secret of spec.urlSecretRef.
func SetURLSecret(webhook *v1alpha1.MandrillWebhook, ref *v1alpha1.URLSecretRef) string {
	return setSecret(webhook.Namespace, ref.Name, ref.Key, "A-LONG-RANDOM-TEXT")
}

func setSecret(namespace, name, key, value string) string {
	return fmt.Sprintf(`kubectl patch secret %s -n %s -p '{"stringData":{%q:%q}}'`, name, namespace, key, value)
}
