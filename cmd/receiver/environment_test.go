package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

const sentinel = "s3ntinel"

// set returns an environment with a usable route and some changes.
func set(changes map[string]string) func(string) string {
	all := map[string]string{
		"MANDRILL_WEBHOOK_URL": "https://robot:s3ntinel@hooks.example.com/shop?secret=s3ntinel",
		"MANDRILL_SIGNING_KEY": "s3ntinel-1, s3ntinel-2,",
		"K_SINK":               "http://consumer:8080/s3ntinel",
	}
	maps.Copy(all, changes)
	return func(name string) string { return all[name] }
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.StartTLS()
	defer server.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	folder := t.TempDir()
	write(t, filepath.Join(folder, "key"), "one\ntwo\n")
	write(t, filepath.Join(folder, "url"), "https://hooks.example.com:8443/shop\n")
	for name, test := range map[string]struct {
		changes map[string]string
		want    routes.Route
	}{
		"variables": {map[string]string{"K_CE_OVERRIDES": `{"extensions": {"env": "prod"}}`, "K_CA_CERTS": certificate, "MANDRILL_CE_SOURCE": "/mail"}, routes.Route{
			URL: "https://robot:s3ntinel@hooks.example.com/shop?secret=s3ntinel", Keys: []string{"s3ntinel-1", "s3ntinel-2"}, Source: "/mail",
			Sink:        routes.Sink{URI: "http://consumer:8080/s3ntinel", CACerts: certificate},
			CEOverrides: routes.Overrides{Extensions: map[string]string{"env": "prod"}},
		}},
		"files": {map[string]string{
			"MANDRILL_WEBHOOK_URL": "", "MANDRILL_WEBHOOK_URL_FILE": filepath.Join(folder, "url"),
			"MANDRILL_SIGNING_KEY": "", "MANDRILL_SIGNING_KEY_FILE": filepath.Join(folder, "key"), "K_CE_OVERRIDES": "{}",
		}, routes.Route{
			URL: "https://hooks.example.com:8443/shop", Keys: []string{"one", "two"}, Source: "/mandrill/hooks.example.com:8443",
			Sink: routes.Sink{URI: "http://consumer:8080/s3ntinel"},
		}},
		"what files add": {map[string]string{
			"MANDRILL_SIGNING_KEY": "\ufeffone, two\r\n", "K_SINK": " http://consumer:8080/s3ntinel\r", "MANDRILL_WEBHOOK_URL": "\ufeffhttps://hooks.example.com/shop\r\n",
			"MANDRILL_WEBHOOK_PATH": "/rewritten ",
		}, routes.Route{
			URL: "https://hooks.example.com/shop", Path: "/rewritten", Keys: []string{"one", "two"}, Source: "/mandrill/hooks.example.com",
			Sink: routes.Sink{URI: "http://consumer:8080/s3ntinel"},
		}},
		"no key yet": {map[string]string{
			"MANDRILL_WEBHOOK_URL": "http://[::1]:8080/shop", "MANDRILL_SIGNING_KEY": "", "MANDRILL_SIGNING_KEY_FILE": filepath.Join(folder, "later"),
		}, routes.Route{
			URL: "http://[::1]:8080/shop", Keys: []string{}, Source: "/mandrill/%5B::1%5D:8080", Sink: routes.Sink{URI: "http://consumer:8080/s3ntinel"},
		}},
	} {
		document, err := (&environment{getenv: set(test.changes)}).document()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		test.want.Name = "environment"
		if diff := cmp.Diff([]routes.Route{test.want}, document.Routes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Every fault names the variable and what to write, and contains no value.
func TestBadEnvironment(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "empty"), "\n")
	write(t, filepath.Join(folder, "utf-16"), "\xff\xfes\x003\x00n\x00")
	for _, test := range []struct{ name, value, want string }{
		{"MANDRILL_WEBHOOK_URL", "", "MANDRILL_WEBHOOK_URL is not set; write the URL exactly as it is registered at Mandrill"},
		{"MANDRILL_WEBHOOK_URL", "hooks.example.com/s3ntinel", "MANDRILL_WEBHOOK_URL must be an absolute http or https URL; write the URL"},
		{"MANDRILL_WEBHOOK_URL", "https://hooks.example.com/#s3ntinel", "MANDRILL_WEBHOOK_URL must not have a fragment"},
		{"MANDRILL_WEBHOOK_URL", "https://robot:s3ntinel%zz@x/", "MANDRILL_WEBHOOK_URL must be an absolute"},
		{"MANDRILL_WEBHOOK_URL_FILE", "/s3ntinel", "MANDRILL_WEBHOOK_URL and MANDRILL_WEBHOOK_URL_FILE are both set"},
		{"MANDRILL_SIGNING_KEY_FILE", "/s3ntinel", "MANDRILL_SIGNING_KEY and MANDRILL_SIGNING_KEY_FILE are both set"},
		{"MANDRILL_SIGNING_KEY", "test-webhook", "MANDRILL_SIGNING_KEY has the key that everybody knows, which vouches for nothing; write the key that Mandrill shows"},
		{"MANDRILL_SIGNING_KEY", `"s3ntinel"`, "MANDRILL_SIGNING_KEY has a key with quotation marks at its ends: write it without them; write the key"},
		{"MANDRILL_SIGNING_KEY", "s3ntinel\u200b", "MANDRILL_SIGNING_KEY has a key with the invisible character U+200B"},
		{"MANDRILL_SIGNING_KEY", "s3ntinel\u00e9", "MANDRILL_SIGNING_KEY has a key with the character U+00E9"},
		{"MANDRILL_WEBHOOK_URL", "'https://s3ntinel@hooks.example.com/'", "MANDRILL_WEBHOOK_URL has quotation marks at its ends"},
		{"MANDRILL_WEBHOOK_PATH", "s3ntinel", "MANDRILL_WEBHOOK_PATH must begin with a slash"},
		{"MANDRILL_WEBHOOK_PATH", "/a?s3ntinel", "MANDRILL_WEBHOOK_PATH must begin with a slash, be escaped as in a URL, and have neither query nor fragment; write the path"},
		{"MANDRILL_WEBHOOK_PATH", "//s3ntinel/a", "MANDRILL_WEBHOOK_PATH must begin with a slash"},
		{"K_SINK", `"http://s3ntinel/"`, "K_SINK has quotation marks at its ends"},
		{"K_SINK", "", "K_SINK must be an absolute http or https URL; write the URL for the CloudEvents, such as http://consumer:8080/events"},
		{"K_SINK", "s3ntinel:8080", "K_SINK must be an absolute http or https URL"},
		{"K_CA_CERTS", "s3ntinel", "K_CA_CERTS holds no PEM certificate; write certificates in PEM"},
		{"K_CE_OVERRIDES", "s3ntinel", `K_CE_OVERRIDES is not of the right form; write JSON such as {"extensions": {"env": "prod"}}`},
		{"K_CE_OVERRIDES", `{"s3ntinel": {}}`, "K_CE_OVERRIDES is not of the right form"},
		{"K_CE_OVERRIDES", `{} s3ntinel`, "K_CE_OVERRIDES is not of the right form"},
		{"K_CE_OVERRIDES", `{"extensions": {"a": 1}}`, "K_CE_OVERRIDES is not of the right form"},
		{"K_CE_OVERRIDES", `{"extensions": {"S3NTINEL": "s3ntinel"}}`, "K_CE_OVERRIDES are named in 1 to 20 lower case letters and digits"},
		{"K_CE_OVERRIDES", `{"extensions": {"id": "s3ntinel"}}`, "K_CE_OVERRIDES cannot set id"},
		{"MANDRILL_PAYLOAD", "s3ntinel", "MANDRILL_PAYLOAD must be Raw or Normalized; write Raw for the data as Mandrill sends them"},
		{"MANDRILL_CE_SOURCE", "s3n tinel", "MANDRILL_CE_SOURCE must be a URI reference, such as /mandrill/shop"},
	} {
		checkFault(t, set(map[string]string{test.name: test.value}), test.want)
	}
	for _, test := range []struct{ name, path, want string }{
		{"MANDRILL_WEBHOOK_URL", filepath.Join(folder, "s3ntinel"), "MANDRILL_WEBHOOK_URL_FILE names a file that does not exist; write the URL"},
		{"MANDRILL_WEBHOOK_URL", filepath.Join(folder, "empty"), "MANDRILL_WEBHOOK_URL_FILE names an empty file"},
		{"MANDRILL_WEBHOOK_URL", folder, "MANDRILL_WEBHOOK_URL_FILE names a file that cannot be read"},
		{"MANDRILL_SIGNING_KEY", filepath.Join(folder, "s3ntinel", "key"), "MANDRILL_SIGNING_KEY_FILE names a file in a folder that does not exist: mount the Secret as a folder"},
		{"MANDRILL_SIGNING_KEY", filepath.Join(folder, "utf-16"), "MANDRILL_SIGNING_KEY_FILE has a key with the encoding UTF-16: save it as UTF-8"},
		{"MANDRILL_SIGNING_KEY", folder, "MANDRILL_SIGNING_KEY_FILE names a file that cannot be read"},
	} {
		checkFault(t, set(map[string]string{test.name: "", test.name + "_FILE": test.path}), test.want)
	}
}

func checkFault(t *testing.T, getenv func(string) string, want string) {
	t.Helper()
	err := check(t.Context(), nil, getenv, io.Discard)
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), sentinel) {
		t.Errorf("got error %v, want one with %q and without values", err, want)
	}
}

// An empty key file, as while it is being written, must not remove the key.
func TestMissingKeyFileKeepsTheRoute(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	e := &environment{getenv: set(map[string]string{"MANDRILL_SIGNING_KEY": "", "MANDRILL_SIGNING_KEY_FILE": path})}
	if _, err := e.read(); err != nil {
		t.Fatal(err)
	}
	write(t, path, "key")
	if data, err := e.read(); err != nil || !bytes.Contains(data, []byte(`"keys":["key"]`)) {
		t.Errorf("got %s, error %v", data, err)
	}
	write(t, path, "")
	if _, err := e.read(); err == nil {
		t.Error("the key was lost silently")
	}
}

func TestRoutesComeFromOnePlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args      []string
		variables []string
		want      string // in the error
	}{
		{nil, []string{"MANDRILL_WEBHOOK_URL", "K_SINK"}, ""},
		{nil, []string{"MANDRILL_WEBHOOK_URL_FILE", "K_SINK"}, ""},
		{nil, []string{"K_SINK", "K_CE_OVERRIDES", "MANDRILL_API_KEY"}, "give one of --config FILE"},
		{[]string{"--config=routes.yaml"}, []string{"K_SINK", "K_CE_OVERRIDES", "K_CA_CERTS"}, ""},
		{[]string{"--config=routes.yaml"}, []string{"MANDRILL_WEBHOOK_URL"}, "--config and MANDRILL_WEBHOOK_URL are given: remove all but one"},
		{[]string{"--routes-secret=a/b"}, []string{"MANDRILL_SIGNING_KEY_FILE"}, "--routes-secret and MANDRILL_SIGNING_KEY_FILE are given"},
	} {
		set := map[string]string{}
		for _, name := range test.variables {
			set[name] = sentinel
		}
		_, err := parseFlags(test.args, func(name string) string { return set[name] })
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), sentinel)) {
			t.Errorf("%v, %v: got error %v, want one with %q", test.args, test.variables, err, test.want)
		}
	}
}

// A SinkBinding mounts a token for its sink, and sets no variable for the audience.
func TestTheTokenIsForTheSinkOfTheEnvironment(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "eyJ.x.y")
	o, err := parseFlags([]string{"--oidc-token=broker/default=" + token}, set(nil))
	if err != nil {
		t.Fatal(err)
	}
	document, err := o.environment.document()
	if err != nil || document.Routes[0].Sink.Audience != "broker/default" {
		t.Errorf("got %+v, error %v", document, err)
	}
	for want, args := range map[string][]string{
		"--oidc-token is given more than once": {"--oidc-token=a=" + token, "--oidc-token=b=" + token},
		"--operator-url needs --routes-secret": {"--operator-url=http://operator.example"},
	} {
		if _, err := parseFlags(args, set(nil)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got error %v, want one with %q", args, err, want)
		}
	}
}
