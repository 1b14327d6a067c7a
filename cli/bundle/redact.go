package bundle

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// redactor takes secrets and addresses out of texts. The same address gets the same name everywhere, so that it can be followed.
type redactor struct {
	secrets   []string
	addresses map[string]string
}

// minSecret is the length of the shortest secret that is looked for everywhere: shorter ones would garble texts.
const minSecret = 6

func newRedactor() *redactor { return &redactor{addresses: map[string]string{}} }

// learn remembers what is secret in the URL of a webhook.
func (r *redactor) learn(webhook *v1alpha1.MandrillWebhook) {
	for _, text := range []string{webhook.Spec.URL, webhook.Spec.Sink.URI} {
		userinfo := webhookurl.Userinfo(text)
		_, password, _ := strings.Cut(userinfo, ":")
		found := []string{userinfo, password}
		if parsed, err := url.Parse(text); err == nil {
			for _, values := range parsed.Query() {
				found = append(found, values...)
			}
		}
		for _, secret := range found {
			if len(secret) >= minSecret && secret != webhookurl.Hidden {
				r.secrets = append(r.secrets, secret)
			}
		}
	}
}

var (
	mail     = regexp.MustCompile(`[\pL\pN._%+'-]+(?:@|%40)[\pL\pN-]+(?:\.[\pL\pN-]+)+`)
	ip       = regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}\b|(?i:\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b|\b(?:[0-9a-f]{1,4}:){1,6}:(?:[0-9a-f]{1,4}:){0,5}[0-9a-f]{1,4}\b)`)
	userinfo = regexp.MustCompile(`(://)[^\s/@"']+@`)
	query    = regexp.MustCompile(`(https?://[^\s"'?]+\?)[^\s"']+`)
	// named finds values by the name before them, whatever format the text has.
	named  = regexp.MustCompile(`(?i)((?:api[_-]?key|signing[_-]?key|auth[_-]?key|password|passwd|token|secret|authorization|x-mandrill-signature)["']?\s*[:=]\s*["']?)(?:bearer |basic )?[^\s"',}]{6,}`)
	apiKey = regexp.MustCompile(`\bmd-[A-Za-z0-9_-]{10,}`)
	bearer = regexp.MustCompile(`\b(?:Bearer|Basic) [A-Za-z0-9._~+/=-]{8,}|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9._-]+`)
)

// fileFlags are flags whose value is a file or a name, which named would hide.
var fileFlags = regexp.MustCompile(`(?i)(--[a-z-]*(?:secret|password-file|token-file|key-file)[= ])`)

// text returns a text without secrets and addresses.
func (r *redactor) text(text string) string {
	for _, secret := range r.secrets {
		text = webhookurl.HideSecrets(text, secret)
	}
	text = userinfo.ReplaceAllString(text, "${1}"+webhookurl.Hidden+"@")
	text = query.ReplaceAllString(text, "${1}"+webhookurl.Hidden)
	text = bearer.ReplaceAllString(text, webhookurl.Hidden)
	text = apiKey.ReplaceAllString(text, webhookurl.Hidden)
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if !fileFlags.MatchString(line) {
			line = named.ReplaceAllString(line, "${1}"+webhookurl.Hidden)
		}
		lines = append(lines, line)
	}
	text = mail.ReplaceAllStringFunc(strings.Join(lines, "\n"), r.mail)
	return ip.ReplaceAllStringFunc(text, r.ip)
}

func (r *redactor) mail(address string) string {
	if strings.HasPrefix(address, webhookurl.Hidden+"@") { // a URL whose userinfo is hidden
		return address
	}
	return r.name("mail", strings.ToLower(strings.ReplaceAll(address, "%40", "@")))
}

// ip keeps addresses of this machine and of private networks, which say how a cluster is wired.
func (r *redactor) ip(text string) string {
	address, err := netip.ParseAddr(text)
	if err != nil || address.IsPrivate() || address.IsLoopback() || address.IsUnspecified() {
		return text
	}
	return r.name("ip", text)
}

func (r *redactor) name(kind, address string) string {
	if r.addresses[address] == "" {
		r.addresses[address] = fmt.Sprintf("%s-%d", kind, len(r.addresses)+1)
	}
	return r.addresses[address]
}
