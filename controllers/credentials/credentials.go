// Package credentials reads what users keep in Secrets of their own: API keys, and secret parts of URLs.
package credentials

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
)

// Retry is how soon to look again for a Secret that a watch should have reported by then.
const Retry = time.Minute

// apiKeyForm is what API keys look like. A value of another form is not sent to Mandrill: the reference may name any
// Secret of the namespace, and most of what Secrets hold is none of Mandrill's business.
var apiKeyForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// APIKey reads the API key of an object.
func APIKey(ctx context.Context, from client.Reader, webhook *v1alpha1.MandrillWebhook) (string, error) {
	ref := webhook.Spec.APIKeySecretRef
	var secret corev1.Secret
	err := from.Get(ctx, types.NamespacedName{Namespace: webhook.Namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return "", controllers.Waiting(v1alpha1.ReasonAPIKeySecretNotFound, Retry,
			fmt.Errorf("there is no Secret %q in this namespace: create it with the API key under %q", ref.Name, ref.Key))
	}
	if err != nil {
		return "", fmt.Errorf("reading the API key's Secret: %w", err)
	}
	if ownedsecrets.WrittenByOperator(&secret) {
		return "", controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q is one that the operator writes and holds no API key: name the Secret with the API key in spec.apiKeySecretRef", ref.Name))
	}
	key := strings.TrimSpace(string(secret.Data[ref.Key])) // files and echo end in a line break
	if key == "" {
		return "", controllers.Stalled(v1alpha1.ReasonAPIKeyMissing,
			fmt.Errorf("the Secret %q has no %q, or it is empty: put the API key there", ref.Name, ref.Key))
	}
	if !apiKeyForm.MatchString(key) {
		return "", controllers.Stalled(v1alpha1.ReasonInvalidAPIKey,
			fmt.Errorf("%q of the Secret %q is no API key: write the key alone, without quotation marks, spaces or other text", ref.Key, ref.Name))
	}
	return key, nil
}

// URLPart reads the part of an object's URL that spec.urlSecretRef names.
func URLPart(ctx context.Context, from client.Reader, webhook *v1alpha1.MandrillWebhook) (string, error) {
	ref := webhook.Spec.URLSecretRef
	var secret corev1.Secret
	err := from.Get(ctx, types.NamespacedName{Namespace: webhook.Namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return "", controllers.Waiting(v1alpha1.ReasonURLSecretNotFound, Retry,
			fmt.Errorf("there is no Secret %q in this namespace: create it with the secret part of the URL under %q", ref.Name, ref.Key))
	}
	if err != nil {
		return "", fmt.Errorf("reading the URL's Secret: %w", err)
	}
	if err := mayUseInURL(&secret); err != nil {
		return "", err
	}
	part := strings.TrimSpace(string(secret.Data[ref.Key]))
	if part == "" {
		return "", controllers.Stalled(v1alpha1.ReasonURLSecretMissing,
			fmt.Errorf("the Secret %q has no %q, or it is empty: put the secret part of the URL there", ref.Name, ref.Key))
	}
	return part, nil
}

// mayUseInURL refuses to put a value of a Secret into a URL, unless the Secret allows it. The operator's probe and
// Mandrill carry the value to a URL of the object's choice, so that otherwise the right to create MandrillWebhooks were
// the right to read every Secret of the namespace.
func mayUseInURL(secret *corev1.Secret) error {
	if ownedsecrets.WrittenByOperator(secret) {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q is one that the operator writes: name one of your own in spec.urlSecretRef", secret.Name))
	}
	if secret.Annotations[v1alpha1.AnnotationAllowURLSecret] != "true" {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q does not allow its values in a URL: if it is meant for that, add the annotation %s: \"true\" to it", secret.Name, v1alpha1.AnnotationAllowURLSecret))
	}
	return nil
}
