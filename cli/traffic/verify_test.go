package traffic_test

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/cli"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
	"github.com/mandrill-operator/mandrill-operator/cli/output"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

const (
	registered = "https://hooks.example.com/mandrill/shop"
	key        = "the-signing-key"
	value      = `[{"event":"send","url":"https:\/\/shop.example\/a b"}]`
)

func body(value string) string { return "mandrill_events=" + url.QueryEscape(value) }

func sign(key, registered, value string) string {
	return mandrill.Sign(key, registered, mandrill.Form{{Name: mandrill.EventsField, Value: []byte(value)}})
}

// Each usual cause of a wrong signature is named.
func TestVerifyNamesTheCause(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	for name, test := range map[string]struct {
		url, key, signature, body, want string
	}{
		"right":        {registered, key, sign(key, registered, value), body(value), "is right"},
		"slash":        {registered, key, sign(key, registered+"/", value), body(value), "a slash at its end"},
		"scheme":       {registered, key, sign(key, strings.Replace(registered, "https", "http", 1), value), body(value), "another scheme"},
		"port":         {registered, key, sign(key, "https://hooks.example.com:443/mandrill/shop", value), body(value), "with its port"},
		"no port":      {"https://hooks.example.com:8443/x", key, sign(key, "https://hooks.example.com/x", value), body(value), "without the port"},
		"userinfo":     {"https://u:p@hooks.example.com/x", key, sign(key, "https://hooks.example.com/x", value), body(value), "without user and password"},
		"query":        {registered + "?secret=1", key, sign(key, registered, value), body(value), "without its query"},
		"capitals":     {"https://Hooks.example.com/x", key, sign(key, "https://hooks.example.com/x", value), body(value), "capital letters"},
		"other URL":    {"https://other.example/x", key, sign(key, registered, value), body(value), "is not the one of the request"},
		"quoted key":   {registered, `"` + key + "\"\n", sign(key, registered, value), body(value), "quotation marks"},
		"probe":        {registered, key, sign(mandrill.TestKey, registered, "[]"), body("[]"), "test-webhook"},
		"re-encoded":   {registered, key, sign(key, registered, value), body(strings.ReplaceAll(value, `\/`, "/")), "re-encoded"},
		"line end":     {registered, key, sign(key, registered, value), body(value) + "\n", "line end"},
		"decoded":      {registered, key, sign(key, registered, `[{"a":"1+1"}]`), `mandrill_events=[{"a":"1+1"}]`, "decoded"},
		"slash, key":   {registered, key + "\n", sign(key, registered+"/", value), body(value), "line end or quotation marks"},
		"other key":    {registered, key, sign("another-key", registered, value), body(value), "the key is that of another webhook"},
		"no signature": {registered, key, "", body(value), "no header X-Mandrill-Signature"},
	} {
		request := "POST /mandrill/shop HTTP/1.1\r\nHost: hooks.example.com\r\n"
		if test.signature != "" {
			request += "X-Mandrill-Signature: " + test.signature + "\r\n"
		}
		var out, errOut bytes.Buffer
		env := &access.Env{In: strings.NewReader(request + "\r\n" + test.body), Out: &out, Err: &errOut}
		status := cli.Main(t.Context(), env, []string{"verify", "--url", test.url, "--key-from", write("key", test.key)})
		if text := out.String() + errOut.String(); !strings.Contains(text, test.want) || (status == output.StatusOK) != (name == "right") {
			t.Errorf("%s: status %d: %s", name, status, text)
		}
		if strings.Contains(out.String(), key) {
			t.Errorf("%s: the output has the key", name)
		}
	}
}
