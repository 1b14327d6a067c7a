package mandrillwebhook_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// What a class of error means for the queue and for kstatus.
const (
	waits   = "waits"   // looked at again after a while, Reconciling, no Event
	stalls  = "stalls"  // not before something changes, Stalled, a Warning
	retries = "retries" // with back-off, Reconciling, a Warning
	refused = "refused" // by Mandrill: in half an hour or when something changes, Stalled, a Warning
)

func ref(apiVersion, kind, name string) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: apiVersion, Kind: kind, Name: name}}
	}
}

func urlSecret(name string) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) {
		o.Spec.URLSecretRef = &v1alpha1.URLSecretRef{Name: name, Key: "token", Parameter: "secret"}
	}
}

func unchanged(*v1alpha1.MandrillWebhook) {}

func TestBadInput(t *testing.T) {
	t.Parallel()
	const add = "webhooks/add"
	for _, test := range []struct {
		name              string
		object            func(*v1alpha1.MandrillWebhook)
		prepare           func(*world)
		class             string
		condition, reason string
		message           string
		calls             []string // to Mandrill: nothing else happens
	}{
		{"no Secret", func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "nowhere" }, nil,
			waits, "Registered", "APIKeySecretNotFound", `there is no Secret "nowhere" in this namespace: create it with the API key under "api-key"`, nil},
		{"no key in the Secret", func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Key = "token" }, nil,
			stalls, "Registered", "APIKeyMissing", `the Secret "mandrill" has no "token", or it is empty: put the API key there`, nil},
		{"wrong key", unchanged, func(w *world) { w.account.Revoke(true) },
			refused, "Registered", "InvalidAPIKey", `Mandrill does not accept the API key: put a valid one into the Secret "mandrill"`, []string{"webhooks/list"}},
		{"no Service", ref("v1", "Service", "nowhere"), nil,
			waits, "SinkProvided", "SinkNotFound", `there is no Service "nowhere" in the namespace "shop": create it, or correct the reference`, nil},
		{"no such kind", ref("example.com/v1", "Nothing", "x"), nil,
			waits, "SinkProvided", "SinkNotFound", "the cluster has no kind Nothing in example.com/v1: install it, or correct the reference", nil},
		{"no such object", ref("example.com/v1", "Broker", "nowhere"), nil,
			waits, "SinkProvided", "SinkNotFound", `there is no Broker "nowhere" in the namespace "shop"`, nil},
		{"apiVersion that is none", ref("a/b/c", "Broker", "x"), nil,
			stalls, "SinkProvided", "SinkNotFound", `apiVersion "a/b/c" is not of the form group/version`, nil},
		{"not addressable", ref("v1", "ConfigMap", "settings"), func(w *world) {
			w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "settings"}})
		}, waits, "SinkProvided", "SinkNotAddressable", `the ConfigMap "settings" has no URL in status.address.url (yet)`, nil},
		{"address that is no URL", ref("example.com/v1", "Broker", "odd"), func(w *world) { w.create(broker("odd", map[string]any{"url": "not a url"})) },
			waits, "SinkProvided", "SinkNotAddressable", "has no URL in status.address.url", nil},
		{"CACerts of nothing", func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.CACerts = "foo" }, nil,
			stalls, "SinkProvided", "SinkCertificateInvalid", "the sink's CACerts hold no certificate: put PEM there, or leave it out", nil},
		{"a kind that the operator may not read", ref("apps/v1", "Deployment", "x"), func(w *world) {
			w.fault = func(_ string, object client.Object) error {
				if object.GetObjectKind().GroupVersionKind().Kind == "Deployment" {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "deployments"}, "x", nil)
				}
				return nil
			}
		}, waits, "SinkProvided", "SinkNotAllowed", "the operator may not read the kind Deployment of apps/v1: name a sink that receives events", nil},
		{"a uri that leads elsewhere", func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.URI = "//169.254.169.254/x" }, nil,
			stalls, "SinkProvided", "SinkNotAllowed", "sink.uri leads away from the address of sink.ref", nil},
		{"audience", ref("example.com/v1", "Broker", "oidc"), func(w *world) {
			w.create(broker("oidc", map[string]any{"url": "http://x.example", "audience": "a"}))
		}, stalls, "SinkProvided", "SinkUnsupported", `the sink asks for an OIDC token for the audience "a": have the receiver run with --oidc-token and the operator with --sink-audiences for it, or name a sink that asks for none`, nil},
		{"another namespace", func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.Ref.Namespace = "other" }, nil,
			stalls, "SinkProvided", "SinkNotAllowed", `the sink is in the namespace "other": name one in this namespace, or have the operator run with --allow-cross-namespace-sinks`, nil},
		{"a Service of many ports", ref("v1", "Service", "many"), func(w *world) { w.create(service("many", 81, 82)) },
			stalls, "SinkProvided", "SinkNotAddressable", "has 2 ports and none is 80: write the address as sink.uri, such as http://many.shop.svc.cluster.local:8080/", nil},
		{"no URL", unchanged, func(w *world) { w.configure(func(o *mandrillwebhook.Options) { o.PublicURL = "" }) },
			stalls, "ReceiverReady", "URLMissing", "set spec.url, or run the operator with --public-url", nil},
		{"no Secret for the URL", urlSecret("nowhere"), nil,
			waits, "ReceiverReady", "URLSecretNotFound", `there is no Secret "nowhere" in this namespace: create it with the secret part of the URL under "token"`, nil},
		{"nothing in the URL's Secret", urlSecret("hook"), func(w *world) {
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "hook"}, Data: map[string][]byte{"token": []byte(" \n")}})
		}, stalls, "ReceiverReady", "URLSecretMissing", `the Secret "hook" has no "token", or it is empty`, nil},
		{"no receiver", unchanged, func(w *world) { w.receiver.Close() },
			waits, "ReceiverReady", "RouteNotServed", "/mandrill/shop/transactional yet (", nil},
		{"a receiver that does not know the URL", unchanged, func(w *world) { w.receiver.Config.Handler = http.NotFoundHandler() },
			waits, "ReceiverReady", "RouteNotServed", "it answered HEAD with status 404", nil},
		{"a URL that Mandrill cannot reach", func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = "http://user:s3ntinel@127.0.0.1:1/hook" }, nil,
			retries, "Registered", "URLCheckFailed", "check DNS, ingress and certificate of http://hidden@127.0.0.1:1/hook", []string{"webhooks/list", add}},
		{"an event that Mandrill refuses", func(o *v1alpha1.MandrillWebhook) { o.Spec.Events = []v1alpha1.EventName{"sent"} }, nil,
			refused, "Registered", "Refused", "valid event: sent", []string{"webhooks/list", add}},
		{"no paid plan", unchanged, func(w *world) {
			payment := mandrilltest.Fault{Status: 402, Name: "PaymentRequired", Code: 10, Message: "The requested feature requires payment."}
			w.emulator.Fail(add, payment, payment)
		}, refused, "Registered", "Refused", "PaymentRequired: The requested feature requires payment.", []string{"webhooks/list", add}},
		{"a proxy that refuses", unchanged, func(w *world) { w.emulator.Fail("*", mandrilltest.Fault{Status: 403}) },
			retries, "Registered", "Retrying", "HTTP status 403 without an error that Mandrill would send", []string{"webhooks/list"}},
		{"Mandrill down", unchanged, func(w *world) { w.emulator.Fail("*", mandrilltest.Fault{Status: 502}) },
			retries, "Registered", "Retrying", "listing webhooks: webhooks/list: HTTP status 502", []string{"webhooks/list"}},
		{"rate limit", unchanged, func(w *world) {
			w.emulator.Fail(add, mandrilltest.Fault{Status: 429, Name: "RequestLimitExceeded", Code: 429, Message: "slow down"})
		}, retries, "Registered", "Retrying", "slow down", []string{"webhooks/list", add}},
		{"a Secret of that name", unchanged, func(w *world) {
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "transactional-signing-key"}, Data: map[string][]byte{"signing-key": []byte("theirs")}})
		}, stalls, "SigningKeyStored", "SecretConflict", `the Secret "transactional-signing-key" exists and is not this object's: delete or rename it`, nil},
		{"no room for another route", unchanged, func(w *world) {
			document := &routes.Document{}
			for i := range 100 {
				document.Routes = append(document.Routes, routes.Route{
					Name: fmt.Sprint("other/", i), URL: fmt.Sprint("https://h.example/", i, "/", strings.Repeat("x", 10_300)), Source: "/s", Sink: routes.Sink{URI: "http://s.example"},
				})
			}
			var encoded []byte
			for room := 0; encoded == nil || room > 100; { // fill it up
				document.Routes[0].URL += strings.Repeat("x", room/2)
				var err error
				if encoded, err = document.Encode(); err != nil {
					w.t.Fatal(err)
				}
				room = corev1.MaxSecretSize - len(encoded)
			}
			for number := range routes.MaxSecrets {
				for i := range document.Routes {
					w.create(&v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("%05d", number), Name: strconv.Itoa(i)}})
				}
				other := bytes.ReplaceAll(encoded, []byte(`"name":"other/`), fmt.Appendf(nil, `"name":"%05d/`, number))
				w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: routes.SecretName("routes", number)}, Data: map[string][]byte{routes.Key: other}})
			}
		}, refused, "ReceiverReady", "RoutesFull", "the Secrets system/routes to routes-7 have no room for another route", nil},
		{"an API server that does not answer", unchanged, func(w *world) {
			w.fault = func(verb string, _ client.Object) error {
				if verb == "apply" {
					return errors.New("no answer")
				}
				return nil
			}
		}, retries, "ReceiverReady", "Retrying", "writing routes: no answer", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.reason == "URLCheckFailed" { // the operator reaches the receiver inside the cluster
				w.configure(func(o *mandrillwebhook.Options) { o.ReceiverURL = w.receiver.URL })
			}
			if test.prepare != nil {
				test.prepare(w)
			}
			w.apply(test.object)
			result, err := w.reconcile()
			w.assert(test.condition, "False", test.reason, test.message)
			w.assert("Ready", "False", test.reason, test.message)
			if got := w.emulator.Calls(); !slices.Equal(got, test.calls) {
				t.Errorf("calls to Mandrill are %v, want %v", got, test.calls)
			}
			w.assertClass(test.class, test.reason, result, err)
			if n := len(w.account.Webhooks()); n > 0 {
				t.Errorf("%d webhooks were made", n)
			}
			if got := w.get().Status.ObservedGeneration; got != 1 {
				t.Errorf("observedGeneration is %d", got)
			}
		})
	}
}

func broker(name string, address map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Broker", "metadata": map[string]any{"namespace": "shop", "name": name},
		"status": map[string]any{"address": address},
	}}
}

func (w *world) assertClass(class, reason string, result reconcile.Result, err error) {
	w.t.Helper()
	w.fault = nil
	terminal := errors.Is(err, reconcile.TerminalError(nil))
	warnings := w.events()
	switch class {
	case waits:
		if err != nil || result.RequeueAfter <= 0 || len(warnings) > 0 {
			w.t.Errorf("got %v, error %v and Events %q; want another look and no Event", result, err, warnings)
		}
		w.assert("Reconciling", "True", reason, "")
	case stalls:
		if !terminal || len(warnings) != 1 || !strings.Contains(warnings[0], "Warning "+reason) {
			w.t.Errorf("got error %v and Events %q; want a terminal error and a Warning", err, warnings)
		}
		w.assert("Stalled", "True", reason, "")
	case refused:
		if err != nil || result.RequeueAfter != 30*time.Minute || len(warnings) != 1 || !strings.Contains(warnings[0], "Warning "+reason) {
			w.t.Errorf("got %v, error %v and Events %q; want another look in half an hour and a Warning", result, err, warnings)
		}
		w.assert("Stalled", "True", reason, "")
	case retries:
		if err == nil || terminal || len(warnings) != 1 || !strings.Contains(warnings[0], "Warning "+reason) {
			w.t.Errorf("got error %v and Events %q; want an error and one Warning", err, warnings)
		}
		w.assert("Reconciling", "True", reason, "")
	}
	if err != nil && strings.Contains(err.Error(), "s3ntinel") {
		w.t.Errorf("the error holds a secret: %v", err)
	}
	// the same again makes no noise
	if class == stalls {
		if _, again := w.reconcile(); again == nil {
			w.t.Error("a second reconcile succeeded")
		}
		if warnings := w.events(); len(warnings) > 0 {
			w.t.Errorf("a second reconcile made Events %q", warnings)
		}
	}
}

// What is put right is picked up, and kstatus's conditions go.
func TestRecovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(ref("v1", "Service", "late"))
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.assert("Registered", "Unknown", "Progressing", "")
	w.create(service("late", 8080))
	w.account.Revoke(true)
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.assert("Stalled", "True", "InvalidAPIKey", "")
	w.account.Revoke(false)
	w.advance(time.Minute)
	webhook := w.mustReconcile()
	if webhook.Status.SinkURI != "http://late.shop.svc.cluster.local:8080" {
		t.Errorf("sink is %s", webhook.Status.SinkURI)
	}
	for _, condition := range webhook.Status.Conditions {
		if condition.Type == "Stalled" || condition.Type == "Reconciling" {
			t.Errorf("%s stayed", condition.Type)
		}
	}
}

func TestSinks(t *testing.T) {
	t.Parallel()
	ourCerts := certificate(t)
	theirCerts := ourCerts + certificate(t)
	for name, test := range map[string]struct {
		sink          v1alpha1.Destination
		want, wantCAs string
	}{
		"Service":            {v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "consumer"}}, "http://consumer.shop.svc.example.org", ""},
		"Service and path":   {v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "consumer", Namespace: "shop"}, URI: "/events?a=b"}, "http://consumer.shop.svc.example.org/events?a=b", ""},
		"Addressable":        {v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "example.com/v1", Kind: "Broker", Name: "default"}}, "https://broker.example/shop/default", theirCerts},
		"relative path":      {v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "example.com/v1", Kind: "Broker", Name: "default"}, URI: "extra"}, "https://broker.example/shop/extra", theirCerts},
		"CACerts of our own": {v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "example.com/v1", Kind: "Broker", Name: "default"}, CACerts: ourCerts}, "https://broker.example/shop/default", ourCerts},
		"absolute":           {v1alpha1.Destination{URI: "http://sink.example/x"}, "http://sink.example/x", ""},
	} {
		w := newWorld(t, func(o *mandrillwebhook.Options) { o.ClusterDomain = "example.org" })
		w.create(broker("default", map[string]any{"url": "https://broker.example/shop/default", "CACerts": theirCerts}))
		w.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = test.sink })
		status := w.mustReconcile().Status
		result, err := w.reconcile()
		if want := test.sink.Ref != nil && test.sink.Ref.Kind == "Broker"; err != nil || want != (result.RequeueAfter == time.Minute) {
			t.Errorf("%s: got %v, %v; an address that is not watched must be looked at again", name, result, err)
		}
		if status.SinkURI != test.want || status.SinkCACerts != test.wantCAs || w.routes()[0].Sink.URI != test.want || w.routes()[0].Sink.CACerts != test.wantCAs {
			t.Errorf("%s: got %s with %q, want %s with %q", name, status.SinkURI, status.SinkCACerts, test.want, test.wantCAs)
		}
	}
}

// A token is sent for an audience that the installation has one for, or that a sidecar's pod has.
func TestAudience(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		allowed []string
		change  func(*v1alpha1.MandrillWebhook)
		want    string
	}{
		"allowed":     {[]string{"x", "broker"}, ref("example.com/v1", "Broker", "oidc"), "broker"},
		"not allowed": {[]string{"x"}, ref("example.com/v1", "Broker", "oidc"), ""},
		"sidecar": {nil, func(o *v1alpha1.MandrillWebhook) {
			asSidecar("http://x.example")(o)
			ref("example.com/v1", "Broker", "oidc")(o)
		}, "broker"},
		"sidecar, its own": {nil, func(o *v1alpha1.MandrillWebhook) { asSidecar("http://x.example")(o); o.Spec.Sink.Audience = "own" }, "own"},
	} {
		w := newWorld(t, func(o *mandrillwebhook.Options) { o.SinkAudiences = test.allowed })
		w.create(broker("oidc", map[string]any{"url": "http://b.example", "audience": "broker"}))
		w.apply(test.change)
		_, _ = w.reconcile()
		if got := w.get().Status.SinkAudience; got != test.want {
			t.Errorf("%s: the audience is %q, want %q\n%s", name, got, test.want, w.conditions())
		}
		if test.want == "broker" && test.allowed != nil && w.routes()[0].Sink.Audience != "broker" {
			t.Errorf("%s: the route is %+v", name, w.routes()[0])
		}
	}
}

// Of several addresses the first counts that can be used: the one that is meant to be used, if possible one without a
// token.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	address := func(url, audience string) map[string]any {
		fields := map[string]any{"name": "x", "url": url}
		if audience != "" {
			fields["audience"] = audience
		}
		return fields
	}
	for name, test := range map[string]struct {
		address   any
		addresses any
		want      string // "" when there is none
	}{
		"only several":      {nil, []any{address("https://a.example", ""), address("http://b.example", "")}, "https://a.example"},
		"both":              {address("http://one.example", ""), []any{address("https://a.example", "")}, "http://one.example"},
		"the first broken":  {address("ftp://one.example", ""), []any{"nonsense", address("", ""), address("https://a.example", "")}, "https://a.example"},
		"the first by OIDC": {address("https://one.example", "who"), []any{address("https://one.example", "who"), address("http://a.example", "")}, "http://a.example"},
		"none":              {nil, []any{}, ""},
		"other types":       {"http://one.example", map[string]any{"url": "http://a.example"}, ""},
	} {
		w := newWorld(t)
		sink := broker("default", nil)
		sink.Object["status"] = map[string]any{"address": test.address, "addresses": test.addresses}
		w.create(sink)
		w.apply(ref("example.com/v1", "Broker", "default"))
		if _, err := w.reconcile(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := w.get().Status.SinkURI; got != test.want {
			t.Errorf("%s: the sink is %q, want %q", name, got, test.want)
		}
	}
}

// What is on the receiver's own machine, or a metadata service, is no sink unless the installation says so.
func TestSinkHosts(t *testing.T) {
	t.Parallel()
	for host, refused := range map[string]bool{
		"127.0.0.1:8080": true, "127.9.9.9": true, "[::1]:80": true, "localhost": true, "LocalHost.": true, "a.localhost": true, "169.254.169.254": true, "[fe80::1]": true,
		"[::ffff:127.0.0.1]": true, "0.0.0.0": true, "[::]": true, "metadata.google.internal": true, "[fd00:ec2::254]": true, "127.1": true, "2130706433": true, "0x7f.1": true,
		"sink.example": false, "10.0.0.1": false, "192.168.1.1:80": false, "[fd00::1]": false, "localhost.example": false, "1password.example": false,
	} {
		w := newWorld(t)
		w.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = v1alpha1.Destination{URI: "http://" + host + "/x"} })
		_, err := w.reconcile()
		if got := err != nil && strings.Contains(err.Error(), "have the operator run with --allow-sink-hosts="); got != refused {
			t.Errorf("%s: got %v, want refused %t", host, err, refused)
		}
	}
	w := newWorld(t, func(o *mandrillwebhook.Options) {
		o.AllowSinkHosts = []string{"127.0.0.1"}
		o.AllowCrossNamespaceSinks = true
	})
	w.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = v1alpha1.Destination{URI: "http://127.0.0.1:8080/x"} })
	w.mustReconcile()
	other := service("elsewhere", 80)
	other.Namespace = "other"
	w.create(other)
	w.edit(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "elsewhere", Namespace: "other"}}
	})
	if got := w.mustReconcile().Status.SinkURI; got != "http://elsewhere.other.svc.cluster.local" {
		t.Errorf("the sink is %s", got)
	}
}

// Of two objects with one URL the older keeps it; the younger neither registers nor, when it goes, deletes.
func TestURLConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(&v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "older", UID: "uid-0", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: w.receiver.URL + "/mandrill/shop/transactional"},
	})
	w.apply()
	result, err := w.reconcile()
	w.assert("ReceiverReady", "False", "URLConflict", "the MandrillWebhook shop/older has the same URL: change one of them")
	w.assertClass(stalls, "URLConflict", result, err)
	w.withoutProbe(func() { // the older one's webhook
		add := `{"key":"` + apiKey + `","url":"` + w.receiver.URL + `/mandrill/shop/transactional","events":["send"]}`
		request, requestErr := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/api/1.0/webhooks/add", strings.NewReader(add))
		if requestErr != nil {
			t.Fatal(requestErr)
		}
		w.emulator.ServeHTTP(discard{}, request)
	})
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := w.account.Webhooks(); len(got) != 1 {
		t.Errorf("Mandrill has %d webhooks, want the older one's", len(got))
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// Within a second the one that is registered keeps the URL, and two that took the same webhook are told apart.
func TestURLConflictWithinASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	twin := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a-twin", UID: "uid-0", Generation: 1, CreationTimestamp: metav1.NewTime(start)},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: w.get().Status.URL},
	}
	w.create(twin)
	w.mustReconcile()
	twin.Status.WebhookID, twin.Status.URL = w.get().Status.WebhookID, w.get().Status.URL
	if err := w.client.Status().Update(t.Context(), twin); err != nil {
		t.Fatal(err)
	}
	result, err := w.reconcile()
	w.assert("ReceiverReady", "False", "URLConflict", "shop/a-twin")
	if w.get().Status.WebhookID != 0 {
		t.Error("the webhook is still claimed by both")
	}
	w.assert("Stalled", "True", "URLConflict", "")
	if err == nil || result.RequeueAfter != 0 {
		t.Errorf("got %v, %v", result, err)
	}
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := w.account.Webhooks(); len(got) != 1 {
		t.Errorf("Mandrill has %d webhooks, want the twin's", len(got))
	}
}

// Userinfo is registered, demanded and stored, and shown nowhere.
func TestSecretURL(t *testing.T) {
	t.Parallel()
	for _, userinfo := range []string{"robot:s3ntinel", "ana@shop.example:s3ntinel", "robot:s3ntinel%21", "s3ntinel"} {
		w := newWorld(t)
		url := strings.Replace(w.receiver.URL, "://", "://"+userinfo+"@", 1) + "/hook?x=1"
		w.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url })
		// Mandrill may quote the URL in a way of its own
		escaped := strings.ReplaceAll(strings.ReplaceAll(url, "/", `\/`), "%21", "!")
		w.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: `Validation error: {"url":"Could not verify ` + escaped + `"}`})
		if _, err := w.reconcile(); err == nil || strings.Contains(err.Error(), "s3ntinel") {
			t.Errorf("%s: error is %v", userinfo, err)
		}
		w.events()
		webhook := w.mustReconcile()
		if got := w.account.Webhooks(); len(got) != 1 || got[0].URL != url || w.routes()[0].URL != url {
			t.Errorf("%s: Mandrill has %+v", userinfo, got)
		}
		if want := strings.Replace(url, userinfo, "hidden", 1); webhook.Status.URL != want {
			t.Errorf("the status shows %s, want %s", webhook.Status.URL, want)
		}
		w.events()
	}
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = true })
	w.mustReconcile()
	if got := w.routes(); !got[0].Suspend || len(got[0].Keys) != 1 {
		t.Errorf("the route is %+v", got[0])
	}
	w.assert("Ready", "True", "Suspended", "as spec.suspend says")
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = false })
	w.mustReconcile()
	w.assert("Ready", "True", "Succeeded", "")
	if w.routes()[0].Suspend {
		t.Error("the route stayed suspended")
	}
}

// Mandrill's last error may be over: batches sent since then say so.
func TestDelivering(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	handler := w.receiver.Config.Handler
	emit := func(status int) {
		t.Helper()
		if status != http.StatusOK {
			w.receiver.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })
		} else {
			w.receiver.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		}
		if _, err := w.account.Emit("open"); err != nil {
			t.Fatal(err)
		}
		if err := w.emulator.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.receiver.Config.Handler = handler
		w.later().mustReconcile()
	}
	emit(200)
	w.assert("Delivering", "True", "Delivered", "")
	emit(503)
	w.assert("Delivering", "False", "LastAttemptFailed", "503")
	w.mustReconcile()
	w.assert("Delivering", "False", "LastAttemptFailed", "503")
	emit(200)
	w.assert("Delivering", "True", "Delivered", "")
	w.mustReconcile()
	w.assert("Delivering", "True", "Delivered", "")
}
