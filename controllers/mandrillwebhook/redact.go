package mandrillwebhook

import (
	"net/url"
	"strings"
)

const hidden = "hidden"

// redactURL hides the userinfo of a URL. It is what stands before the last @ of the authority.
func redactURL(text string) string {
	userinfo := userinfoOf(text)
	if userinfo == "" {
		return text
	}
	return strings.Replace(text, userinfo+"@", hidden+"@", 1)
}

// userinfoOf returns the userinfo of a URL as it is written.
func userinfoOf(text string) string {
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

// minHidden is the shortest value of a query that may be a secret: hiding shorter ones would spoil texts.
const minHidden = 6

// hide hides what is secret of the object's URLs, the present one and those before, wherever it stands in a text of
// somebody else's, as it is written in the URL and decoded: who quotes a URL may write it in another way.
func (s *state) hide(text string) string {
	secrets := []string{url.QueryEscape(s.urlSecret), s.urlSecret}
	for _, id := range append(s.accepted(), identity{URL: s.url}) {
		userinfo := userinfoOf(id.URL)
		_, password, _ := strings.Cut(userinfo, ":")
		secrets = append(secrets, userinfo, password)
		if id.URL == s.url {
			continue // of which the secret is known
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
				text = strings.ReplaceAll(text, form, hidden)
			}
		}
	}
	return text
}
