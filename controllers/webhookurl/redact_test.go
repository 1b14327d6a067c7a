package webhookurl_test

import (
	"testing"

	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// A URL and what a status shows of it have the same place, whatever is secret in it.
func TestPlace(t *testing.T) {
	t.Parallel()
	for url, shown := range map[string]string{
		"https://h/p":               "https://h/p",
		"https://h/p?token=a%3Db":   "https://h/p?token=hidden",
		"https://h/p?x=1&token=ab":  "https://h/p?x=1&token=hidden",
		"https://u:p@h/p":           "https://hidden@h/p",
		"https://u:p@h/p?token=abc": "https://hidden@h/p?token=hidden",
	} {
		if !webhookurl.ShownAs(url, shown) || webhookurl.Place(url) != webhookurl.Place(shown) {
			t.Errorf("the place of %s is %s, and that of %s is %s", url, webhookurl.Place(url), shown, webhookurl.Place(shown))
		}
	}
	if a, b := webhookurl.Place("https://h/p?x=1&token=a"), webhookurl.Place("https://h/p?x=2&token=a"); a == b {
		t.Errorf("two URLs have the place %s", a)
	}
}
