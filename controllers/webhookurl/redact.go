package webhookurl

import "strings"

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
