package mandrillwebhook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
)

// Below the public URL the first segment of a path is a namespace, and only its objects may be there.
func TestPlaceOfAnotherNamespaceIsRefused(t *testing.T) {
	t.Parallel()
	const elsewhere = "http://elsewhere.example"
	for _, test := range []struct {
		url              string // PUBLIC is the host of the public URL
		shared, sidecar  bool   // refused
		withoutPathToo   bool   // refused also if the public URL has no path
		withoutPathOther bool   // refused only then
	}{
		{url: "PUBLIC/mandrill/bank/payments", shared: true, sidecar: true, withoutPathToo: true},
		{url: "PUBLIC/mandrill/bank/payments?a=b", shared: true, sidecar: true, withoutPathToo: true},
		{url: "PUBLIC/mandrill/custom", shared: true, sidecar: true, withoutPathToo: true},
		{url: "PUBLIC/mandrill/shop/../bank/payments", shared: true, sidecar: true, withoutPathToo: true},
		{url: "PUBLIC/mandrill/b%61nk/payments", shared: true, sidecar: true, withoutPathToo: true},
		{url: "PUBLIC/mandrill//bank/payments", shared: true, sidecar: true, withoutPathToo: true},
		{url: "PUBLIC/x/..//mandrill/bank/payments", shared: true, sidecar: true, withoutPathToo: true},
		{url: elsewhere + "/mandrill/bank/payments", shared: true},
		{url: elsewhere + "/mandrill/shop/payments"},
		{url: elsewhere + "/bank/payments"},
		{url: "PUBLIC/mandrill/shop/transactional", withoutPathOther: true},
		{url: "PUBLIC/mandrill/shop/another/one?x=/bank", withoutPathOther: true},
		{url: "PUBLIC/elsewhere", withoutPathOther: true},
		{url: "PUBLIC/shop/elsewhere"},
		{url: "PUBLIC"},
	} {
		for _, kind := range []string{"shared", "sidecar", "without a path"} {
			t.Run(kind+" "+test.url, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t, func(o *mandrillwebhook.Options) {
					if kind == "without a path" {
						o.PublicURL = strings.TrimSuffix(o.PublicURL, "/mandrill")
					}
				})
				url := strings.Replace(test.url, "PUBLIC", f.receiver.URL, 1)
				f.apply(func(o *v1alpha1.MandrillWebhook) {
					if o.Spec.URL = url; kind == "sidecar" {
						asSidecar(url)(o)
					}
				})
				_, _ = f.reconcile() // most of these URLs lead nowhere
				want := map[string]bool{"shared": test.shared, "sidecar": test.sidecar, "without a path": test.withoutPathToo || test.withoutPathOther}[kind]
				ready := meta.FindStatusCondition(f.get().Status.Conditions, "ReceiverReady")
				if got := ready != nil && ready.Reason == "URLNotAllowed"; got != want {
					t.Errorf("refused %t, want %t\n%s", got, want, f.conditions())
				}
			})
		}
	}
}

// An older object of another namespace that claims an object's default URL does not hold it up.
func TestForeignClaimIsNoConflict(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(&v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "alice", Name: "squatter", UID: "uid-0", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: f.receiver.URL + "/mandrill/shop/transactional"},
	})
	f.apply()
	f.mustReconcile()
}

// A URI that leads to another namespace is refused as a reference is, unless the installation allows both.
func TestSinkURIsOfOtherNamespacesAreRefused(t *testing.T) {
	t.Parallel()
	const notAllowed, alias = "--allow-cross-namespace-sinks", "is another name for the host internal.other.svc.cluster.local"
	for host, message := range map[string]string{
		"internal.other.svc.cluster.local": notAllowed, "internal.other.svc": notAllowed, "internal.other": notAllowed, "INTERNAL.Other.SVC.": notAllowed,
		"pod-0.internal.other.svc": notAllowed, "pod-0.internal.other": notAllowed, "10-1-2-3.other.pod.cluster.local": notAllowed, "unknown.other.svc:8080": notAllowed,
		"kubernetes.default.svc": notAllowed, "10.1.2.3": notAllowed, "[::ffff:10.1.2.3]": notAllowed, "[fd00::1]:8443": notAllowed,
		"operator": notAllowed, "operator:8082": notAllowed, "pod-0.operator": notAllowed, // of the receiver's namespace, by its search domains
		"alias": "", "alias.shop": alias, "alias.shop.svc.cluster.local": alias,
		"consumer.shop.svc.cluster.local": "", "consumer.shop": "", "pod-0.consumer.shop.svc": "", "10.1.2.4": "", "10.1.2.5": "", "sink.example": "", "internal.other.example": "", "consumer": "",
	} {
		for _, allowed := range []bool{false, true} {
			f := newFixture(t, func(o *mandrillwebhook.Options) { o.AllowCrossNamespaceSinks = allowed })
			for name, spec := range map[types.NamespacedName]corev1.ServiceSpec{
				{Namespace: "other", Name: "internal"}:  {ClusterIP: "10.1.2.3", ClusterIPs: []string{"10.1.2.3", "fd00::1"}},
				{Namespace: "system", Name: "operator"}: {},
				{Namespace: "shop", Name: "own"}:        {ClusterIP: "10.1.2.4"},
				{Namespace: "shop", Name: "alias"}:      {Type: corev1.ServiceTypeExternalName, ExternalName: "internal.other.svc.cluster.local"},
			} {
				f.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Spec: spec})
			}
			f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink = v1alpha1.Destination{URI: "http://" + host + "/x"} })
			_, err := f.reconcile()
			want := message
			if allowed && want == notAllowed {
				want = ""
			}
			if got := err == nil && want == "" || err != nil && want != "" && strings.Contains(err.Error(), want); !got {
				t.Errorf("%s, allowed %t: got %v, want %q", host, allowed, err, want)
			}
		}
	}
}

// A namespace has as many objects as it may have, the older ones; the others go on when there is room.
func TestObjectsOfANamespaceAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.MaxWebhooksPerNamespace = 3 })
	older := func(namespace string, number int) *v1alpha1.MandrillWebhook {
		return &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprint("older-", number), UID: types.UID(fmt.Sprint(namespace, number)), CreationTimestamp: metav1.NewTime(start.Add(-time.Hour)),
		}}
	}
	for number := range 3 {
		f.create(older("shop", number))
		f.create(older("alice", number))
		f.create(older("alice", number+10))
	}
	f.apply()
	result, err := f.reconcile()
	f.assert("ReceiverReady", "False", "QuotaExceeded", "this namespace may have 3 MandrillWebhooks and has more: delete those that are not needed, or have the operator run with a higher --max-webhooks-per-namespace")
	f.assertClass(unseen, "QuotaExceeded", result, err)
	if err := f.client.Delete(t.Context(), older("shop", 1)); err != nil {
		t.Fatal(err)
	}
	f.mustReconcile()
}

// Routes of a namespace have as many bytes as they may have.
func TestRoutesOfANamespaceAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.MaxRouteBytesPerNamespace = 2000 })
	large := func(o *v1alpha1.MandrillWebhook) {
		o.Spec.CloudEventOverrides = &v1alpha1.CloudEventOverrides{Extensions: map[string]v1alpha1.ExtensionValue{"env": v1alpha1.ExtensionValue(strings.Repeat("x", 2000))}}
	}
	f.apply(large)
	result, err := f.reconcile()
	f.assert("ReceiverReady", "False", "QuotaExceeded", "the routes of this namespace have as many bytes as they may have: delete MandrillWebhooks that are not needed, shorten CACerts and ceOverrides, or have the operator run with a higher --max-route-bytes-per-namespace")
	f.assertClass(unseen, "QuotaExceeded", result, err)
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.CloudEventOverrides = nil })
	f.mustReconcile()
	f.edit(large)
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("ReceiverReady", "False", "QuotaExceeded", "")
	if got := f.routes(); len(got) != 1 || got[0].CEOverrides.Extensions != nil {
		t.Errorf("the route that was there is now %+v", got)
	}
}
