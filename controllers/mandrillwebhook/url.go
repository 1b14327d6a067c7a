package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// webhookURL is the URL of an object byte for byte, but for the parameter that comes from a Secret.
func (r *Reconciler) webhookURL(webhook *v1alpha1.MandrillWebhook) (string, error) {
	if webhook.Spec.URL != "" {
		return webhook.Spec.URL, nil
	}
	if r.PublicURL == "" {
		return "", controllers.Stalled(v1alpha1.ReasonURLMissing,
			errors.New("the object has no URL and the operator no public one: set spec.url, or run the operator with --public-url"))
	}
	return strings.TrimRight(r.PublicURL, "/") + "/" + webhook.Namespace + "/" + webhook.Name, nil
}

// resolveURL finds the URL to register and the secret in it.
func (r *Reconciler) resolveURL(ctx context.Context, run *state) error {
	base, err := r.webhookURL(run.webhook)
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
	if run.urlSecret = strings.TrimSpace(string(secret.Data[ref.Key])); run.urlSecret == "" {
		return controllers.Stalled(v1alpha1.ReasonURLSecretMissing,
			fmt.Errorf("the Secret %q has no %q, or it is empty: put the secret part of the URL there", ref.Name, ref.Key))
	}
	run.url = withParameter(base, ref.Parameter, url.QueryEscape(run.urlSecret))
	return nil
}

// shownURL is the URL of an object with everything secret hidden.
func (r *Reconciler) shownURL(webhook *v1alpha1.MandrillWebhook) string {
	base, err := r.webhookURL(webhook)
	if err != nil {
		return ""
	}
	if ref := webhook.Spec.URLSecretRef; ref != nil {
		return withParameter(redactURL(base), ref.Parameter, hidden)
	}
	return redactURL(base)
}

func withParameter(base, name, value string) string {
	separator := "?"
	if strings.Contains(base, "?") {
		separator = "&"
	}
	return base + separator + name + "=" + value
}

// withoutSecret takes a hidden parameter off a shown URL.
func withoutSecret(shown string) string {
	if at := strings.LastIndexAny(shown, "?&"); at >= 0 && strings.HasSuffix(shown, "="+hidden) {
		return shown[:at]
	}
	return shown
}
