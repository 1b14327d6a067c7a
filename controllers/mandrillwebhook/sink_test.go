package mandrillwebhook_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
)

func broker(name string, address map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Broker", "metadata": map[string]any{"namespace": "shop", "name": name},
		"status": map[string]any{"address": address},
	}}
}

func TestSinksAreResolved(t *testing.T) {
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
		f := newFixture(t, func(o *mandrillwebhook.Options) { o.ClusterDomain = "example.org" })
		f.create(broker("default", map[string]any{"url": "https://broker.example/shop/default", "CACerts": theirCerts}))
		f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = test.sink })
		status := f.mustReconcile().Status
		result, err := f.reconcile()
		if want := test.sink.Ref != nil && test.sink.Ref.Kind == "Broker"; err != nil || want != (result.RequeueAfter == time.Minute) {
			t.Errorf("%s: got %v, %v; an address that is not watched must be looked at again", name, result, err)
		}
		if status.SinkURI != test.want || status.SinkCACerts != test.wantCAs || f.routes()[0].Sink.URI != test.want || f.routes()[0].Sink.CACerts != test.wantCAs {
			t.Errorf("%s: got %s with %q, want %s with %q", name, status.SinkURI, status.SinkCACerts, test.want, test.wantCAs)
		}
	}
}

// A token is sent for an audience that the installation has one for, or that a sidecar's pod has.
func TestAudienceMustBeAllowed(t *testing.T) {
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
		f := newFixture(t, func(o *mandrillwebhook.Options) { o.SinkAudiences = test.allowed })
		f.create(broker("oidc", map[string]any{"url": "http://b.example", "audience": "broker"}))
		f.apply(test.change)
		_, _ = f.reconcile()
		if got := f.get().Status.SinkAudience; got != test.want {
			t.Errorf("%s: the audience is %q, want %q\n%s", name, got, test.want, f.conditions())
		}
		if test.want == "broker" && test.allowed != nil && f.routes()[0].Sink.Audience != "broker" {
			t.Errorf("%s: the route is %+v", name, f.routes()[0])
		}
	}
}

// Of several addresses the first usable one counts, preferably one that needs no token.
func TestFirstUsableAddressCounts(t *testing.T) {
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
		f := newFixture(t)
		sink := broker("default", nil)
		sink.Object["status"] = map[string]any{"address": test.address, "addresses": test.addresses}
		f.create(sink)
		f.apply(ref("example.com/v1", "Broker", "default"))
		if _, err := f.reconcile(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.get().Status.SinkURI; got != test.want {
			t.Errorf("%s: the sink is %q, want %q", name, got, test.want)
		}
	}
}

// An address of the receiver's own machine or of a metadata service is refused unless the installation allows it.
func TestLocalSinkHostsAreRefused(t *testing.T) {
	t.Parallel()
	for host, refused := range map[string]bool{
		"127.0.0.1:8080": true, "127.9.9.9": true, "[::1]:80": true, "localhost": true, "LocalHost.": true, "a.localhost": true, "169.254.169.254": true, "[fe80::1]": true,
		"[::ffff:127.0.0.1]": true, "0.0.0.0": true, "[::]": true, "metadata.google.internal": true, "[fd00:ec2::254]": true, "127.1": true, "2130706433": true, "0x7f.1": true,
		"sink.example": false, "10.0.0.1": false, "192.168.1.1:80": false, "[fd00::1]": false, "localhost.example": false, "1password.example": false,
	} {
		f := newFixture(t)
		f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = v1alpha1.Destination{URI: "http://" + host + "/x"} })
		_, err := f.reconcile()
		if got := err != nil && strings.Contains(err.Error(), "have the operator run with --allow-sink-hosts="); got != refused {
			t.Errorf("%s: got %v, want refused %t", host, err, refused)
		}
	}
	f := newFixture(t, func(o *mandrillwebhook.Options) {
		o.AllowSinkHosts = []string{"127.0.0.1"}
		o.AllowCrossNamespaceSinks = true
	})
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = v1alpha1.Destination{URI: "http://127.0.0.1:8080/x"} })
	f.mustReconcile()
	other := service("elsewhere", 80)
	other.Namespace = "other"
	f.create(other)
	f.edit(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "elsewhere", Namespace: "other"}}
	})
	if got := f.mustReconcile().Status.SinkURI; got != "http://elsewhere.other.svc.cluster.local" {
		t.Errorf("the sink is %s", got)
	}
}

// The name of a headless Service leads to its pods, so their port counts.
func TestHeadlessServiceIsReachedAtThePortOfItsPods(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ports []corev1.ServicePort
		want  string
	}{
		"another port":  {[]corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}, ":8080"},
		"the same port": {[]corev1.ServicePort{{Port: 9000}}, ":9000"},
		"UDP beside it": {[]corev1.ServicePort{{Port: 53, Protocol: corev1.ProtocolUDP}, {Port: 9000, Protocol: corev1.ProtocolTCP}}, ":9000"},
		"port 80":       {[]corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80)}, {Port: 81}}, ""},
	} {
		f := newFixture(t)
		headless := service("headless")
		headless.Spec = corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: test.ports}
		f.create(headless)
		f.apply(ref("v1", "Service", "headless"))
		if got, want := f.mustReconcile().Status.SinkURI, "http://headless.shop.svc.cluster.local"+test.want; got != want {
			t.Errorf("%s: the sink is %s, want %s", name, got, want)
		}
	}
}

// A Service says by the appProtocol of its port that it expects HTTP/2, as it does for gateways. Other values change nothing.
func TestServiceWithH2CIsReachedByHTTP2(t *testing.T) {
	t.Parallel()
	for appProtocol, want := range map[string]string{routes.ProtocolH2C: routes.ProtocolH2C, "kubernetes.io/ws": ""} {
		f := newFixture(t)
		f.create(service("plain", 80))
		speaking := service("speaking", 80)
		speaking.Spec.Ports[0].AppProtocol = &appProtocol
		f.create(speaking)
		f.apply(ref("v1", "Service", "plain"), deadLetters(refTo("v1", "Service", "speaking")))
		f.mustReconcile()
		route := f.routes()[0]
		if got := route.Sink.AppProtocol; got != "" {
			t.Errorf("without appProtocol: %q", got)
		}
		if got := route.Delivery.DeadLetterSink.AppProtocol; got != want {
			t.Errorf("the dead letter sink with %s: %q", appProtocol, got)
		}
		f.edit(ref("v1", "Service", "speaking"))
		f.mustReconcile()
		if got := f.routes()[0].Sink.AppProtocol; got != want {
			t.Errorf("%s: %q", appProtocol, got)
		}
	}
}

// A password in the address of a sink is not shown in the status.
func TestPasswordOfASinkIsHidden(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Sink = v1alpha1.Destination{URI: "https://user:s3ntinel@sink.example/x"}
	})
	if got := f.mustReconcile().Status.SinkURI; got != "https://hidden@sink.example/x" {
		t.Errorf("the status shows %s", got)
	}
	if got := f.routes()[0].Sink.URI; got != "https://user:s3ntinel@sink.example/x" {
		t.Errorf("the route has %s", got)
	}
}
