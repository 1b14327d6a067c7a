package mandrillwebhook_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
)

func deadLetters(to v1alpha1.Destination) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) { o.Spec.Delivery = &v1alpha1.Delivery{DeadLetterSink: &to} }
}

func refTo(apiVersion, kind, name string) v1alpha1.Destination {
	return v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: apiVersion, Kind: kind, Name: name}}
}

// The form of the data reaches the route. A route without it is as before this field, which receivers of any age understand.
func TestPayloadReachesTheRoute(t *testing.T) {
	t.Parallel()
	for _, payload := range []v1alpha1.Payload{"", v1alpha1.PayloadRaw, v1alpha1.PayloadNormalized} {
		f := newFixture(t)
		f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Delivery = &v1alpha1.Delivery{Payload: payload} })
		f.mustReconcile()
		if diff := cmp.Diff(routes.Delivery{Payload: string(payload)}, f.routes()[0].Delivery); diff != "" {
			t.Errorf("delivery (-want +got):\n%s", diff)
		}
	}
}

// The spec's delivery reaches the route, with the address of the dead letter sink.
func TestDeliveryReachesTheRoute(t *testing.T) {
	t.Parallel()
	certs := certificate(t)
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.SinkAudiences = []string{"dead"} })
	f.create(broker("dead", map[string]any{"url": "https://dead.example/a", "CACerts": certs, "audience": "dead"}))
	f.apply(func(o *v1alpha1.MandrillWebhook) {
		sink := refTo("example.com/v1", "Broker", "dead")
		sink.URI = "b"
		o.Spec.Delivery = &v1alpha1.Delivery{
			ContentMode: "Batched", DataSchema: "Omit", Timeout: "PT5S", Retry: new(int32(3)), BackoffPolicy: "linear", BackoffDelay: "PT2S", DeadLetterSink: &sink,
		}
	})
	status := f.mustReconcile().Status
	want := routes.Delivery{
		ContentMode: "Batched", DataSchema: "Omit", Timeout: "PT5S", Retry: new(3), BackoffPolicy: "linear", BackoffDelay: "PT2S",
		DeadLetterSink: &routes.Sink{URI: "https://dead.example/b", CACerts: certs, Audience: "dead"},
	}
	if diff := cmp.Diff(want, f.routes()[0].Delivery); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
	if status.SinkURI != "http://consumer.shop.svc.cluster.local" || status.SinkAudience != "" {
		t.Errorf("the sink is %s, of the audience %q", status.SinkURI, status.SinkAudience)
	}
	if result, err := f.reconcile(); err != nil || result.RequeueAfter != time.Minute {
		t.Errorf("got %v, %v: an address that is not watched must be looked at again", result, err)
	}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Delivery = nil })
	f.mustReconcile()
	if diff := cmp.Diff(routes.Delivery{}, f.routes()[0].Delivery); diff != "" {
		t.Errorf("delivery after it was taken out (-want +got):\n%s", diff)
	}
}

// A dead letter sink is checked as a sink is, and the message says which of the two is meant.
func TestBadDeadLetterSinksAreReported(t *testing.T) {
	t.Parallel()
	elsewhere := refTo("v1", "Service", "consumer")
	elsewhere.Ref.Namespace = "other"
	const field = "delivery.deadLetterSink: "
	for name, test := range map[string]struct {
		sink                   v1alpha1.Destination
		class, reason, message string
	}{
		"no Service":        {refTo("v1", "Service", "nowhere"), waits, "SinkNotFound", field + `there is no Service "nowhere" in the namespace "shop"`},
		"no such kind":      {refTo("example.com/v1", "Nothing", "x"), waits, "SinkNotFound", field + "the cluster has no kind Nothing"},
		"not addressable":   {refTo("example.com/v1", "Broker", "odd"), waits, "SinkNotAddressable", field + `the Broker "odd" has no URL`},
		"another namespace": {elsewhere, stalls, "SinkNotAllowed", field + `the sink is in the namespace "other"`},
		"this machine":      {v1alpha1.Destination{URI: "http://127.0.0.1/"}, stalls, "SinkNotAllowed", field + "the sink's host 127.0.0.1 is loopback"},
		"CACerts":           {v1alpha1.Destination{URI: "http://dead.example", CACerts: "foo"}, stalls, "SinkCertificateInvalid", field + "the sink's CACerts hold no certificate"},
		"audience":          {v1alpha1.Destination{URI: "http://dead.example", Audience: "a"}, stalls, "SinkUnsupported", field + `the sink asks for an OIDC token for the audience "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.create(broker("odd", map[string]any{"url": "not a url"}))
			f.apply(deadLetters(test.sink))
			result, err := f.reconcile()
			f.assert("SinkProvided", "False", test.reason, test.message)
			f.assert("Ready", "False", test.reason, test.message)
			f.assertClass(test.class, test.reason, result, err)
			if calls := f.emulator.Calls(); len(calls) != 0 {
				t.Errorf("calls to Mandrill: %v", calls)
			}
		})
	}
}

// An object is found by either of its sinks, so that it is reconciled after a change of either.
func TestDeadLetterSinksAreIndexed(t *testing.T) {
	t.Parallel()
	indexes := mandrillwebhook.New(mandrillwebhook.Options{}).Indexes()
	for name, test := range map[string]struct {
		sink, dead   v1alpha1.Destination
		keys, groups []string
	}{
		"two kinds": {refTo("v1", "Service", "a"), refTo("example.com/v1", "Broker", "b"), []string{"Service shop/a", "Broker.example.com shop/b"}, []string{"", "example.com"}},
		"the same":  {refTo("v1", "Service", "a"), refTo("v1", "Service", "a"), []string{"Service shop/a"}, []string{""}},
		"one":       {v1alpha1.Destination{URI: "http://a.example"}, refTo("v1", "Service", "a"), []string{"Service shop/a"}, []string{""}},
		"neither":   {v1alpha1.Destination{URI: "http://a.example"}, v1alpha1.Destination{URI: "http://b.example"}, nil, nil},
	} {
		webhook := &v1alpha1.MandrillWebhook{}
		webhook.Namespace, webhook.Spec.Sink = "shop", test.sink
		deadLetters(test.dead)(webhook)
		if diff := cmp.Diff(test.keys, indexes["spec.sink.ref"](webhook)); diff != "" {
			t.Errorf("%s: sinks (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(test.groups, indexes["spec.sink.ref.group"](webhook)); diff != "" {
			t.Errorf("%s: groups (-want +got):\n%s", name, diff)
		}
	}
}
