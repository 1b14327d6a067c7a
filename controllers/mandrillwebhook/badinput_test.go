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
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
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
	unseen  = "unseen"  // looked at again in a minute, because no watch sees the remedy, Stalled, a Warning
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

// createURLSecret creates a Secret that allows its values in URLs.
func (f *fixture) createURLSecret(name, token string) {
	f.t.Helper()
	f.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Annotations: map[string]string{v1alpha1.AnnotationAllowURLSecret: "true"}},
		Data:       map[string][]byte{"token": []byte(token)},
	})
}

// ownName is the metadata of a Secret that the operator has written.
func ownName(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": "mandrill-operator"}}
}

func unchanged(*v1alpha1.MandrillWebhook) {}

func TestBadInputIsReported(t *testing.T) {
	t.Parallel()
	const add = "webhooks/add"
	for _, test := range []struct {
		name              string
		object            func(*v1alpha1.MandrillWebhook) // default: unchanged
		prepare           func(*fixture)                  // default: nothing
		class             string
		condition, reason string
		message           string
		calls             []string // to Mandrill: there are no others
	}{
		{
			name:   "no Secret",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "nowhere" },
			class:  waits, condition: "Registered", reason: "APIKeySecretNotFound",
			message: `there is no Secret "nowhere" in this namespace: create it with the API key under "api-key"`,
		},
		{
			name:   "an API key in quotation marks",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "quoted" },
			prepare: func(f *fixture) {
				f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "quoted"}, Data: map[string][]byte{"api-key": []byte(`"` + apiKey + `"`)}})
			},
			class: stalls, condition: "Registered", reason: "InvalidAPIKey",
			message: `"api-key" of the Secret "quoted" is no API key: write the key alone, without quotation marks, spaces or other text`,
		},
		{
			name: "a Secret of the operator's as that of the API key",
			object: func(o *v1alpha1.MandrillWebhook) {
				o.Spec.APIKeySecretRef = v1alpha1.SecretKeyRef{Name: "other-signing-key", Key: "signing-key"}
			},
			prepare: func(f *fixture) {
				f.create(&corev1.Secret{ObjectMeta: ownName("other-signing-key"), Data: map[string][]byte{"signing-key": []byte("s3ntinel")}})
			},
			class: stalls, condition: "Registered", reason: "SecretNotAllowed",
			message: `the Secret "other-signing-key" is one that the operator writes and holds no API key: name the Secret with the API key in spec.apiKeySecretRef`,
		},
		{
			name:   "no key in the Secret",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Key = "token" },
			class:  stalls, condition: "Registered", reason: "APIKeyMissing",
			message: `the Secret "mandrill" has no "token", or it is empty: put the API key there`,
		},
		{
			name:    "wrong key",
			prepare: func(f *fixture) { f.account.Revoke(true) },
			class:   refused, condition: "Registered", reason: "InvalidAPIKey",
			message: `Mandrill does not accept the API key: put a valid one into the Secret "mandrill"`,
			calls:   []string{"webhooks/list"},
		},
		{
			name:   "no Service",
			object: ref("v1", "Service", "nowhere"),
			class:  waits, condition: "SinkProvided", reason: "SinkNotFound",
			message: `there is no Service "nowhere" in the namespace "shop": create it, or correct the reference`,
		},
		{
			name:   "no such kind",
			object: ref("example.com/v1", "Nothing", "x"),
			class:  waits, condition: "SinkProvided", reason: "SinkNotFound",
			message: "the cluster has no kind Nothing in example.com/v1: install it, or correct the reference",
		},
		{
			name:   "no such object",
			object: ref("example.com/v1", "Broker", "nowhere"),
			class:  waits, condition: "SinkProvided", reason: "SinkNotFound",
			message: `there is no Broker "nowhere" in the namespace "shop"`,
		},
		{
			name:   "apiVersion that is none",
			object: ref("a/b/c", "Broker", "x"),
			class:  stalls, condition: "SinkProvided", reason: "SinkNotFound",
			message: `apiVersion "a/b/c" is not of the form group/version`,
		},
		{
			name:   "not addressable",
			object: ref("v1", "ConfigMap", "settings"),
			prepare: func(f *fixture) {
				f.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "settings"}})
			},
			class: waits, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: `the ConfigMap "settings" has no URL in status.address.url (yet)`,
		},
		{
			name:    "address that is no URL",
			object:  ref("example.com/v1", "Broker", "odd"),
			prepare: func(f *fixture) { f.create(broker("odd", map[string]any{"url": "not a url"})) },
			class:   waits, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: "has no URL in status.address.url",
		},
		{
			name:   "CACerts of nothing",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.CACerts = "foo" },
			class:  stalls, condition: "SinkProvided", reason: "SinkCertificateInvalid",
			message: "the sink's CACerts hold no certificate: put PEM there, or leave it out",
		},
		{
			name:   "a kind that the operator may not read",
			object: ref("example.com/v1", "Vault", "x"),
			prepare: func(f *fixture) {
				f.fault = func(_ string, object client.Object) error {
					if object.GetObjectKind().GroupVersionKind().Kind == "Vault" {
						return apierrors.NewForbidden(schema.GroupResource{Resource: "vaults"}, "x", nil)
					}
					return nil
				}
			},
			class: waits, condition: "SinkProvided", reason: "SinkNotAllowed",
			message: "the operator may not read the kind Vault of example.com/v1: name a sink that receives events",
		},
		{
			name:   "a uri that leads elsewhere",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.URI = "//169.254.169.254/x" },
			class:  stalls, condition: "SinkProvided", reason: "SinkNotAllowed",
			message: "sink.uri leads away from the address of sink.ref",
		},
		{
			name:   "audience",
			object: ref("example.com/v1", "Broker", "oidc"),
			prepare: func(f *fixture) {
				f.create(broker("oidc", map[string]any{"url": "http://x.example", "audience": "a"}))
			},
			class: unseen, condition: "SinkProvided", reason: "SinkUnsupported",
			message: `the sink asks for an OIDC token for the audience "a": have the receiver run with --oidc-token and the operator with --sink-audiences for it, or name a sink that asks for none`,
		},
		{
			name:   "another namespace",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.Ref.Namespace = "other" },
			class:  stalls, condition: "SinkProvided", reason: "SinkNotAllowed",
			message: `the sink is in the namespace "other": name one in this namespace, or have the operator run with --allow-cross-namespace-sinks`,
		},
		{
			name:    "a Service of many ports",
			object:  ref("v1", "Service", "many"),
			prepare: func(f *fixture) { f.create(service("many", 81, 82)) },
			class:   stalls, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: "has 2 ports and none is 80: write the address as sink.uri, such as http://many.shop.svc.cluster.local:8080/",
		},
		{
			name:    "no URL",
			prepare: func(f *fixture) { f.configure(func(o *mandrillwebhook.Options) { o.PublicURL = "" }) },
			class:   stalls, condition: "ReceiverReady", reason: "URLMissing",
			message: "set spec.url, or run the operator with --public-url",
		},
		{
			name:   "a kind in lower case",
			object: ref("v1", "service", "consumer"),
			class:  stalls, condition: "SinkProvided", reason: "SinkNotFound",
			message: `sink.ref: a kind begins with a capital letter: write kind: Service instead of service`,
		},
		{
			name:   "a Service of a group",
			object: ref("core/v1", "Service", "consumer"),
			class:  stalls, condition: "SinkProvided", reason: "SinkNotFound",
			message: `sink.ref: Services are in apiVersion v1: write apiVersion: v1 instead of core/v1`,
		},
		{
			name:   "a workload",
			object: ref("apps/v1", "Deployment", "consumer"),
			class:  stalls, condition: "SinkProvided", reason: "SinkNotFound",
			message: `sink.ref: the kind Deployment does not receive events: name the Service that leads to it, with apiVersion: v1 and kind: Service`,
		},
		{
			name:   "a Service without ports",
			object: ref("v1", "Service", "bare"),
			prepare: func(f *fixture) {
				f.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bare"}, Spec: corev1.ServiceSpec{ClusterIP: "None"}})
			},
			class: stalls, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: `the Service "bare" has no TCP port: add the port of the consumer to it, or write the address as sink.uri, such as http://bare.shop.svc.cluster.local:8080/`,
		},
		{
			name:   "a Service of UDP",
			object: ref("v1", "Service", "bare"),
			prepare: func(f *fixture) {
				f.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bare"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolUDP}}}})
			},
			class: stalls, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: `the Service "bare" has no TCP port`,
		},
		{
			name:   "a Service of HTTPS",
			object: ref("v1", "Service", "bare"),
			prepare: func(f *fixture) {
				f.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bare"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}})
			},
			class: stalls, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: `the Service "bare" takes HTTPS at its port 443: write the address as sink.uri, such as https://bare.shop.svc.cluster.local:443/`,
		},
		{
			name:   "a headless Service with a named port",
			object: ref("v1", "Service", "bare"),
			prepare: func(f *fixture) {
				f.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bare"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}}})
			},
			class: stalls, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: `the Service "bare" is headless, and its port 80 is one of the pods by name, "http": write the address with its number as sink.uri, such as http://bare.shop.svc.cluster.local:8080/`,
		},
		{
			name:   "a Service that is another name",
			object: ref("v1", "Service", "bare"),
			prepare: func(f *fixture) {
				f.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bare"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "sink.example"}})
			},
			class: stalls, condition: "SinkProvided", reason: "SinkNotAddressable",
			message: `the Service "bare" is another name for the host sink.example: write the address as sink.uri, such as https://sink.example/`,
		},
		{
			name:   "no Secret for the URL",
			object: urlSecret("nowhere"),
			class:  waits, condition: "ReceiverReady", reason: "URLSecretNotFound",
			message: `there is no Secret "nowhere" in this namespace: create it with the secret part of the URL under "token"`,
		},
		{
			name:    "nothing in the URL's Secret",
			object:  urlSecret("hook"),
			prepare: func(f *fixture) { f.createURLSecret("hook", " \n") },
			class:   stalls, condition: "ReceiverReady", reason: "URLSecretMissing",
			message: `the Secret "hook" has no "token", or it is empty`,
		},
		{
			name:   "a Secret for the URL that does not allow it",
			object: urlSecret("database"),
			prepare: func(f *fixture) {
				f.create(&corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "database", Annotations: map[string]string{v1alpha1.AnnotationAllowURLSecret: "false"}},
					Data:       map[string][]byte{"token": []byte("s3ntinel")},
				})
			},
			class: stalls, condition: "ReceiverReady", reason: "SecretNotAllowed",
			message: `the Secret "database" does not allow its values in a URL: if it is meant for that, add the annotation mandrill-operator.io/allow-url-secret: "true" to it`,
		},
		{
			name:   "a Secret of the operator's in the URL",
			object: urlSecret("other-signing-key"),
			prepare: func(f *fixture) {
				metadata := ownName("other-signing-key")
				metadata.Annotations = map[string]string{v1alpha1.AnnotationAllowURLSecret: "true"}
				f.create(&corev1.Secret{ObjectMeta: metadata, Data: map[string][]byte{"token": []byte("s3ntinel")}})
			},
			class: stalls, condition: "ReceiverReady", reason: "SecretNotAllowed",
			message: `the Secret "other-signing-key" is one that the operator writes: name one of your own in spec.urlSecretRef`,
		},
		{
			name:    "no receiver",
			prepare: func(f *fixture) { f.receiver.Close() },
			class:   waits, condition: "ReceiverReady", reason: "RouteNotServed",
			message: "/mandrill/shop/transactional yet (",
		},
		{
			name:    "a receiver that does not know the URL",
			prepare: func(f *fixture) { f.receiver.Config.Handler = http.NotFoundHandler() },
			class:   waits, condition: "ReceiverReady", reason: "RouteNotServed",
			message: "it answered HEAD with status 404",
		},
		{
			name:   "a URL that Mandrill cannot reach",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = "http://user:s3ntinel@127.0.0.1:1/hook" },
			class:  retries, condition: "Registered", reason: "URLCheckFailed",
			message: "check DNS, ingress and certificate of http://hidden@127.0.0.1:1/hook",
			calls:   []string{"webhooks/list", add},
		},
		{
			name:   "an event that Mandrill refuses",
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.Events = []v1alpha1.EventName{"sent"} },
			class:  refused, condition: "Registered", reason: "Refused",
			message: "valid event: sent",
			calls:   []string{"webhooks/list", add},
		},
		{
			name: "no paid plan",
			prepare: func(f *fixture) {
				payment := mandrilltest.Fault{Status: 402, Name: "PaymentRequired", Code: 10, Message: "The requested feature requires payment."}
				f.emulator.Fail(add, payment, payment)
			},
			class: refused, condition: "Registered", reason: "Refused",
			message: "PaymentRequired: The requested feature requires payment.",
			calls:   []string{"webhooks/list", add},
		},
		{
			name:    "a proxy that refuses",
			prepare: func(f *fixture) { f.emulator.Fail("*", mandrilltest.Fault{Status: 403}) },
			class:   retries, condition: "Registered", reason: "Retrying",
			message: "HTTP status 403 without an error that Mandrill would send",
			calls:   []string{"webhooks/list"},
		},
		{
			name:    "Mandrill down",
			prepare: func(f *fixture) { f.emulator.Fail("*", mandrilltest.Fault{Status: 502}) },
			class:   retries, condition: "Registered", reason: "Retrying",
			message: "listing webhooks: webhooks/list: HTTP status 502",
			calls:   []string{"webhooks/list"},
		},
		{
			name: "rate limit",
			prepare: func(f *fixture) {
				f.emulator.Fail(add, mandrilltest.Fault{Status: 429, Name: "RequestLimitExceeded", Code: 429, Message: "slow down"})
			},
			class: retries, condition: "Registered", reason: "Retrying",
			message: "slow down",
			calls:   []string{"webhooks/list", add},
		},
		{
			name: "a Secret of that name",
			prepare: func(f *fixture) {
				f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "transactional-signing-key"}, Data: map[string][]byte{"signing-key": []byte("theirs")}})
			},
			class: stalls, condition: "SigningKeyStored", reason: "SecretConflict",
			message: `the Secret "transactional-signing-key" exists and is not this object's: delete or rename it`,
		},
		{
			name: "no room for another route",
			prepare: func(f *fixture) {
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
						f.t.Fatal(err)
					}
					room = corev1.MaxSecretSize - len(encoded)
				}
				for number := range routes.MaxSecrets {
					for i := range document.Routes {
						f.create(&v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("%05d", number), Name: strconv.Itoa(i)}})
					}
					other := bytes.ReplaceAll(encoded, []byte(`"name":"other/`), fmt.Appendf(nil, `"name":"%05d/`, number))
					f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: routes.SecretName("routes", number)}, Data: map[string][]byte{routes.Key: other}})
				}
			},
			class: unseen, condition: "ReceiverReady", reason: "RoutesFull",
			message: "the Secrets system/routes to routes-7 have no room for another route",
		},
		{
			name: "an API server that does not answer",
			prepare: func(f *fixture) {
				f.fault = func(verb string, _ client.Object) error {
					if verb == "apply" {
						return errors.New("no answer")
					}
					return nil
				}
			},
			class: retries, condition: "ReceiverReady", reason: "Retrying",
			message: "writing routes: no answer",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			if test.reason == "URLCheckFailed" { // the operator reaches the receiver inside the cluster
				f.configure(func(o *mandrillwebhook.Options) { o.ReceiverURL = f.receiver.URL })
			}
			if test.prepare != nil {
				test.prepare(f)
			}
			if test.object == nil {
				test.object = unchanged
			}
			f.apply(test.object)
			result, err := f.reconcile()
			f.assert(test.condition, "False", test.reason, test.message)
			f.assert("Ready", "False", test.reason, test.message)
			if got := f.emulator.Calls(); !slices.Equal(got, test.calls) {
				t.Errorf("calls to Mandrill are %v, want %v", got, test.calls)
			}
			f.assertClass(test.class, test.reason, result, err)
			if n := len(f.account.Webhooks()); n > 0 {
				t.Errorf("%d webhooks were made", n)
			}
			if got := f.get().Status.ObservedGeneration; got != 1 {
				t.Errorf("observedGeneration is %d", got)
			}
		})
	}
}

func (f *fixture) assertClass(class, reason string, result reconcile.Result, err error) {
	f.t.Helper()
	f.fault = nil
	terminal := errors.Is(err, reconcile.TerminalError(nil))
	warnings := f.events()
	switch class {
	case waits:
		if err != nil || result.RequeueAfter <= 0 || len(warnings) > 0 {
			f.t.Errorf("got %v, error %v and Events %q; want another look and no Event", result, err, warnings)
		}
		f.assert("Reconciling", "True", reason, "")
	case stalls:
		if !terminal || len(warnings) != 1 || !strings.Contains(warnings[0], "Warning "+reason) {
			f.t.Errorf("got error %v and Events %q; want a terminal error and a Warning", err, warnings)
		}
		f.assert("Stalled", "True", reason, "")
	case refused, unseen:
		if err != nil || result.RequeueAfter != map[string]time.Duration{refused: 30 * time.Minute, unseen: time.Minute}[class] || len(warnings) != 1 || !strings.Contains(warnings[0], "Warning "+reason) {
			f.t.Errorf("got %v, error %v and Events %q; want another look later and a Warning", result, err, warnings)
		}
		f.assert("Stalled", "True", reason, "")
	case retries:
		if err == nil || terminal || len(warnings) != 1 || !strings.Contains(warnings[0], "Warning "+reason) {
			f.t.Errorf("got error %v and Events %q; want an error and one Warning", err, warnings)
		}
		f.assert("Reconciling", "True", reason, "")
	}
	if err != nil && strings.Contains(err.Error(), "s3ntinel") {
		f.t.Errorf("the error holds a secret: %v", err)
	}
	// the same again makes no noise
	if class == stalls {
		if _, again := f.reconcile(); again == nil {
			f.t.Error("a second reconcile succeeded")
		}
		if warnings := f.events(); len(warnings) > 0 {
			f.t.Errorf("a second reconcile made Events %q", warnings)
		}
	}
}

// A correction is picked up, and kstatus's conditions are removed.
func TestCorrectedInputIsPickedUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(ref("v1", "Service", "late"))
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("Registered", "Unknown", "Progressing", "")
	f.create(service("late", 8080))
	f.account.Revoke(true)
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("Stalled", "True", "InvalidAPIKey", "")
	f.account.Revoke(false)
	f.advance(time.Minute)
	webhook := f.mustReconcile()
	if webhook.Status.SinkURI != "http://late.shop.svc.cluster.local:8080" {
		t.Errorf("sink is %s", webhook.Status.SinkURI)
	}
	for _, condition := range webhook.Status.Conditions {
		if condition.Type == "Stalled" || condition.Type == "Reconciling" {
			t.Errorf("%s stayed", condition.Type)
		}
	}
}
