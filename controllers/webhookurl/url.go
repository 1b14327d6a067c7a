// Package webhookurl has the rules about the URLs of MandrillWebhooks: which URL an object has, whether it may have it, and how it is
// shown with its secrets hidden. It makes no calls.
package webhookurl

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// URLs are the URLs of the objects of an installation.
type URLs struct {
	Public       string // prefix of default URLs
	Installation string // value of spec.installation of its objects
}

// Of returns the URL of an object byte for byte, except for the parameter that comes from a Secret.
func (u URLs) Of(webhook *v1alpha1.MandrillWebhook) (string, error) {
	if webhook.Spec.Installation != u.Installation && webhook.Spec.URL == "" {
		return "", controllers.Stalled(v1alpha1.ReasonURLMissing, errors.New("the default URL is that of another installation"))
	}
	if webhook.Spec.URL != "" {
		if webhook.Spec.Installation == u.Installation && u.isForeign(webhook) {
			return "", controllers.Stalled(v1alpha1.ReasonURLNotAllowed,
				fmt.Errorf("spec.url is at a place of another namespace: leave it out, or write a path that begins with %s",
					u.publicPath()+webhook.Namespace+"/"))
		}
		return webhook.Spec.URL, nil
	}
	if u.Public == "" {
		return "", controllers.Stalled(v1alpha1.ReasonURLMissing,
			errors.New("the object has no URL and the operator no public one: set spec.url, or run the operator with --public-url"))
	}
	return strings.TrimRight(u.Public, "/") + "/" + webhook.Namespace + "/" + webhook.Name, nil
}

// publicPath is the path of the public URL, with a slash at the end.
func (u URLs) publicPath() string {
	public, err := url.Parse(u.Public)
	if err != nil {
		return "/"
	}
	return strings.TrimRight(public.Path, "/") + "/"
}

// isForeign reports whether spec.url is at a place of another namespace. Below the public URL the first segment of the path
// is the namespace that the place belongs to, so that nobody takes the default URL of somebody else's object. The receiver
// tells webhooks by the path, whatever the host, so below a path of the public URL other hosts are no way around it.
func (u URLs) isForeign(webhook *v1alpha1.MandrillWebhook) bool {
	public, err := url.Parse(u.Public)
	if u.Public == "" || err != nil {
		return false
	}
	chosen, err := url.Parse(webhook.Spec.URL)
	if err != nil {
		return false
	}
	prefix := u.publicPath()
	if hostAndPort(chosen) != hostAndPort(public) && (webhook.Spec.Receiver == v1alpha1.ReceiverSidecar || prefix == "/") {
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

// Shown returns the URL of an object with everything secret hidden, empty if it has none.
func (u URLs) Shown(webhook *v1alpha1.MandrillWebhook) string {
	base, err := u.Of(webhook)
	if err != nil {
		return ""
	}
	if ref := webhook.Spec.URLSecretRef; ref != nil {
		return WithParameter(Redact(base), ref.Parameter, Hidden)
	}
	return Redact(base)
}

// WithParameter adds a parameter to a URL. The value is escaped.
func WithParameter(base, name, value string) string {
	separator := "?"
	if strings.Contains(base, "?") {
		separator = "&"
	}
	return base + separator + name + "=" + value
}

// WithoutSecret removes a hidden parameter from a shown URL.
func WithoutSecret(shown string) string {
	if at := strings.LastIndexAny(shown, "?&"); at >= 0 && strings.HasSuffix(shown, "="+Hidden) {
		return shown[:at]
	}
	return shown
}
