package sink_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

func TestTokenIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
	t.Cleanup(server.Close)
	now := time.Now()
	client := &sink.Client{Tokens: &sink.Tokens{Files: map[string]string{"known": path}, Now: func() time.Time { return now }}}
	send := func(audience, want string) {
		t.Helper()
		got = ""
		err := client.Send(t.Context(), sink.Target{URI: server.URL, Timeout: time.Minute, Audience: audience}, newEvent())
		if strings.HasPrefix(want, "error: ") {
			if err == nil || !strings.Contains(err.Error(), want[7:]) || !sink.Temporary(err) || got != "" || strings.Contains(err.Error(), path) {
				t.Errorf("got %v, temporary %t, want a temporary one with %q", err, sink.Temporary(err), want[7:])
			}
			return
		}
		if err != nil || got != want {
			t.Errorf("the sink got %q, error %v; want %q", got, err, want)
		}
	}
	send("", "")
	send("known", "error: the file with the token for the sink's audience cannot be read")
	write(" \n")
	send("known", "error: the file with the token for the sink's audience is empty")
	write("first line\n")
	send("known", "error: the token for the sink's audience has the character U+0020")
	write("'first'")
	send("known", "error: the token for the sink's audience has quotation marks at its ends")
	write("\ufefffirst\r\n")
	send("known", "Bearer first")
	write("second")
	send("known", "Bearer first")
	now = now.Add(11 * time.Second)
	send("known", "Bearer second")
	send("", "")
	send("other", "error: there is no token for the sink's audience; run the receiver with --oidc-token to give it one")
	client = &sink.Client{}
	send("known", "error: there is no token for the sink's audience")
}
