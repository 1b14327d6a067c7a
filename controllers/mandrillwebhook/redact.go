package mandrillwebhook

import (
	"net/url"
	"strings"

	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// minHidden is the length of the shortest query value that is hidden: hiding shorter ones would garble texts.
const minHidden = 6

// redact hides the secrets of the object's present and earlier URLs in a text of Mandrill's.
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
	return webhookurl.HideSecrets(text, secrets...)
}
