package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const document = `routes:
- name: shop/transactional
  url: https://robot:s3ntinel@hooks.example.com/mandrill/shop?secret=s3ntinel&s3ntinel&v=2
  keys: [s3ntinel-1, s3ntinel-2]
  source: /apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional
  sink: {uri: "http://robot:s3ntinel@consumer.shop.svc:8080/s3ntinel?token=s3ntinel", audience: shop}
  delivery: {timeout: PT5S, payload: Normalized}
- {name: shop/new, url: "https://hooks.example.com/new", source: /new, sink: {uri: "https://consumer.example"}, delivery: {mode: Direct}}
- name: shop/retried
  url: https://hooks.example.com/retried
  source: /retried
  sink: {uri: "https://consumer.example"}
  delivery: {mode: Buffered, contentMode: Batched, dataSchema: Omit, retry: 3, backoffPolicy: linear, deadLetterSink: {uri: "http://s3ntinel:s3ntinel@letters.example/s3ntinel?s3ntinel"}}
- {name: shop/off, url: "https://hooks.example.com/off", keys: [a], source: /off, sink: {uri: "https://consumer.example"}, suspend: true}
`

const described = `route shop/transactional
  url       https://hidden@hooks.example.com/mandrill/shop?secret=hidden&hidden&v=hidden
  keys      2
  sink      http, consumer.shop.svc:8080, with an OIDC token
  source    /apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional
  mode      Buffered with --buffer, else Direct
  delivery  Binary, timeout PT5S, payload Normalized
  retries   10 in mode Buffered, exponential, first after PT1S
  failures  dead letters in the buffer

route shop/new
  url       https://hooks.example.com/new
  keys      0: probes are answered, batches get 503 until there is one
  sink      https, consumer.example
  source    /new
  mode      Direct
  delivery  Binary, timeout PT10S

route shop/retried
  url       https://hooks.example.com/retried
  keys      0: probes are answered, batches get 503 until there is one
  sink      https, consumer.example
  source    /retried
  mode      Buffered, which needs --buffer
  delivery  Batched, timeout PT10S, without dataschema
  retries   3, linear, first after PT1S
  failures  to the dead letter sink: http, letters.example

route shop/off
  url       https://hooks.example.com/off
  keys      1, but suspended: batches get 503
  sink      https, consumer.example
  source    /off
  mode      Buffered with --buffer, else Direct
  delivery  Binary, timeout PT10S
  retries   10 in mode Buffered, exponential, first after PT1S
  failures  dead letters in the buffer
`

const describedEnvironment = `route environment
  url       https://hidden@hooks.example.com/shop?secret=hidden
  keys      2
  sink      http, consumer:8080
  source    /mandrill/hooks.example.com
  mode      Buffered with --buffer, else Direct
  delivery  Binary, timeout PT10S
  retries   10 in mode Buffered, exponential, first after PT1S
  failures  dead letters in the buffer
`

func TestCheck(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := func(name, text string) []string {
		path := filepath.Join(folder, name)
		write(t, path, text)
		return []string{"check", "--config", path}
	}
	for name, test := range map[string]struct {
		args   []string
		getenv func(string) string
		want   string
	}{
		"file":        {file("good", document), unset, described},
		"no routes":   {file("none", "routes: []"), unset, "no routes: every request is answered with 404\n"},
		"environment": {[]string{"check"}, set(nil), describedEnvironment},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), test.args, test.getenv, &out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nothing":  {[]string{"check"}, "give --config FILE or the variables"},
		"argument": {[]string{"check", "--config=x", "y"}, "unexpected argument"},
		"missing":  {[]string{"check", "--config", filepath.Join(folder, "missing")}, "reading routes"},
		"one url":  {file("one", strings.ReplaceAll(document, "https://hooks.example.com/new", "https://hooks.example.com/retried")), `routes "shop/new" and "shop/retried" have the same url: give each a url of its own`},
		"faults":   {file("bad", strings.ReplaceAll(document, "PT5S", "5s")), `route "shop/transactional": delivery.timeout must be`},
	} {
		if err := run(t.Context(), test.args, unset, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, test.want)
		}
	}
	if err := check([]string{"-h"}, unset, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}
