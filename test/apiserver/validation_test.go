package apiserver_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

const base = `
apiVersion: mandrill-operator.io/v1alpha1
kind: MandrillWebhook
metadata: {generateName: valid-}
spec:
  events: [open]
  apiKeySecretRef: {name: mandrill}
  sink: {uri: http://sink.example/}
`

// object is the base with fields of its spec replaced, given as YAML flow, and null for removed.
func object(t *testing.T, namespace string, fields ...string) *unstructured.Unstructured {
	t.Helper()
	o, err := decode(base)
	if err != nil {
		t.Fatal(err)
	}
	o.SetNamespace(namespace)
	for _, field := range fields {
		change, err := decode(field)
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		for name, value := range change.Object {
			spec := o.Object["spec"].(map[string]any)
			if spec[name] = value; value == nil {
				delete(spec, name)
			}
		}
	}
	return o
}

// Every rule of the CRD, with input that it accepts and refuses, and the message for the user.
func TestCRDAcceptsAndRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	for _, test := range []struct {
		rule     string
		accepted []string
		refused  []string
		message  string
	}{
		{"url", []string{
			`url: https://hooks.example.com/mandrill/shop`, `url: http://hooks.example.com`, `url: "https://user:p%40ss@hooks.example.com:8443/a/?b=c&d=%2F"`, `url: "https://hooks.example.com?a=b"`, `url: "https://[2001:db8::1]/x"`,
		}, []string{
			`url: /mandrill/shop`, `url: hooks.example.com/x`, `url: ftp://hooks.example.com/`, `url: "https:///x"`, `url: "https://hooks.example.com/#a"`, `url: "https://hooks.example.com/%zz"`, `url: "https://a b/"`, `url: "HTTPS://hooks.example.com/"`,
		}, "url must be absolute and without a fragment: write https://host/path"},
		{"url with other characters", []string{`url: "https://hooks.example.com/a%20b"`}, []string{`url: "https://hooks.example.com/x "`, `url: "https://hooks.example.com/\u202ex"`, `url: "https://hooks.example.com/ä"`},
			"url has a space, a control character or a letter outside of ASCII"},
		{"url without one host", []string{`url: "https://hooks.example.com:65535/x"`}, []string{`url: "https://hooks.example.com:99999/x"`, `url: "https://:8443/x"`, `url: "https://*.example.com/x"`},
			"url needs one host, and a port up to 65535"},
		{"sink.uri with other characters", []string{`sink: {uri: "http://c.shop.svc/a%20b"}`}, []string{`sink: {uri: "http://c.shop.svc/a b"}`, `sink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: "/a b"}`},
			"uri has a space, a control character or a letter outside of ASCII"},
		{"sink.uri with a fragment", nil, []string{`sink: {uri: "http://c.shop.svc/#x"}`}, "uri has a fragment, which is never sent"},
		{"installation", []string{`installation: blue`, `installation: b2-x`}, []string{`installation: Blue`, `installation: -b`, `installation: a.b`},
			"installation is the name of an installation: write lower case letters, digits and -, such as blue, or leave it out"},
		{"url empty", nil, []string{`url: ""`}, "spec.url"},
		{"events", []string{`events: [send, delivered, deferral, hard_bounce, soft_bounce, open, click, spam, unsub, reject, allowlist, denylist]`, `events: [sms_sent]`}, []string{`events: []`},
			"events must name at least one event, because Mandrill takes an empty list for a disabled webhook: to pause delivery set suspend"},
		{"events missing", nil, []string{`events: null`}, "spec.events: Required value"},
		{"events repeated", []string{`events: [open, click]`}, []string{`events: [open, click, open]`}, "events names an event twice: list each event once"},
		{"event name", []string{`events: [a, hard_bounce2]`}, []string{`events: [Open]`, `events: ["hard bounce"]`, `events: [hard-bounce]`, `events: [""]`, `events: [_a]`},
			"an event is named in lower case letters, digits and underscores, such as hard_bounce"},
		{"an event that is written in another way", nil, []string{`events: [hard-bounce]`, `events: [Hard_Bounce]`, `events: ["hard bounce"]`}, "such as hard_bounce: write hard_bounce instead of "},
		{"an event by another name", []string{`events: [bounce_rate, sms_sent]`}, []string{`events: [bounce]`, `events: [hardbounce]`}, "did you mean hard_bounce"},
		{"open by another name", nil, []string{`events: [opens]`, `events: [send, opened]`}, "did you mean open?"},
		{"list by another name", nil, []string{`events: [safelist]`}, "Mandrill has no event safelist: did you mean allowlist?"},
		{"event name too long", nil, []string{`events: [` + long + `b]`}, "Too long"},
		{"old names of the lists", []string{`events: [allowlist, denylist]`}, []string{`events: [whitelist]`, `events: [blacklist]`}, "write allowlist instead of whitelist, and denylist instead of blacklist"},
		{"inbound as an event", nil, []string{`events: [inbound]`}, "inbound is no event of a webhook: leave it out, and set spec.inbound.routes for inbound mail"},
		{"apiKeySecretRef", []string{`apiKeySecretRef: {name: a, key: b}`}, []string{`apiKeySecretRef: null`}, "spec.apiKeySecretRef: Required value"},
		{"apiKeySecretRef.name", nil, []string{`apiKeySecretRef: {name: ""}`, `apiKeySecretRef: {key: b}`}, "spec.apiKeySecretRef.name"},
		{"signingKeySecretName", []string{`signingKeySecretName: a.b-c`}, []string{`signingKeySecretName: A`, `signingKeySecretName: a_b`, `signingKeySecretName: -a`},
			"signingKeySecretName must be the name of a Secret"},
		{"sink missing", nil, []string{`sink: null`}, "spec.sink: Required value"},
		{"sink empty", []string{`sink: {ref: {apiVersion: v1, kind: Service, name: x}}`, `sink: {ref: {apiVersion: v1, kind: Service, name: x, namespace: other}}`}, []string{`sink: {}`, `sink: {CACerts: x}`},
			"a sink needs ref or uri: write ref with apiVersion, kind and name, or uri with an absolute URL"},
		{"sink with ref and absolute uri", []string{`sink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: /events}`, `sink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: "events?a=b:c"}`},
			[]string{`sink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: "http://a.example/"}`, `sink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: "mailto:x"}`, `sink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: "//169.254.169.254/x"}`},
			"a sink has either ref or an absolute uri"},
		{"relative uri without ref", []string{`sink: {uri: "https://sink.example:8443/a?b=c"}`}, []string{`sink: {uri: /events}`, `sink: {uri: sink.example}`, `sink: {uri: "ftp://sink.example"}`, `sink: {uri: "http://"}`, `sink: {uri: "http://a b"}`},
			"without ref, uri must be absolute: write http://host/path or https://host/path"},
		{"sink.ref", nil, []string{`sink: {ref: {kind: Service, name: x}}`, `sink: {ref: {apiVersion: v1, name: x}}`, `sink: {ref: {apiVersion: v1, kind: Service}}`}, "Required value"},
		{"sink.audience", []string{`{sink: {uri: "http://sink.example", audience: x}, receiver: Sidecar, url: "https://a.example"}`}, []string{`sink: {uri: "http://sink.example", audience: x}`}, "sink.audience is for a Sidecar, whose pod has tokens of its own: leave it out"},
		{"ceOverrides name", []string{`ceOverrides: {extensions: {env: prod, a1: "x y"}}`, `ceOverrides: {}`}, []string{`ceOverrides: {extensions: {Env: prod}}`, `ceOverrides: {extensions: {e-n: prod}}`, `ceOverrides: {extensions: {abcdefghijklmnopqrstu: x}}`},
			"an extension is named in 1 to 20 lower case letters and digits, such as env"},
		{"ceOverrides required attributes", nil, []string{
			`ceOverrides: {extensions: {id: x}}`, `ceOverrides: {extensions: {source: x}}`, `ceOverrides: {extensions: {type: x}}`, `ceOverrides: {extensions: {specversion: x}}`,
			`ceOverrides: {extensions: {subject: x}}`, `ceOverrides: {extensions: {time: x}}`, `ceOverrides: {extensions: {datacontenttype: x}}`, `ceOverrides: {extensions: {data: x}}`,
		}, "cannot be overridden"},
		{"ceOverrides empty value", nil, []string{`ceOverrides: {extensions: {env: ""}}`}, "spec.ceOverrides.extensions"},
		{"delivery.timeout", []string{`delivery: {timeout: PT10S}`, `delivery: {timeout: PT0.5S}`, `delivery: {timeout: PT30S}`}, []string{`delivery: {timeout: PT30.1S}`, `delivery: {timeout: PT31S}`, `delivery: {timeout: PT1M}`, `delivery: {timeout: 10s}`, `delivery: {timeout: PT}`, `delivery: {timeout: PT0S}`, `delivery: {timeout: P1D}`, `delivery: {timeout: PT-1S}`},
			"timeout must be an ISO 8601 duration above zero and of at most 30 seconds: write PT10S for ten seconds"},
		{"delivery.mode", []string{`delivery: {mode: Direct}`, `delivery: {mode: Buffered}`, `delivery: {}`}, []string{`delivery: {mode: Later}`, `delivery: {mode: buffered}`}, "Unsupported value"},
		{"delivery.contentMode", []string{`delivery: {contentMode: Binary}`, `delivery: {contentMode: Structured}`, `delivery: {contentMode: Batched}`}, []string{`delivery: {contentMode: Text}`}, "Unsupported value"},
		{"delivery.dataSchema", []string{`delivery: {dataSchema: Include}`, `delivery: {dataSchema: Omit}`}, []string{`delivery: {dataSchema: Never}`}, "Unsupported value"},
		{"delivery.payload", []string{`delivery: {payload: Raw, dataSchema: Omit}`, `delivery: {payload: Normalized}`, `delivery: {payload: Normalized, dataSchema: Include}`}, []string{`delivery: {payload: normal}`}, "Unsupported value"},
		{"delivery.payload without dataschema", nil, []string{`delivery: {payload: Normalized, dataSchema: Omit}`}, "leave delivery.dataSchema out, or delivery.payload"},
		{"delivery.retry", []string{`delivery: {retry: 0}`, `delivery: {retry: 100}`}, []string{`delivery: {retry: -1}`, `delivery: {retry: 101}`}, "spec.delivery.retry"},
		{"delivery.backoffPolicy", []string{`delivery: {retry: 1, backoffPolicy: linear}`, `delivery: {retry: 1, backoffPolicy: exponential}`}, []string{`delivery: {retry: 1, backoffPolicy: never}`}, "Unsupported value"},
		{"delivery.backoffDelay", []string{
			`delivery: {retry: 1, backoffDelay: PT1S}`, `delivery: {retry: 1, backoffDelay: PT0.05S}`, `delivery: {retry: 1, backoffDelay: PT30S}`, `delivery: {backoffDelay: PT90S}`,
			`delivery: {backoffDelay: PT1M}`, `delivery: {mode: Direct, retry: 0, backoffDelay: PT1M30S}`, `delivery: {mode: Buffered, backoffDelay: PT10M}`, `delivery: {mode: Buffered, backoffDelay: PT600S}`,
		}, []string{
			`delivery: {retry: 1, backoffDelay: PT0S}`, `delivery: {retry: 1, backoffDelay: PT0M}`, `delivery: {retry: 1, backoffDelay: 1s}`, `delivery: {backoffDelay: PT10M1S}`,
			`delivery: {backoffDelay: PT10M0.001S}`, `delivery: {mode: Buffered, backoffDelay: PT11M}`, `delivery: {backoffDelay: PT601S}`, `delivery: {backoffDelay: PT1H}`, `delivery: {backoffDelay: ""}`,
		}, "backoffDelay must be an ISO 8601 duration above zero and of at most 10 minutes: write PT1S for one second, or PT1M30S for ninety"},
		{"back-off without retries",
			[]string{`delivery: {backoffPolicy: linear}`, `delivery: {backoffDelay: PT1S}`, `delivery: {mode: Buffered, backoffPolicy: linear, backoffDelay: PT1S}`, `delivery: {mode: Direct, retry: 0, backoffPolicy: linear, backoffDelay: PT1S}`},
			[]string{`delivery: {mode: Direct, backoffPolicy: linear}`, `delivery: {mode: Direct, backoffDelay: PT1S}`},
			"delivery.backoffPolicy and backoffDelay say when the retries are, and in Direct mode there are none without retry: set delivery.retry, or leave them out"},
		{"delivery.deadLetterSink", []string{`delivery: {deadLetterSink: {uri: "http://dlq.example/"}}`, `delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: /dead}, retry: 3}`}, []string{`delivery: {deadLetterSink: {}}`}, "a sink needs ref or uri"},
		{"delivery.deadLetterSink relative", nil, []string{`delivery: {deadLetterSink: {uri: /dead}}`}, "without ref, uri must be absolute"},
		{"delivery.deadLetterSink.audience", []string{`{delivery: {deadLetterSink: {uri: "http://sink.example", audience: x}}, receiver: Sidecar, url: "https://a.example"}`}, []string{`delivery: {deadLetterSink: {uri: "http://sink.example", audience: x}}`}, "delivery.deadLetterSink.audience is for a Sidecar, whose pod has tokens of its own: leave it out"},
		{"alertSink", []string{`alertSink: {uri: "http://pager.example/"}`, `alertSink: {ref: {apiVersion: v1, kind: Service, name: x}, uri: /alerts}`}, []string{`alertSink: {}`}, "a sink needs ref or uri"},
		{"alertSink relative", nil, []string{`alertSink: {uri: /alerts}`}, "without ref, uri must be absolute"},
		{"alertSink.audience", nil, []string{`alertSink: {uri: "http://pager.example", audience: x}`, `{alertSink: {uri: "http://pager.example", audience: x}, receiver: Sidecar, url: "https://a.example"}`},
			"alertSink.audience is not supported, because the operator has no OIDC tokens: leave it out"},
		{"urlSecretRef", []string{`urlSecretRef: {name: hook-secret, key: token}`, `{urlSecretRef: {name: a, key: b, parameter: p.q}, url: "https://a.example/?x=1"}`}, []string{
			`{urlSecretRef: {name: a, key: b}, url: "https://a.example/?secret=1"}`, `{urlSecretRef: {name: a, key: b, parameter: p}, url: "https://a.example/?x=1&p="}`,
		}, "url already has the parameter that urlSecretRef sets: take it out of the URL"},
		{"urlSecretRef incomplete", nil, []string{`urlSecretRef: {key: token}`, `urlSecretRef: {name: a}`, `urlSecretRef: {name: a, key: b, parameter: "a b"}`, `urlSecretRef: {name: a, key: b, parameter: ""}`}, "spec.urlSecretRef"},
		{"inbound", []string{`inbound: {routes: [{domain: in.example.com, pattern: "help-*"}, {domain: in.example.com, pattern: "*"}, {domain: b.example.com, pattern: "*"}]}`}, []string{`inbound: {routes: []}`}, "inbound.routes must have a route: leave inbound out for none"},
		{"inbound repeated", nil, []string{`inbound: {routes: [{domain: in.example.com, pattern: "*"}, {domain: in.example.com, pattern: "*"}]}`}, "inbound.routes names a pattern of a domain twice: list each once"},
		{"inbound domain", nil, []string{`inbound: {routes: [{domain: In.example.com, pattern: "*"}]}`, `inbound: {routes: [{domain: localhost, pattern: "*"}]}`, `inbound: {routes: [{domain: "", pattern: "*"}]}`, `inbound: {routes: [{domain: "*.example.com", pattern: "*"}]}`},
			"domain must be a domain name in lower case, such as in.example.com"},
		{"inbound pattern", []string{`inbound: {routes: [{domain: in.example.com, pattern: "a.b+c_*-1"}]}`}, []string{`inbound: {routes: [{domain: in.example.com, pattern: "*@in.example.com"}]}`, `inbound: {routes: [{domain: in.example.com, pattern: "a b"}]}`, `inbound: {routes: [{domain: in.example.com, pattern: ""}]}`},
			"pattern is what stands before the @ of an address, without spaces: write * for every address of the domain"},
		{"inbound incomplete", nil, []string{`inbound: {}`, `inbound: {routes: [{domain: in.example.com}]}`, `inbound: {routes: [{pattern: "*"}]}`}, "Required value"},
		{"receiver", []string{`receiver: Shared`, `{receiver: Sidecar, url: "https://a.example/"}`}, []string{`receiver: Sidecar`}, "a Sidecar answers at a URL of its own: set url"},
		{"receiver nobody knows", nil, []string{`receiver: Mine`}, "Unsupported value"},
		{"deletionPolicy", []string{`deletionPolicy: Delete`, `deletionPolicy: Retain`}, []string{`deletionPolicy: Keep`}, "Unsupported value"},
		{"suspend", []string{`suspend: true`}, []string{`suspend: "yes"`}, "must be of type boolean"},
		{"description", []string{`description: Shop mail events`}, []string{`description: "` + strings.Repeat("a", 1025) + `"`}, "Too long"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			for _, field := range test.accepted {
				if err := admin.Create(t.Context(), object(t, namespace, field)); err != nil {
					t.Errorf("%s was refused: %v", field, err)
				}
			}
			for _, field := range test.refused {
				if err := admin.Create(t.Context(), object(t, namespace, field)); err == nil || !strings.Contains(err.Error(), test.message) {
					t.Errorf("%s: got %v, want a refusal with %q", field, err, test.message)
				}
			}
		})
	}
}

// The CRD accepts exactly the durations that the routes document accepts: with others the operator could not write the
// document.
func TestCRDAcceptsTheDurationsOfRoutes(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for _, text := range []string{
		"PT0.5S", "PT30S", "PT30.000S", "PT0M30S", "PT030S", "PT30.001S", "PT31S", "PT90S", "PT1M", "PT1M30S", "PT9M60S", "PT10M", "PT010M0S", "PT0H10M", "PT600S", "PT600.0S",
		"PT10M1S", "PT10M0.001S", "PT11M", "PT601S", "PT1H", "PT9999H9999M9999S", "PT10000S", "PT1.0000S", "PT0.0001S", "PT.5S", "PT1.S", "PT1.5M", "PT0S", "PT0H0M0.000S",
		"PT", "PTS", "P1D", "PT1S1M", "PT1M1M", "PT-1S", "PT+1S", "-PT1S", "pt1s", "PT1s", "PT1MS", "PT1S\n", " PT1S", "PT1\u0665S", "1s", "P", "PT1US",
	} {
		for field, delivery := range map[string]routes.Delivery{"timeout": {Timeout: text}, "backoffDelay": {BackoffDelay: text}} {
			route := routes.Route{URL: "https://a.example", Source: "/s", Sink: routes.Sink{URI: "http://s.example"}, Delivery: delivery}
			want := len(route.Faults()) == 0
			err := admin.Create(t.Context(), object(t, namespace, fmt.Sprintf("delivery: {%s: %q}", field, text)), client.DryRunAll)
			if err != nil && !strings.Contains(err.Error(), field+" must be an ISO 8601 duration above zero") {
				t.Fatal(err)
			}
			if got := err == nil; got != want {
				t.Errorf("%s %q: accepted by the CRD %t, by the routes document %t", field, text, got, want)
			}
		}
	}
}

func TestLongNamesAreRefused(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	named := object(t, namespace)
	named.SetGenerateName("")
	named.SetName(strings.Repeat("a", 63))
	if err := admin.Create(t.Context(), named); err != nil {
		t.Errorf("63 characters were refused: %v", err)
	}
	named = object(t, namespace)
	named.SetName(strings.Repeat("a", 64))
	if err := admin.Create(t.Context(), named); err == nil || !strings.Contains(err.Error(), "the name is too long: use at most 63 characters") {
		t.Errorf("64 characters: %v", err)
	}
}

// The two Secrets of an object with a Sidecar must have different names.
func TestSecretsOfASidecarMustDiffer(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for fields, refused := range map[string]bool{
		`{receiver: Sidecar, url: "https://a.example", signingKeySecretName: x-receiver}`:  true,
		`{receiver: Sidecar, url: "https://a.example", signingKeySecretName: x-receiver2}`: false,
		`{signingKeySecretName: x-receiver}`:                                               false,
	} {
		named := object(t, namespace, fields)
		named.SetGenerateName("")
		named.SetName("x")
		err := admin.Create(t.Context(), named)
		if refused != (err != nil && strings.Contains(err.Error(), "signingKeySecretName is the name of the Secret that the Sidecar's routes go to: choose another")) {
			t.Errorf("%s: got %v, want refused %t", fields, err, refused)
		}
		if err == nil {
			if err := admin.Delete(t.Context(), named); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSecretsThatTheOperatorWritesAreNoInputs(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for fields, refused := range map[string]bool{
		`{apiKeySecretRef: {name: x-signing-key}}`:                                           true,
		`{urlSecretRef: {name: x-signing-key, key: signing-key}}`:                            true,
		`{signingKeySecretName: mandrill}`:                                                   true,
		`{signingKeySecretName: hook, urlSecretRef: {name: hook, key: token}}`:               true,
		`{signingKeySecretName: signing, urlSecretRef: {name: x-signing-key, key: token}}`:   false,
		`{apiKeySecretRef: {name: y-signing-key}, urlSecretRef: {name: hook, key: "token"}}`: false,
	} {
		o := object(t, namespace, fields)
		o.SetGenerateName("")
		o.SetName("x")
		err := admin.Create(t.Context(), o, client.DryRunAll)
		if refused != (err != nil && strings.Contains(err.Error(), "names the Secret that the operator writes the signing key to: name a Secret of your own")) {
			t.Errorf("%s: refused %t, want %t: %v", fields, !refused, refused, err)
		}
	}
}

func TestImmutableFieldsAreRefused(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	for _, test := range []struct {
		before, after string
		refused       string
	}{
		{`signingKeySecretName: a`, `signingKeySecretName: a`, ""},
		{`signingKeySecretName: a`, `signingKeySecretName: b`, "signingKeySecretName cannot be changed"},
		{`signingKeySecretName: a`, `signingKeySecretName: null`, "signingKeySecretName cannot be changed"},
		{`signingKeySecretName: null`, `signingKeySecretName: a`, "signingKeySecretName cannot be changed"},
		{`url: https://a.example`, `url: https://b.example`, ""},
		{`url: https://a.example`, `receiver: Shared`, ""},
		{`url: https://a.example`, `receiver: Sidecar`, "receiver cannot be changed"},
		{`{receiver: Sidecar, url: "https://a.example"}`, `receiver: Sidecar`, ""},
		{`{receiver: Sidecar, url: "https://a.example"}`, `receiver: Shared`, "receiver cannot be changed"},
		{`{receiver: Sidecar, url: "https://a.example"}`, `receiver: null`, "receiver cannot be changed"},
	} {
		created := object(t, namespace, test.before)
		if err := admin.Create(t.Context(), created); err != nil {
			t.Fatal(err)
		}
		changed := object(t, namespace, test.before, test.after, `description: changed`)
		created.Object["spec"] = changed.Object["spec"]
		err := admin.Update(t.Context(), created)
		if (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) {
			t.Errorf("%s to %s: got %v, want a refusal with %q", test.before, test.after, err, test.refused)
		}
	}
}

func TestDefaultsAreSet(t *testing.T) {
	t.Parallel()
	created := object(t, newNamespace(t))
	if err := admin.Create(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	var webhook v1alpha1.MandrillWebhook
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(created), &webhook); err != nil {
		t.Fatal(err)
	}
	if spec := webhook.Spec; spec.APIKeySecretRef.Key != "api-key" || spec.Receiver != v1alpha1.ReceiverShared || spec.DeletionPolicy != v1alpha1.DeletionDelete || spec.Suspend || spec.Delivery != nil {
		t.Errorf("defaults are %+v", spec)
	}
	if webhook.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration is %d, want -1 until somebody looked", webhook.Status.ObservedGeneration)
	}
}

// Knative's tools find the kind as a source, and kubectl by its short name.
func TestKindIsFoundAsAKnativeSource(t *testing.T) {
	t.Parallel()
	crds := &unstructured.UnstructuredList{}
	crds.SetAPIVersion("apiextensions.k8s.io/v1")
	crds.SetKind("CustomResourceDefinitionList")
	if err := admin.List(t.Context(), crds, client.MatchingLabels{"duck.knative.dev/source": "true"}); err != nil || len(crds.Items) != 1 {
		t.Fatalf("%d CRDs with Knative's label, error %v", len(crds.Items), err)
	}
	names, _, err := unstructured.NestedStringSlice(crds.Items[0].Object, "spec", "names", "shortNames")
	if err != nil || len(names) != 1 || names[0] != "mwh" {
		t.Errorf("short names are %v, error %v", names, err)
	}
	categories, _, err := unstructured.NestedStringSlice(crds.Items[0].Object, "spec", "names", "categories")
	if got := strings.Join(categories, ","); err != nil || got != "all,knative,sources" {
		t.Errorf("categories are %s, error %v", got, err)
	}
}

// condition returns a condition of an object, or an empty one.
func condition(webhook *v1alpha1.MandrillWebhook, name string) metav1.Condition {
	if found := meta.FindStatusCondition(webhook.Status.Conditions, name); found != nil {
		return *found
	}
	return metav1.Condition{}
}
