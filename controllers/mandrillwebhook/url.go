package mandrillwebhook

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// resolveURL finds the URL to register and the secret in it.
func (r *Reconciler) resolveURL(ctx context.Context, run *state) error {
	base, err := r.urls.Of(run.webhook)
	if err != nil {
		return err
	}
	ref := run.webhook.Spec.URLSecretRef
	if ref == nil {
		run.url = base
		return nil
	}
	var secret corev1.Secret
	err = r.Client.Get(ctx, types.NamespacedName{Namespace: run.webhook.Namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return controllers.Waiting(v1alpha1.ReasonURLSecretNotFound, dependencyRetry,
			fmt.Errorf("there is no Secret %q in this namespace: create it with the secret part of the URL under %q", ref.Name, ref.Key))
	}
	if err != nil {
		return fmt.Errorf("reading the URL's Secret: %w", err)
	}
	if err := mayUseInURL(&secret); err != nil {
		return err
	}
	if run.urlSecret = strings.TrimSpace(string(secret.Data[ref.Key])); run.urlSecret == "" {
		return controllers.Stalled(v1alpha1.ReasonURLSecretMissing,
			fmt.Errorf("the Secret %q has no %q, or it is empty: put the secret part of the URL there", ref.Name, ref.Key))
	}
	run.url = webhookurl.WithParameter(base, ref.Parameter, url.QueryEscape(run.urlSecret))
	return nil
}

// AllowURLSecret is the annotation by which a Secret allows spec.urlSecretRef to put a value of it into a URL.
const AllowURLSecret = "mandrill-operator.io/allow-url-secret"

// mayUseInURL refuses to put a value of a Secret into a URL, unless the Secret allows it. The operator's probe and
// Mandrill carry the value to a URL of the object's choice, so that otherwise the right to create MandrillWebhooks were
// the right to read every Secret of the namespace.
func mayUseInURL(secret *corev1.Secret) error {
	if ownedsecrets.WrittenByOperator(secret) {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q is one that the operator writes: name one of your own in spec.urlSecretRef", secret.Name))
	}
	if secret.Annotations[AllowURLSecret] != "true" {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q does not allow its values in a URL: if it is meant for that, add the annotation %s: \"true\" to it", secret.Name, AllowURLSecret))
	}
	return nil
}
