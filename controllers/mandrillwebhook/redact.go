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

// hide hides what is secret of the object's URL wherever it stands in a text of somebody else's, as it is written in
// the URL and decoded: who quotes a URL may write it in another way.
func (s *state) hide(text string) string {
	userinfo := userinfoOf(s.url)
	_, password, _ := strings.Cut(userinfo, ":")
	for _, secret := range []string{userinfo, password, url.QueryEscape(s.urlSecret), s.urlSecret} {
		decoded, err := url.PathUnescape(secret)
		if err != nil {
			decoded = secret
		}
		for _, form := range []string{secret, decoded} {
			if form != "" {
				text = strings.ReplaceAll(text, form, hidden)
			}
		}
	}
	return text
}
