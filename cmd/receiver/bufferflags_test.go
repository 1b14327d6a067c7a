package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
)

func TestBufferFlags(t *testing.T) {
	t.Parallel()
	const bytes = "--buffer-max-bytes=268435456"
	embedded := []string{"--buffer=embedded", "--buffer-dir=x"}
	three := []string{"--buffer=cluster", "--buffer-dir=x", bytes, "--buffer-password-file=p", "--buffer-peers=a:6222,b:6222,c:6222"}
	local := []string{"--buffer=cluster", "--buffer-dir=x", bytes, "--buffer-password-file=p", "--buffer-peers=127.0.0.1:1,localhost:2,[::1]:3"}
	tls := []string{"--buffer-tls-cert-file=c", "--buffer-tls-key-file=k", "--buffer-tls-ca-file=a"}
	nats := []string{"--buffer=nats://robot:s3ntinel@a:4222,tls://b", bytes}
	for _, test := range []struct {
		args []string
		want string // in the error
	}{
		{embedded, ""},
		{slices.Concat(three, tls), ""},
		{slices.Concat(three, []string{"--buffer-insecure", "--buffer-listen=10.0.0.1:7222"}), ""},
		{local, ""},
		{slices.Concat(local, tls), ""},
		{nats, ""},
		{slices.Concat(nats, tls, []string{"--buffer-replicas=1", "--buffer-name=shop-2"}), ""},
		{slices.Concat(nats, tls[2:]), ""},
		{[]string{"--buffer=nats://a/", bytes, "--buffer-credentials-file=c"}, ""},

		{[]string{"--buffer=s3ntinel"}, "--buffer must be embedded, cluster or URLs"},
		{[]string{"--buffer=http://s3ntinel@a", bytes}, "--buffer must be embedded, cluster or URLs"},
		{[]string{"--buffer=nats://a,s3ntinel", bytes}, "--buffer must be embedded, cluster or URLs"},
		{[]string{"--buffer=nats://s3ntinel:%zz@a", bytes}, "--buffer must be embedded, cluster or URLs"},
		{[]string{"--buffer=nats://", bytes}, "must have a host"},
		{[]string{"--buffer=nats://a/s3ntinel", bytes}, "neither path, query nor fragment"},
		{[]string{"--buffer=nats://a?s3ntinel", bytes}, "neither path, query nor fragment"},
		{[]string{"--buffer=nats://a#s3ntinel", bytes}, "neither path, query nor fragment"},

		{[]string{"--buffer-dir=x"}, "--buffer-dir needs --buffer=embedded or --buffer=cluster"},
		{[]string{bytes}, "--buffer-max-bytes needs --buffer=embedded or --buffer=cluster or --buffer=nats://…"},
		{[]string{"--deleted-webhook-retention=1h"}, "--deleted-webhook-retention needs --buffer="},
		{[]string{"--delivery-max-age=1h"}, "--delivery-max-age needs --buffer="},
		{[]string{"--dead-letter-max-bytes=1"}, "--dead-letter-max-bytes needs --buffer="},
		{slices.Concat(embedded, three[4:]), "--buffer-peers needs --buffer=cluster"},
		{slices.Concat(embedded, []string{"--buffer-listen=:1"}), "--buffer-listen needs --buffer=cluster"},
		{slices.Concat(embedded, three[3:4]), "--buffer-password-file needs --buffer=cluster"},
		{slices.Concat(nats, []string{"--buffer-insecure"}), "--buffer-insecure needs --buffer=cluster"},
		{slices.Concat(embedded, tls), "needs --buffer=cluster or --buffer=nats://…"},
		{slices.Concat(nats, embedded[1:]), "--buffer-dir needs --buffer=embedded or --buffer=cluster"},
		{slices.Concat(three, []string{"--buffer-credentials-file=c"}), "--buffer-credentials-file needs --buffer=nats://…"},
		{slices.Concat(three, []string{"--buffer-replicas=3"}), "--buffer-replicas needs --buffer=nats://…"},
		{slices.Concat(three, []string{"--buffer-name=a"}), "--buffer-name needs --buffer=nats://…"},

		{embedded[:1], "--buffer=embedded needs --buffer-dir"},
		{slices.Concat(embedded, []string{"--buffer-max-bytes=1"}), "--buffer-max-bytes must be at least 67108864"},
		{slices.Concat(embedded, []string{"--deleted-webhook-retention=0s"}), "must be positive"},
		{slices.Concat(embedded, []string{"--delivery-max-age=-1s"}), "must be positive"},

		{slices.Concat(three[:1], three[2:], tls), "--buffer=cluster needs --buffer-dir"},
		{slices.Concat(three[:2], three[3:], tls), "--buffer=cluster needs --buffer-max-bytes"},
		{slices.Concat(three[:3], three[4:], tls), "--buffer=cluster needs --buffer-password-file"},
		{slices.Concat(three[:4], tls), "--buffer=cluster needs --buffer-peers"},
		{slices.Concat(three[:4], tls, []string{"--buffer-peers=a:1,b:2"}), "--buffer-peers: there must be 3 members"},
		{slices.Concat(three, tls, []string{"--buffer-listen=6222"}), "--buffer-listen: an address must be of the form host:port"},
		{slices.Concat(three, tls, []string{"--buffer-listen=:x"}), "--buffer-listen: a port must be a number"},
		{three, "needs --buffer-tls-cert-file, --buffer-tls-key-file and --buffer-tls-ca-file, or --buffer-insecure"},
		{slices.Concat(three, tls[:1]), "both --buffer-tls-cert-file and --buffer-tls-key-file"},
		{slices.Concat(three, tls[:2]), "give all of --buffer-tls-cert-file"},
		{slices.Concat(three, tls[2:]), "give all of --buffer-tls-cert-file"},
		{slices.Concat(three, tls, []string{"--buffer-insecure"}), "--buffer-insecure turns TLS off: remove it, or the --buffer-tls files"},

		{nats[:1], "needs --buffer-max-bytes"},
		{slices.Concat(nats, []string{"--buffer-replicas=0"}), "--buffer-replicas must be from 1 to 5"},
		{slices.Concat(nats, []string{"--buffer-name=a.b"}), "--buffer-name must be made of"},
		{slices.Concat(nats, []string{"--buffer-name="}), "--buffer-name must be made of"},
		{slices.Concat(nats, []string{"--buffer-credentials-file=c"}), "not both"},
		{slices.Concat(nats, tls[1:]), "both --buffer-tls-cert-file and --buffer-tls-key-file"},
	} {
		_, err := parseFlags(slices.Concat([]string{"--config=routes.yaml"}, test.args), unset)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got error %v, want one with %q", test.args, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), sentinel) {
			t.Errorf("%v: the error contains a value", test.args)
		}
	}
}

// Files that flags name are read at startup, so that faults show at once.
func TestBufferFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	local := func(args ...string) []string {
		return append([]string{"--buffer=cluster", "--buffer-dir=" + dir, "--buffer-max-bytes=268435456", "--buffer-peers=127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", "--buffer-listen=127.0.0.1:2"}, args...)
	}
	nats := func(args ...string) []string {
		return append([]string{"--buffer=nats://robot:s3ntinel@a, tls://b:1", "--buffer-max-bytes=268435456"}, args...)
	}
	good := file("password", " s3ntinel of three\n")
	for _, test := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{"--buffer=embedded", "--buffer-dir=" + dir}, ""},
		{local("--buffer-password-file=" + good), ""},
		{local("--buffer-password-file=" + filepath.Join(dir, "none")), "--buffer-password-file: open"},
		{local("--buffer-password-file=" + file("marked", "\ufeffs3ntinel of three\r\n")), ""},
		{local("--buffer-password-file=" + file("quoted", "\"s3ntinel of three\"\n")), "the password has quotation marks at its ends"},
		{local("--buffer-password-file=" + file("invisible", "s3ntinel\u200bof three\n")), "the password has the invisible character U+200B"},
		{local("--buffer-password-file=" + file("short", "s3ntinel\n")), "at least 16 characters"},
		{local("--buffer-password-file="+good, "--buffer-tls-cert-file=none", "--buffer-tls-key-file=none", "--buffer-tls-ca-file=none"), "--buffer-tls-ca-file"},
		{nats(), ""},
		{nats("--buffer-tls-ca-file=" + file("ca", "s3ntinel")), "the file has none"},
		{nats("--dead-letter-max-bytes=268435456"), "up to half"},
		{[]string{"--buffer=nats://a", "--buffer-max-bytes=268435456", "--buffer-credentials-file=none"}, "--buffer-credentials-file: open"},
	} {
		o, err := parseFlags(append([]string{"--config=routes.yaml"}, test.args...), unset)
		if err != nil {
			t.Fatalf("%v: %v", test.args, err)
		}
		_, err = o.buffer.journal(slog.Default())
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got error %v, want one with %q", test.args, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), sentinel) {
			t.Errorf("%v: the error contains a value", test.args)
		}
	}
}

func TestBufferOptions(t *testing.T) {
	t.Parallel()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := func(args ...string) journal.Options {
		o, err := parseFlags(append([]string{"--config=routes.yaml", "--buffer-max-bytes=268435456"}, args...), unset)
		if err != nil {
			t.Fatal(err)
		}
		o.buffer.hostname = func() (string, error) { return "receiver-1", nil }
		options, err := o.buffer.journal(nil)
		if err != nil {
			t.Fatal(err)
		}
		return options
	}
	limits, err := journal.SplitLimits(256<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ got, want journal.Options }{
		{options("--buffer=embedded", "--buffer-dir=x"), journal.Options{Limits: limits, Engine: &engine.Embedded{Dir: "x", Reserve: limits.Reserve}}},
		{
			options("--buffer=nats://robot:pass@a,tls://b", "--buffer-replicas=1", "--buffer-name=shop"),
			journal.Options{Limits: limits, KeepLimits: true, Replicas: 1, Name: "shop", Engine: &engine.External{URLs: []string{"nats://robot:pass@a", "tls://b"}}},
		},
		{
			options("--buffer=cluster", "--buffer-dir=x", "--buffer-password-file="+password, "--buffer-peers=127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", "--buffer-listen=127.0.0.1:2"),
			journal.Options{Limits: limits, Replicas: 3, Engine: &engine.Cluster{
				Dir: "x", Reserve: limits.Reserve, Name: "receiver-1-2", Listen: "127.0.0.1:2", Peers: []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, Password: "0123456789abcdef",
			}},
		},
	} {
		if diff := cmp.Diff(test.want, test.got, cmpopts.IgnoreUnexported(engine.Cluster{}, engine.Embedded{}, engine.External{})); diff != "" {
			t.Errorf("options (-want +got):\n%s", diff)
		}
	}
}
