package mandrillwebhook_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

var sidecarSecret = types.NamespacedName{Namespace: "shop", Name: "transactional-receiver"}

// startSidecar starts a receiver that has mounted the object's Secret, and returns a function that says whether it runs.
func (f *fixture) startSidecar() (url string, run func(bool)) {
	f.t.Helper()
	running := false
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		var secret corev1.Secret
		err := f.client.Get(request.Context(), sidecarSecret, &secret)
		f.mu.Lock()
		defer f.mu.Unlock()
		if !running || err != nil {
			http.NotFound(response, request)
			return
		}
		metrics, logger := receiver.NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(io.Discard, nil))
		loaded := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
		loaded.Complete()
		if err := loaded.Load("file", secret.Data[routes.Key]); err != nil {
			f.t.Error(err)
		}
		receiver.NewHandler(receiver.Options{Routes: loaded, Metrics: metrics, Logger: logger}).ServeHTTP(response, request)
	}))
	f.t.Cleanup(server.Close)
	return server.URL + "/hook", func(now bool) { f.mu.Lock(); defer f.mu.Unlock(); running = now }
}

func asSidecar(url string) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Receiver, o.Spec.URL = v1alpha1.ReceiverSidecar, url
		o.Spec.Sink = v1alpha1.Destination{URI: "http://127.0.0.1:8080/events"}
	}
}

func newSidecarFixture(t *testing.T) (f *fixture, url string, run func(bool)) {
	t.Helper()
	f = newFixture(t, func(o *mandrillwebhook.Options) {
		o.ReceiverURL = "http://shared.example" // is not asked
		o.AllowSinkHosts = []string{"127.0.0.1"}
	})
	url, run = f.startSidecar()
	return f, url, run
}

// Nothing is registered before the sidecar answers at the URL, with the routes of the Secret beside the object.
func TestSidecarIsServedFromItsOwnSecret(t *testing.T) {
	t.Parallel()
	f, url, run := newSidecarFixture(t)
	f.apply(asSidecar(url))
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("ReceiverReady", "False", "RouteNotServed", "the sidecar does not serve "+url+" yet (it answered HEAD with status 404): look whether the ingress strips or rewrites the path; otherwise check that its pod mounts the Secret transactional-receiver, that it runs the receiver with --config on the Secret's routes.yaml")
	if calls := f.emulator.Calls(); len(calls) > 0 {
		t.Errorf("calls are %v before the URL answers", calls)
	}
	run(true)
	webhook := f.mustReconcile()
	secret := f.secret(sidecarSecret)
	document, err := routes.Decode(secret.Data[routes.Key])
	if err != nil || len(document.Routes) != 1 || document.Routes[0].URL != url || document.Routes[0].Keys[0] != f.account.Webhooks()[0].AuthKey ||
		document.Routes[0].Sink.URI != "http://127.0.0.1:8080/events" || document.Routes[0].Name != "shop/transactional" {
		t.Errorf("the document is %+v, error %v", document, err)
	}
	if !metav1.IsControlledBy(secret, webhook) {
		t.Error("the Secret is not the object's")
	}
	if err := f.client.Get(t.Context(), routesSecret, &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("the shared receiver was handed something: %v", err)
	}

	// edited, spoilt and deleted by hand
	for _, content := range []string{"routes: []", "nonsense", ""} {
		secret := f.secret(sidecarSecret)
		if secret.Data = map[string][]byte{routes.Key: []byte(content)}; content == "" {
			if err := f.client.Delete(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
		} else if err := f.client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		f.mustReconcile()
		if got := f.post(url, f.account.Webhooks()[0].AuthKey); got != http.StatusOK {
			t.Errorf("after %q the sidecar answers %d", content, got)
		}
	}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = true })
	f.mustReconcile()
	if got := f.post(url, f.account.Webhooks()[0].AuthKey); got != http.StatusServiceUnavailable {
		t.Errorf("the suspended sidecar answers %d", got)
	}
	f.deleteObject(true)
	if n := len(f.account.Webhooks()); n != 0 {
		t.Errorf("%d webhooks are left", n)
	}
	if got := string(f.secret(sidecarSecret).Data[routes.Key]); !strings.HasSuffix(got, "\nroutes: []\n") {
		t.Errorf("the sidecar still has %s", got)
	}
}

func TestSidecarSecretConflictIsReported(t *testing.T) {
	t.Parallel()
	f, url, run := newSidecarFixture(t)
	run(true)
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: sidecarSecret.Namespace, Name: sidecarSecret.Name}, Data: map[string][]byte{"x": []byte("theirs")}}
	f.create(theirs)
	f.apply(asSidecar(url))
	if _, err := f.reconcile(); err == nil {
		t.Error("somebody else's Secret is no error")
	}
	f.assert("Stalled", "True", "SecretConflict", `the Secret "transactional-receiver" exists and is not this object's: delete or rename it, or give the MandrillWebhook another name`)
	if got := f.secret(sidecarSecret).Data; len(got) != 1 {
		t.Errorf("somebody else's Secret was written: %v", got)
	}
	f.deleteObject(true)
	if got := f.secret(sidecarSecret).Data; len(got) != 1 {
		t.Errorf("somebody else's Secret was written: %v", got)
	}
}

// A sidecar's sink may be on its own machine, which is the consumer's, but not a metadata service.
func TestSidecarSinkMayBeLocal(t *testing.T) {
	t.Parallel()
	for host, refused := range map[string]bool{
		"127.0.0.1:8080": false, "localhost": false, "[::1]:1": false, "[::ffff:127.0.0.1]": false, "169.254.169.254": true, "metadata.google.internal": true, "0.0.0.0": true, "127.1": true,
	} {
		f := newFixture(t)
		f.apply(asSidecar("http://x.example/"), func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.URI = "http://" + host + "/" })
		_, _ = f.reconcile()
		if got := f.get().Status.SinkURI == ""; got != refused {
			t.Errorf("%s: refused %t, want %t\n%s", host, got, refused, f.conditions())
		}
	}
}

// The operator does not probe its own machine for users, whatever name resolves to it.
func TestProbesRefuseLocalAddresses(t *testing.T) {
	t.Parallel()
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(server.Close)
	for _, url := range []string{server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1)} {
		f := newFixture(t)
		f.apply(asSidecar(url + "/x"))
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
		f.assert("ReceiverReady", "False", "RouteNotServed", "its host is loopback, link-local or a metadata service; the operator asks there only with --allow-sink-hosts")
	}
	if asked {
		t.Error("the operator asked its own machine")
	}
}
