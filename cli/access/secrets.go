package access

import (
	"cmp"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// SigningKeySecret is the name of the Secret that has a webhook's signing key.
func SigningKeySecret(webhook *v1alpha1.MandrillWebhook) string {
	return cmp.Or(webhook.Status.SigningKeySecretName, webhook.Spec.SigningKeySecretName, webhook.Name+"-signing-key")
}

// APIKey is the key of the Secret with the API key.
func APIKey(ref v1alpha1.SecretKeyRef) string { return cmp.Or(ref.Key, "api-key") }
