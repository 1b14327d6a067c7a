package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
)

// webhookURLs are the URLs of objects.
type webhookURLs struct {
	public string // prefix of default URLs
}

// of returns the URL of an object byte for byte, except for the parameter that comes from a Secret.
func (u webhookURLs) of(webhook *v1alpha1.MandrillWebhook) (string, error) {
	if webhook.Spec.URL != "" {
		if u.isForeign(webhook) {
			return "", controllers.Stalled(v1alpha1.ReasonURLNotAllowed,
				fmt.Errorf("spec.url is at a place of another namespace: leave it out, or write a path that begins with %s",
					u.publicPath()+webhook.Namespace+"/"))
		}
		return webhook.Spec.URL, nil
	}
	if u.public == "" {
		return "", controllers.Stalled(v1alpha1.ReasonURLMissing,
			errors.New("the object has no URL and the operator no public one: set spec.url, or run the operator with --public-url"))
	}
	return strings.TrimRight(u.public, "/") + "/" + webhook.Namespace + "/" + webhook.Name, nil
}

// publicPath is the path of the public URL, with a slash at the end.
func (u webhookURLs) publicPath() string {
	public, err := url.Parse(u.public)
	if err != nil {
		return "/"
	}
	return strings.TrimRight(public.Path, "/") + "/"
}

// isForeign reports whether spec.url is at a place of another namespace. Below the public URL the first segment of the path
// is the namespace that the place belongs to, so that nobody takes the default URL of somebody else's object. The receiver
// tells webhooks by the path, whatever the host, so below a path of the public URL other hosts are no way around it.
func (u webhookURLs) isForeign(webhook *v1alpha1.MandrillWebhook) bool {
	public, err := url.Parse(u.public)
	if u.public == "" || err != nil {
		return false
	}
	chosen, err := url.Parse(webhook.Spec.URL)
	if err != nil {
		return false
	}
	prefix := u.publicPath()
	if hostAndPort(chosen) != hostAndPort(public) && (isSidecar(webhook) || prefix == "/") {
		return false
	}
	for _, place := range []string{chosen.Path, path.Clean("/" + chosen.Path)} { // a proxy may clean it
		rest, below := strings.CutPrefix(place, prefix)
		if namespace, _, _ := strings.Cut(rest, "/"); below && rest != "" && namespace != webhook.Namespace {
			return true
		}
	}
	return false
}

// hostAndPort returns the host of a URL in one form, so that two can be compared.
func hostAndPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if port == "80" || port == "443" { // the same place by both schemes
		port = "web"
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") + " " + port
}

// shown returns the URL of an object with everything secret hidden, empty if it has none.
func (u webhookURLs) shown(webhook *v1alpha1.MandrillWebhook) string {
	base, err := u.of(webhook)
	if err != nil {
		return ""
	}
	if ref := webhook.Spec.URLSecretRef; ref != nil {
		return withParameter(redactURL(base), ref.Parameter, hidden)
	}
	return redactURL(base)
}

// resolveURL finds the URL to register and the secret in it.
func (r *Reconciler) resolveURL(ctx context.Context, run *state) error {
	base, err := r.urls.of(run.webhook)
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
	run.url = withParameter(base, ref.Parameter, url.QueryEscape(run.urlSecret))
	return nil
}

func withParameter(base, name, value string) string {
	separator := "?"
	if strings.Contains(base, "?") {
		separator = "&"
	}
	return base + separator + name + "=" + value
}

// withoutSecret removes a hidden parameter from a shown URL.
func withoutSecret(shown string) string {
	if at := strings.LastIndexAny(shown, "?&"); at >= 0 && strings.HasSuffix(shown, "="+hidden) {
		return shown[:at]
	}
	return shown
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
