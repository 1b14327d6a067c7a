package routes_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestDecode(t *testing.T) {
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
	if diff := cmp.Diff(document, again); diff != "" {
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

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, replacement, want string }{
		"unknown field":          {"suspend:", "suspended:", "suspended"},
		"repeated field":         {"suspend: false", "suspend: false\n  suspend: true", "suspend"},
		"wrong type":             {"[s3cret-1, s3cret-2]", "7", "keys"},
		"no name":                {"shop/transactional\n", "\"\"\n", "route number 1: name is missing"},
		"relative url":           {"https://user:s3cret@hooks.example.com", "", "url must be an absolute"},
		"url of another scheme":  {"https://user", "ftp://user", "url must be an absolute"},
		"url with a fragment":    {"?secret=s3cret", "#s3cret", "fragment"},
		"empty key":              {"s3cret-1", `""`, "empty key"},
		"no source":              {"/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional", `""`, "source must be a URI reference"},
		"source with a space":    {"/apis/mandrill-operator.io/namespaces/shop", "/my shop", "source must be a URI reference"},
		"source with bad escape": {"/apis/mandrill-operator.io/namespaces/shop", "/%zz", "source must be a URI reference"},
		"the test key":           {"s3cret-1", "test-webhook", "the key that everybody knows"},
		"no sink":                {"http://broker-ingress.knative-eventing.svc.cluster.local/shop/default", "", "sink.uri"},
		"relative sink":          {"http://broker-ingress.knative-eventing.svc.cluster.local/", "/", "sink.uri"},
		"no routes":              {good, "{}", "the document has no routes; write routes: [] for none"},
		"nothing":                {good, "", "the document has no routes"},
		"CACerts of nothing":     {`CACerts: ""`, `CACerts: s3cret`, "sink.CACerts holds no PEM certificate"},
		"audience":               {`audience: ""`, `audience: "x"`, "audience is not available yet"},
		"buffered":               {"mode: Direct", "mode: Buffered", "Buffered is not available yet"},
		"mode nobody knows":      {"mode: Direct", "mode: Sometimes", "delivery.mode must be Direct"},
		"structured":             {"Binary", "Structured", "not available yet"},
		"timeout in Go's form":   {"PT10S", "10s", "PT10S"},
		"timeout of nothing":     {"PT10S", "PT0S", "above zero"},
		"timeout too long":       {"PT10S", "PT31S", "at most 30 seconds"},
		"extension in capitals":  {"env: prod", "Env: prod", "lower case"},
		"extension with a dash":  {"env: prod", "e-n: prod", "lower case"},
		"required attribute":     {"env: prod", "id: x", "cannot set id"},
		"extension empty":        {"env: prod", `env: ""`, "empty value"},
		"not YAML":               {"routes:", "routes: [", "decoding routes"},
		"the name used twice":    {good, good + strings.TrimPrefix(good, "\nroutes:\n"), "used twice"},
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

func TestReplace(t *testing.T) {
	t.Parallel()
	document := &routes.Document{}
	usable := routes.Route{URL: "https://b.example", Source: "s", Sink: routes.Sink{URI: "http://s.example"}}
	old := usable
	old.URL = "https://a.example"
	if !document.Replace("b", usable) || !document.Replace("a", usable, old) || document.Replace("a", usable, old) {
		t.Error("Replace does not tell whether the document changed")
	}
	var names []string
	for _, route := range document.Routes {
		names = append(names, route.Name+" "+route.URL)
	}
	if diff := cmp.Diff([]string{"b https://b.example", "a https://b.example", "a~1 https://a.example"}, names); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	encoded, err := document.Encode()
	if err != nil || strings.Index(string(encoded), "name: a") > strings.Index(string(encoded), "name: b") {
		t.Errorf("not in order of name: %s, %v", encoded, err)
	}
	again, err := routes.Decode(encoded)
	if err != nil || again.Replace("a", usable, old) || again.Replace("b", usable) {
		t.Errorf("what was written and read is not the same: %v", err)
	}
	if !document.Replace("a", usable) || len(document.Routes) != 2 || !document.Replace("a") || document.Replace("a") || len(document.Routes) != 1 {
		t.Errorf("routes are %+v", document.Routes)
	}
	if _, ok := document.Find("a"); ok {
		t.Error("a removed route was found")
	}
	if found, ok := document.Find("b"); !ok || found.URL != usable.URL {
		t.Errorf("found %+v", found)
	}
	unusable := &routes.Document{Routes: []routes.Route{{Name: "x"}}}
	if _, err := unusable.Encode(); err == nil {
		t.Error("a route that nobody can use was written")
	}
}

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
