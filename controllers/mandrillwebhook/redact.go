package mandrillwebhook

import "github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"

// redact hides the secrets of the object's present and earlier URLs in a text of Mandrill's.
func (s *state) redact(text string) string {
	var earlier []string
	for _, id := range s.accepted() {
		earlier = append(earlier, id.URL)
	}
	return webhookurl.HideSecretsOf(text, s.url, s.urlSecret, earlier...)
}
