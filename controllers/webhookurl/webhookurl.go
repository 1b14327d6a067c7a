// Package webhookurl has the URLs of objects: which one an object has, and how it is shown without its secrets.
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

// Hidden is shown in place of a secret.
const Hidden = "hidden"

// URLs are the URLs of objects.
type URLs struct {
	Public string // prefix of default URLs
}

// Of returns the URL of an object byte for byte, except for the parameter that comes from a Secret.
func (u URLs) Of(webhook *v1alpha1.MandrillWebhook) (string, error) {
	if webhook.Spec.URL != "" {
		if u.isForeign(webhook) {
			return "", controllers.Stalled(v1alpha1.ReasonURLNotAllowed,
				fmt.Errorf("spec.url is at a place of another namespace: leave it out, or write a path that begins with %s",
					u.PublicPath()+webhook.Namespace+"/"))
		}
		return webhook.Spec.URL, nil
	}
	if u.Public == "" {
		return "", controllers.Stalled(v1alpha1.ReasonURLMissing,
			errors.New("the object has no URL and the operator no public one: set spec.url, or run the operator with --public-url"))
	}
	return strings.TrimRight(u.Public, "/") + "/" + webhook.Namespace + "/" + webhook.Name, nil
}

// PublicPath is the path of the public URL, with a slash at the end.
func (u URLs) PublicPath() string {
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
	prefix := u.PublicPath()
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

// ShownAs reports whether a URL may be the one that the status shows with its secrets hidden.
func ShownAs(url, shown string) bool {
	if prefix, hides := strings.CutSuffix(shown, "="+Hidden); hides {
		return strings.HasPrefix(Redact(url), prefix+"=")
	}
	return shown != "" && Redact(url) == shown
}

// WithParameter returns a URL with one more parameter in its query.
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

// Redact hides the userinfo of a URL.
func Redact(text string) string {
	userinfo := Userinfo(text)
	if userinfo == "" {
		return text
	}
	return strings.Replace(text, userinfo+"@", Hidden+"@", 1)
}

// Userinfo returns the userinfo of a URL as it is written: what is before the last @ of the authority.
func Userinfo(text string) string {
	_, rest, _ := strings.Cut(text, "://")
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return ""
	}
	return authority[:at]
}

// HideSecrets hides secrets in a text. It looks for them as they are written in a URL and decoded, because a text may quote a
// URL either way.
func HideSecrets(text string, secrets ...string) string {
	for _, secret := range secrets {
		decoded, err := url.QueryUnescape(secret)
		if err != nil {
			decoded = secret
		}
		path, err := url.PathUnescape(secret)
		if err != nil {
			path = secret
		}
		for _, form := range []string{secret, decoded, path} {
			if form != "" {
				text = strings.ReplaceAll(text, form, Hidden)
			}
		}
	}
	return text
}
