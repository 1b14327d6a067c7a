package main

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/version"
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
		{[]string{file, "--max-body-bytes=10Mi", "--max-inflight-bytes=1Gi"}, ""},
		{[]string{file, "--max-body-bytes=10MB"}, "did you mean 10Mi?"},
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
		{[]string{file, "--page-listen=:8089", "--page-hosts=mandrill.example.com,other.example", "--page-payloads"}, ""},
		{[]string{file, "--page-hosts=mandrill.example.com"}, "--page-hosts needs --page-listen"},
		{[]string{file, "--page-payloads"}, "--page-payloads needs --page-listen"},
		{[]string{file, "--page-listen=:8089", "--page-hosts=https://mandrill.example.com"}, "--page-hosts must be hosts without scheme"},
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

// Every flag whose value is a size takes the units of Kubernetes, and a number of bytes as before.
func TestSizesHaveUnits(t *testing.T) {
	t.Parallel()
	var o options
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	o.add(flags)
	var found []string
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.HasSuffix(f.Name, "-bytes") {
			return
		}
		found = append(found, f.Name)
		for text, want := range map[string]string{"800Mi": "800Mi", "1Gi": "1Gi", "67108864": "64Mi"} {
			if err := f.Value.Set(text); err != nil || f.Value.String() != want {
				t.Errorf("--%s=%s: got %s, %v", f.Name, text, f.Value, err)
			}
		}
		before := f.Value.String()
		for text, want := range map[string]string{"1GB": "did you mean 1Gi?", "800 MiB": "did you mean 800Mi?", "much": "such as 800Mi or 1Gi", "": "such as 800Mi or 1Gi"} {
			if err := f.Value.Set(text); err == nil || !strings.Contains(err.Error(), want) || f.Value.String() != before {
				t.Errorf("--%s=%s: got %s, %v", f.Name, text, f.Value, err)
			}
		}
	})
	if want := []string{"buffer-max-bytes", "dead-letter-max-bytes", "max-body-bytes", "max-inflight-bytes"}; !slices.Equal(found, want) {
		t.Errorf("sizes are %v, want %v", found, want)
	}
}

// A receiver that stops serves for longer than a load balancer takes to notice, unless it is told otherwise.
func TestShutdownDelayByDefault(t *testing.T) {
	t.Parallel()
	for want, args := range map[time.Duration][]string{10 * time.Second: nil, 0: {"--shutdown-delay=0s"}, 20 * time.Second: {"--shutdown-delay=20s"}} {
		o, err := parseFlags(append([]string{"--config=routes.yaml"}, args...), unset)
		if err != nil || o.shutdownDelay != want {
			t.Errorf("%v: got %s, %v, want %s", args, o.shutdownDelay, err, want)
		}
	}
}

// The version is printed whatever the other flags and the environment lack.
func TestVersion(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(t.Context(), []string{"--version"}, unset, &out); err != nil || out.String() != "receiver "+version.Get().String()+"\n" {
		t.Errorf("got %q, %v", out.String(), err)
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
		_, err = newClient(o).Post(t.Context(), sink.Target{URI: server.URL, Timeout: 10 * time.Second}, sink.Payload{})
		if (err != nil) != test.refused || sink.Temporary(err) {
			t.Errorf("%v: got error %v, want a permanent one: %t", test.args, err, test.refused)
		}
	}
}
