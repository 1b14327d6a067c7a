package upstream_test

import (
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/controllers/upstream"
)

func TestProxyThatRefusesLargeBatchesIsNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"the server answered with status 413":      "client_max_body_size",
		"HTTP/1.1 413 Request Entity Too Large":    "in front of the receiver",
		"the server answered with status 404":      "strips or rewrites it",
		"the server answered with status 503":      "look at Delivered",
		"connection to 10.4.130.2:4135 timed out":  "look at Delivered",
		"the server answered with status 14130000": "look at Delivered",
	} {
		if _, remedy := upstream.Disabled(false, text); !strings.Contains(remedy, want) {
			t.Errorf("%s: %s, want %q", text, remedy, want)
		}
	}
}
