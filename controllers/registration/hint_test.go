package registration

import (
	"strings"
	"testing"
)

func TestProxyThatRefusesLargeBatchesIsNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"the server answered with status 413":      "client_max_body_size",
		"HTTP/1.1 413 Request Entity Too Large":    "in front of the receiver",
		"the server answered with status 503":      "look at the sink",
		"connection to 10.4.130.2:4135 timed out":  "look at the sink",
		"the server answered with status 14130000": "look at the sink",
	} {
		if got := Hint(text); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %q", text, got, want)
		}
	}
}
