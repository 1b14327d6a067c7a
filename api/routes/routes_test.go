package routes_test

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/pasted"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

const good = `
routes:
- name: shop/transactional
  url: https://user:s3cret@hooks.example.com/mandrill/shop?secret=s3cret
  keys: [s3cret-1, s3cret-2]
  source: /apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional
  sink: {uri: "http://broker-ingress.knative-eventing.svc.cluster.local/shop/default", CACerts: "", audience: ""}
  ceOverrides: {extensions: {env: prod}}
  delivery: {mode: Direct, contentMode: Binary, timeout: PT10S}
  suspend: false
`

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	t.Parallel()
	document, err := routes.Decode([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := &routes.Document{Routes: []routes.Route{{
		Name: "shop/transactional", URL: "https://user:s3cret@hooks.example.com/mandrill/shop?secret=s3cret",
		Keys: []string{"s3cret-1", "s3cret-2"}, Source: "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional",
		Sink:        routes.Sink{URI: "http://broker-ingress.knative-eventing.svc.cluster.local/shop/default"},
		CEOverrides: routes.Overrides{Extensions: map[string]string{"env": "prod"}},
		Delivery:    routes.Delivery{Mode: "Direct", ContentMode: "Binary", Timeout: "PT10S"},
	}}}
	if diff := cmp.Diff(want, document); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	encoded, err := document.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := routes.Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document.Routes, again.Routes); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
	nothing, err := (&routes.Document{}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if empty, err := routes.Decode(nothing); err != nil || len(empty.Routes) != 0 {
		t.Errorf("no routes: %v, %v", empty, err)
	}
}

// A newer operator may write fields that this receiver does not know.
func TestUnknownFieldsOfTheOperatorAreIgnored(t *testing.T) {
	t.Parallel()
	newer := strings.Replace(good, "suspend:", "later: {a: b}\n  suspend:", 1)
	if _, err := routes.Decode([]byte(newer)); err == nil {
		t.Error("a document that a user wrote is accepted")
	}
	document, err := routes.Decode([]byte("writtenBy: operator\n" + newer))
	if err != nil {
		t.Fatal(err)
	}
	want, err := routes.Decode([]byte("writtenBy: operator\n" + good))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, document); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, replacement, want string }{
		"unknown field":          {"suspend:", "suspended:", `line 10: unknown field "suspended": did you mean suspend?`},
		"a field of nothing":     {"suspend:", "zzzz:", `unknown field "zzzz"; a document has routes; a route has ceOverrides, delivery, keys, name, path, sink, source, suspend, url; sink has CACerts, appProtocol, audience, uri;`},
		"repeated field":         {"suspend: false", "suspend: false\n  suspend: true", "suspend"},
		"wrong type":             {"[s3cret-1, s3cret-2]", "7", "the field keys must be a list, and is a number"},
		"no name":                {"shop/transactional\n", "\"\"\n", "route number 1: name is missing"},
		"relative url":           {"https://user:s3cret@hooks.example.com", "", "url must be an absolute"},
		"url of another scheme":  {"https://user", "ftp://user", "url must be an absolute"},
		"url with a fragment":    {"?secret=s3cret", "#s3cret", "fragment"},
		"empty key":              {"s3cret-1", `""`, "empty key"},
		"long name":              {"shop/transactional\n", strings.Repeat("n", 513) + "\n", "the name must have at most 512 bytes"},
		"name with a line break": {"shop/transactional\n", `"shop\na"` + "\n", "no control characters"},
		"name with a space":      {"shop/transactional\n", `" shop/a"` + "\n", "no space at its ends"},
		"no source":              {"/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional", `""`, "source must be a URI reference"},
		"source with a space":    {"/apis/mandrill-operator.io/namespaces/shop", "/my shop", "source must be a URI reference"},
		"source with bad escape": {"/apis/mandrill-operator.io/namespaces/shop", "/%zz", "source must be a URI reference"},
		"the test key":           {"s3cret-1", "test-webhook", "the key that everybody knows"},
		"no sink":                {"http://broker-ingress.knative-eventing.svc.cluster.local/shop/default", "", "sink.uri"},
		"relative sink":          {"http://broker-ingress.knative-eventing.svc.cluster.local/", "/", "sink.uri"},
		"no routes":              {good, "{}", "the document has no routes; write routes: [] for none"},
		"nothing":                {good, "", "the document has no routes"},
		"CACerts of nothing":     {`CACerts: ""`, `CACerts: s3cret`, "sink.CACerts holds no PEM certificate"},
		"mode nobody knows":      {"mode: Direct", "mode: Sometimes", "delivery.mode must be Buffered or Direct"},
		"content mode of nobody": {"Binary", "Text", "delivery.contentMode must be Binary, Structured or Batched"},
		"schema of nobody":       {"PT10S", "PT10S, dataSchema: Never", "delivery.dataSchema must be Include or Omit"},
		"payload of nobody":      {"PT10S", "PT10S, payload: normal", "delivery.payload must be Raw or Normalized"},
		"payload unnamed":        {"PT10S", "PT10S, payload: Normalized, dataSchema: Omit", "delivery.payload Normalized needs dataschema"},
		"negative retry":         {"PT10S", "PT10S, retry: -1", "delivery.retry must be 0 to 100"},
		"too many retries":       {"PT10S", "PT10S, retry: 101", "delivery.retry must be 0 to 100"},
		"retry of another type":  {"PT10S", "PT10S, retry: ten", "retry"},
		"policy of nobody":       {"PT10S", "PT10S, retry: 1, backoffPolicy: s3cret", "delivery.backoffPolicy must be linear or exponential"},
		"policy without retry":   {"PT10S", "PT10S, backoffPolicy: linear", "need delivery.retry in Direct mode"},
		"delay without retry":    {"PT10S", "PT10S, backoffDelay: PT1S", "need delivery.retry in Direct mode"},
		"delay too long":         {"PT10S", "PT10S, retry: 1, backoffDelay: PT10M1S", "delivery.backoffDelay must be an ISO 8601 duration above zero and of at most 10 minutes"},
		"delay of seconds":       {"PT10S", "PT10S, retry: 1, backoffDelay: PT601S", "of at most 10 minutes"},
		"delay in Go's form":     {"PT10S", "PT10S, retry: 1, backoffDelay: 1m", "delivery.backoffDelay must be an ISO 8601 duration"},
		"delay of nothing":       {"PT10S", "PT10S, retry: 1, backoffDelay: PT0S", "delivery.backoffDelay must be an ISO 8601 duration"},
		"relative dead letters":  {"PT10S", "PT10S, deadLetterSink: {uri: /s3cret}", "delivery.deadLetterSink.uri must be an absolute"},
		"CACerts of dead ones":   {"PT10S", `PT10S, deadLetterSink: {uri: "http://d.example", CACerts: s3cret}`, "delivery.deadLetterSink.CACerts holds no PEM certificate"},
		"dead letters of dead":   {"PT10S", `PT10S, deadLetterSink: {uri: "http://d.example", retry: 1}`, "retry"},
		"timeout in Go's form":   {"PT10S", "10s", "PT10S"},
		"timeout of nothing":     {"PT10S", "PT0S", "above zero"},
		"timeout too long":       {"PT10S", "PT31S", "at most 30 seconds"},
		"timeout of a minute":    {"mode: Direct, contentMode: Binary, timeout: PT10S", "mode: Buffered, timeout: PT1M", "at most 30 seconds"},
		"extension in capitals":  {"env: prod", "Env: prod", "lower case"},
		"extension with a dash":  {"env: prod", "e-n: prod", "lower case"},
		"required attribute":     {"env: prod", "id: x", "cannot set id"},
		"extension empty":        {"env: prod", `env: ""`, "empty value"},
		"not YAML":               {"routes:", "routes: [", "decoding routes"},
		"the name used twice":    {good, good + strings.TrimPrefix(good, "\nroutes:\n"), "used twice"},
		"a key in quotes":        {"s3cret-1", `"'s3cret-1'"`, "keys has a key with quotation marks at its ends"},
		"a key with a mark":      {"s3cret-1", `"\uFEFFs3cret-1"`, "keys has a key with the invisible character U+FEFF"},
		"a key beyond ASCII":     {"s3cret-1", `"s3cret-é"`, "keys has a key with the character U+00E9"},
		"a key of two words":     {"[s3cret-1, s3cret-2]", `["s3cret-1 s3cret-2"]`, "keys has a key with the character U+0020"},
		"url in quotes":          {"https://user:s3cret@hooks.example.com/mandrill/shop?secret=s3cret", `"'https://s3cret@h.example/'"`, "url has quotation marks at its ends"},
		"url with a space":       {"https://user:s3cret@hooks.example.com/mandrill/shop?secret=s3cret", `"https://s3cret@h.example/ "`, "url has white space at its ends"},
		"url with an invisible":  {"mandrill/shop?", "mandrill/shop\u200b?", "url has the invisible character U+200B"},
		"sink with a space":      {`"http://broker-ingress.knative-eventing.svc.cluster.local/shop/default"`, `"http://s3cret.example/ "`, "sink.uri has white space at its ends"},
		"audience in quotes":     {`audience: ""`, `audience: "'s3cret'"`, "sink.audience has quotation marks"},
		"source with a mark":     {"/apis/mandrill", "/apis\u200b/mandrill", "source has the invisible character U+200B"},
		"a second document":      {"suspend: false\n", "suspend: false\n# more\n---\nroutes: [{name: s3cret}]\n", "a second YAML document begins at line 12"},
		"after the end":          {"suspend: false\n", "suspend: false\n...\nroutes: []\n", "a second YAML document begins at line 11"},
		"a broken second one":    {"suspend: false\n", "suspend: false\n---\n[s3cret\n", "a second YAML document begins at line 11"},
		"two documents of JSON":  {good, `{"routes": []}` + "\n" + `{"routes": [{"name": "s3cret"}]}`, "something follows the YAML document"},
		"text after the end":     {good, "{routes: []} s3cret", "something follows the YAML document"},
		"field no one knows yet": {"suspend: false", "retries: 3", "retries"},
	} {
		document := strings.Replace(good, test.old, test.replacement, 1)
		if document == good {
			t.Fatalf("%s: nothing was replaced", name)
		}
		_, err := routes.Decode([]byte(document))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, want an error with %q and no secret", name, err, test.want)
		}
	}
}

// What editors and templates put around one document is accepted.
func TestOneDocumentMayHaveMarkers(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		"---" + good, "\ufeff" + good, "# routes\n---" + good, "%YAML 1.1\n---" + good, good + "---\n", good + "---\n# nothing\n", good + "...\n", strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		if decoded, err := routes.Decode([]byte(document)); err != nil || len(decoded.Routes) != 1 {
			t.Errorf("%q: %v", document[:20], err)
		}
	}
}

// When events are sent again may be said in either mode, but not where nothing is.
func TestDeliveriesAreAccepted(t *testing.T) {
	t.Parallel()
	usable := routes.Route{Name: "a", URL: "https://b.example", Source: "s", Sink: routes.Sink{URI: "http://s.example"}}
	for name, delivery := range map[string]routes.Delivery{
		"nothing":                  {},
		"buffered":                 {Mode: routes.ModeBuffered},
		"buffered with a back-off": {Mode: routes.ModeBuffered, BackoffPolicy: routes.BackoffLinear, BackoffDelay: "PT10M"},
		"buffered with retries":    {Mode: routes.ModeBuffered, Retry: new(0), BackoffDelay: "PT1M30S", Timeout: "PT30S"},
		"direct":                   {Mode: routes.ModeDirect},
		"direct with retries":      {Mode: routes.ModeDirect, Retry: new(0), BackoffPolicy: routes.BackoffExponential, BackoffDelay: "PT600S"},
		"the receiver decides":     {BackoffPolicy: routes.BackoffExponential, BackoffDelay: "PT0.5S"},
	} {
		route := usable
		route.Delivery = delivery
		encoded, err := (&routes.Document{Routes: []routes.Route{route}}).Encode()
		if err != nil {
			t.Errorf("%s was refused: %v", name, err)
			continue
		}
		decoded, err := routes.Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]routes.Route{route}, decoded.Routes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNamedNumbersEarlierURLs(t *testing.T) {
	t.Parallel()
	usable := routes.Route{URL: "https://b.example", Source: "s", Sink: routes.Sink{URI: "http://s.example"}}
	for i, route := range routes.Named("shop/a", usable, usable, usable) {
		if want := []string{"shop/a", "shop/a~1", "shop/a~2"}[i]; route.Name != want || routes.Webhook(route.Name) != "shop/a" {
			t.Errorf("route %d has the name %s of the webhook %s, want %s", i, route.Name, routes.Webhook(route.Name), want)
		}
	}
	if usable.Name != "" || routes.SecretName("routes", 0) != "routes" || routes.SecretName("routes", 7) != "routes-7" {
		t.Error("a name is wrong")
	}
}

// What is written is JSON in a document of YAML. It must come back whatever a value holds.
func FuzzEncode(f *testing.F) {
	for _, value := range []string{
		"prod", "a \u007f\u0085\u009f\u2028\ufeff\ufffe b", "\x00\x1f\t\r\n", "<&>", "{}[],: #", "\xff", "\U0001F600", strings.Repeat("x", 5000), "- ", "'\"\\",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		name := strings.Map(func(c rune) rune {
			if unicode.IsControl(c) {
				return -1
			}
			return c
		}, "n"+value[:min(len(value), 100)])
		route := routes.Route{
			Name: strings.TrimSpace(name), URL: "https://b.example", Keys: []string{"k" + value}, Source: "s", Sink: routes.Sink{URI: "http://s.example"},
			CEOverrides: routes.Overrides{Extensions: map[string]string{"e": "v" + value}},
		}
		if pasted.KeyFault(route.Keys[0]) != "" { // refused
			route.Keys[0] = "k"
		}
		encoded, err := (&routes.Document{Routes: []routes.Route{route}}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := routes.Decode(encoded)
		if err != nil {
			t.Fatalf("%v of %q", err, encoded)
		}
		route.Name, route.Keys[0], route.CEOverrides.Extensions["e"] = valid(route.Name), valid(route.Keys[0]), valid(route.CEOverrides.Extensions["e"])
		if diff := cmp.Diff([]routes.Route{route}, decoded.Routes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// valid replaces each byte that is no UTF-8, as JSON does.
func valid(text string) string { return string([]rune(text)) }

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"PT10S": 10 * time.Second, "PT0.5S": 500 * time.Millisecond, "PT1H2M3S": time.Hour + 2*time.Minute + 3*time.Second, "PT5M": 5 * time.Minute,
	} {
		if got, err := routes.ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "PT", "10s", "P1D", "PT-1S", "PT1.S", "PT10", "pt10s", "PT1S1M"} {
		if got, err := routes.ParseDuration(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("routes: [{name: a}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		document, err := routes.Decode(data)
		if err != nil {
			return
		}
		encoded, err := document.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := routes.Decode(encoded); err != nil {
			t.Fatalf("what was accepted is refused when written again: %v", err)
		}
	})
}

// What the decoder quotes may be a secret that is in the wrong place.
func TestFaultsHaveNoValues(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"s3ntinel", "routes: [s3ntinel]", "routes: [{url: *s3ntinel}]", "routes: [{sink: {'http://s3ntinel:x@y/'}}]", "routes: [{sink: {'s3n\"tinel\"'}}]",
		"routes: [{keys: s3ntinel}]", "routes: [{keys: [{s3ntinel: 1}]}]", "routes: [{url: !!int s3ntinel}]", "routes: [{url: !!timestamp \"s3n`t`inel\\ns3ntinel\"}]",
		"routes: []\ns3ntinel: x\ns3ntinel: y", "routes: [{suspend: s3ntinel}]", "routes: [{? {s3ntinel: 1} : x}]", "routes: [{? [s3ntinel] : x}]",
		"%s3ntinel\n---\nroutes: []", "routes: [{url: @s3ntinel}]", "routes: [{url: 's3ntinel}]", "routes: [{url: \"s3ntinel\\q\"}]", "routes: [{<<: s3ntinel}]",
		"routes: [{name: a, url: s3ntinel, keys: [test-webhook], source: 's3n tinel', sink: {uri: s3ntinel, CACerts: s3ntinel}, delivery: {mode: s3ntinel, contentMode: s3ntinel, timeout: s3ntinel}}]",
		"routes: [{name: a, url: 'http://s3ntinel%zz', source: '%s3ntinel', sink: {uri: 'http://s3ntinel%zz'}, ceOverrides: {extensions: {S3ntinel: s3ntinel}}}]",
	} {
		_, err := routes.Decode([]byte(text))
		if err == nil || strings.Contains(err.Error(), "s3n") || strings.Contains(err.Error(), "tinel") {
			t.Errorf("%s: got error %v, want one without values", text, err)
		}
	}
	if _, err := routes.Decode([]byte("routes: [{uri: x}]")); err == nil || !strings.Contains(err.Error(), `unknown field "uri"`) {
		t.Errorf("the name of the field is missing: %v", err)
	}
}
