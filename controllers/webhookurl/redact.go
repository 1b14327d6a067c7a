package webhookurl

import (
	"net/url"
	"strings"
)

// Hidden is what a status shows instead of a secret.
const Hidden = "hidden"

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

// ShownAs reports whether a URL may be the one that the status shows with its secrets hidden.
func ShownAs(url, shown string) bool {
	if prefix, hides := strings.CutSuffix(shown, "="+Hidden); hides {
		return strings.HasPrefix(Redact(url), prefix+"=")
	}
	return shown != "" && Redact(url) == shown
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

// Place returns a URL without its userinfo and without the value of its last parameter, where secrets are. It is the same for a URL
// and for what a status shows of it.
func Place(text string) string {
	text = Redact(text)
	at := strings.LastIndexAny(text, "?&")
	if at < 0 {
		return text
	}
	name, _, _ := strings.Cut(text[at:], "=")
	return text[:at] + name
}

// minHidden is the length of the shortest query value that is hidden: hiding shorter ones would garble texts.
const minHidden = 6

// HideSecretsOf hides in a text the secrets of a URL, of which a part comes from a Secret, and those of earlier URLs.
func HideSecretsOf(text, present, part string, earlier ...string) string {
	secrets := []string{url.QueryEscape(part), part}
	for _, registered := range append(earlier, present) {
		userinfo := Userinfo(registered)
		_, password, _ := strings.Cut(userinfo, ":")
		secrets = append(secrets, userinfo, password)
		if registered == present {
			continue // its secret is the part
		}
		_, query, _ := strings.Cut(registered, "?")
		for pair := range strings.SplitSeq(query, "&") {
			if _, value, _ := strings.Cut(pair, "="); len(value) >= minHidden {
				secrets = append(secrets, value)
			}
		}
	}
	return HideSecrets(text, secrets...)
}
