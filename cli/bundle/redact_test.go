package bundle

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Secrets and addresses are taken out of any text, and what is needed to find a fault stays.
func TestRedact(t *testing.T) {
	t.Parallel()
	webhook := &v1alpha1.MandrillWebhook{Spec: v1alpha1.MandrillWebhookSpec{URL: "https://user:s3ntinel%2Fpass@hooks.example/x?secret=s3ntinelquery"}}
	redacted := func(text string) string {
		r := newRedactor()
		r.learn(webhook)
		return r.text(text)
	}
	for text, want := range map[string]string{
		"mail to Ana@Shop.example and ana@shop.example":     "mail to mail-1 and mail-1",
		"recipient=ana%40shop.example":                      "mail-1",
		"from 203.0.113.9, not 10.0.0.1 or 127.0.0.1":       "not 10.0.0.1 or 127.0.0.1",
		"key md-Abcdefghijklmnop":                           "key hidden",
		"GET https://u:p@h.example/x?a=b done":              "https://hidden@h.example/x?hidden done",
		"Authorization: Bearer abcdefghijkl":                "Authorization: hidden",
		`{"token":"abcdefghijkl"}`:                          `{"token":"hidden"}`,
		"password: hunter22":                                "password: hidden",
		"--routes-secret=system/mandrill-receiver-routes":   "--routes-secret=system/mandrill-receiver-routes",
		"mandrill_receiver_requests_total{outcome=\"x\"} 3": "mandrill_receiver_requests_total{outcome=\"x\"} 3",
		"2026-11-28T23:05:12Z level=INFO":                   "2026-11-28T23:05:12Z level=INFO",
	} {
		if got := redacted(text); !strings.Contains(got, want) {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"s3ntinel/pass", "s3ntinel%2Fpass", "x s3ntinelquery y", "2001:db8::1 and 2001:db8:0:0:0:0:0:1"} {
		if got := redacted(text); strings.Contains(got, "s3ntinel") || strings.Contains(got, "2001:") {
			t.Errorf("%q became %q", text, got)
		}
	}
}
