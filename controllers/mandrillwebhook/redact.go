package mandrillwebhook

import (
	"net/url"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// minHidden is the length of the shortest query value that is hidden: hiding shorter ones would garble texts.
const minHidden = 6

// redact hides the secrets of the object's present and earlier URLs in a text of Mandrill's. It looks for them as they are
// written in the URL and decoded, because a text may quote a URL either way.
func (s *state) redact(text string) string {
	secrets := []string{url.QueryEscape(s.urlSecret), s.urlSecret}
	for _, id := range append(s.accepted(), identity{URL: s.url}) {
		userinfo := webhookurl.Userinfo(id.URL)
		_, password, _ := strings.Cut(userinfo, ":")
		secrets = append(secrets, userinfo, password)
		if id.URL == s.url {
			continue // its secret is urlSecret
		}
		_, query, _ := strings.Cut(id.URL, "?")
		for pair := range strings.SplitSeq(query, "&") {
			if _, value, _ := strings.Cut(pair, "="); len(value) >= minHidden {
				secrets = append(secrets, value)
			}
		}
	}
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
				text = strings.ReplaceAll(text, form, webhookurl.Hidden)
			}
		}
	}
	return text
}
