package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

func unset(string) string { return "" }

func TestFlags(t *testing.T) {
	t.Parallel()
	const file, secret = "--config=routes.yaml", "--routes-secret=a/b"
	folder := t.TempDir()
	token, odd := filepath.Join(folder, "token"), filepath.Join(folder, "odd")
	write(t, token, "\ufeffeyJ.x.y\r\n")
	write(t, odd, "'s3ntinel'\n")
	for _, test := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{file}, ""},
		{[]string{secret}, ""},
		{nil, "give one of --config FILE, --routes-secret NAMESPACE/NAME or the variables MANDRILL_WEBHOOK_URL and K_SINK"},
		{[]string{file, secret}, "--config and --routes-secret are given: remove all but one"},
		{[]string{file, "--max-body-bytes=0"}, "must be positive"},
		{[]string{file, "--max-body-bytes=1000", "--max-inflight-bytes=2000"}, ""},
		{[]string{file, "--max-inflight-bytes=104857600"}, "at least twice --max-body-bytes"},
		{[]string{file, "--sink-concurrency=1"}, ""},
		{[]string{file, "--sink-concurrency=0"}, "--sink-concurrency must be positive"},
		{[]string{file, "--drain", "--buffer=embedded", "--buffer-dir=" + folder}, ""},
		{[]string{file, "--drain"}, "--drain needs --buffer=embedded"},
		{[]string{file, "--drain", "--buffer=nats://nats:4222", "--buffer-max-bytes=1000000000"}, "--drain needs --buffer=embedded"},
		{[]string{file, "x"}, "unexpected argument"},
		{[]string{file, "--oidc-token=a/b=" + token, "--oidc-token=c=" + token}, ""},
		{[]string{file, "--oidc-token=a"}, "not of the form AUDIENCE=FILE"},
		{[]string{file, "--oidc-token==" + token}, "not of the form AUDIENCE=FILE"},
		{[]string{file, "--oidc-token=a=" + token, "--oidc-token=a=" + token}, "has a file already"},
		{[]string{file, "--oidc-token=a=" + odd}, "the token has quotation marks at its ends"},
		{[]string{file, "--oidc-token='a'=" + token}, "the audience has quotation marks at its ends"},
		{[]string{file, "--oidc-token=a=nowhere"}, "reading the token"},
		{[]string{secret, "--operator-url=http://mandrill-operator.mandrill-operator-system:8082"}, ""},
		{[]string{secret, "--operator-url=https://operator.example/base/"}, ""},
		{[]string{file, "--operator-url=http://operator.example:8082"}, ""},
		{[]string{file, "--health-path=/"}, ""},
		{[]string{file, "--health-path="}, ""},
		{[]string{file, "--health-path=healthz"}, "--health-path must begin with a slash"},
		{[]string{file, "--health-path=/healthz?x"}, "--health-path must begin with a slash"},
		{[]string{file, "--kubeconfig=x"}, "--kubeconfig needs --routes-secret"},
		{[]string{file, "--allow-sink-hosts=localhost"}, "--allow-sink-hosts needs --routes-secret; without it all hosts are allowed"},
		{[]string{secret, "--kubeconfig=x", "--allow-sink-hosts=localhost, 10.0.0.1,::1,Sink.example"}, ""},
		{[]string{secret, "--allow-sink-hosts=http://localhost"}, "--allow-sink-hosts must be hosts without scheme"},
		{[]string{secret, "--allow-sink-hosts=localhost:8080"}, "--allow-sink-hosts must be hosts without scheme"},
		{[]string{secret, `--allow-sink-hosts="localhost"`}, "--allow-sink-hosts must be hosts without scheme"},
		{[]string{secret, "--allow-sink-hosts=*.example"}, "--allow-sink-hosts must be hosts without scheme"},
		{[]string{secret, "--operator-url=operator.example:8082"}, "must be an absolute http or https URL"},
		{[]string{secret, "--operator-url=ftp://operator.example"}, "must be an absolute http or https URL"},
		{[]string{secret, "--operator-url=http://:8082"}, "must be an absolute http or https URL"},
		{[]string{secret, "--operator-url=http://a b"}, "must be an absolute http or https URL"},
		{[]string{secret, "--operator-url=http://operator.example?x=1"}, "neither query nor fragment"},
		{[]string{secret, "--operator-url=http://operator.example/#"}, "neither query nor fragment"},
	} {
		_, err := parseFlags(test.args, unset)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), sentinel)) {
			t.Errorf("%v: got error %v, want one with %q", test.args, err, test.want)
		}
	}
}

// Users of the cluster must not make the receiver call its own machine. The author of its file may.
func TestLocalSinksAreRefusedForRoutesSecret(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	for _, test := range []struct {
		args    []string
		refused bool
	}{
		{[]string{"--routes-secret=a/b"}, true},
		{[]string{"--routes-secret=a/b", "--allow-sink-hosts=localhost, 127.0.0.2"}, true},
		{[]string{"--routes-secret=a/b", "--allow-sink-hosts=Sink.example, 127.0.0.1"}, false},
		{[]string{"--config=routes.yaml"}, false},
	} {
		o, err := parseFlags(test.args, unset)
		if err != nil {
			t.Fatal(err)
		}
		err = newClient(o).Post(t.Context(), sink.Target{URI: server.URL, Timeout: 10 * time.Second}, sink.Payload{})
		if (err != nil) != test.refused || sink.Temporary(err) {
			t.Errorf("%v: got error %v, want a permanent one: %t", test.args, err, test.refused)
		}
	}
}
