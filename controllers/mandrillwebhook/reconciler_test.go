package mandrillwebhook_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
)

const apiKey = "md-s3ntinel-api-key"

var (
	routesSecret = types.NamespacedName{Namespace: "system", Name: "routes"}
	webhookKey   = types.NamespacedName{Namespace: "shop", Name: "transactional"}
	start        = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

// world is everything around a reconciler: a fake cluster, an emulated Mandrill, and a receiver that reads its
// routes from the cluster at every request.
type world struct {
	t          *testing.T
	client     client.Client
	emulator   *mandrilltest.Server
	account    *mandrilltest.Account
	receiver   *httptest.Server
	recorder   *events.FakeRecorder
	reconciler *mandrillwebhook.Reconciler
	options    mandrillwebhook.Options
	metrics    *prometheus.Registry // of the operator that runs

	signatures atomic.Pointer[receiver.Hinter] // told by the receiver, if any

	mu    sync.Mutex
	now   time.Time
	fault func(verb string, object client.Object) error // injected into the cluster
}

func newWorld(t *testing.T, change ...func(*mandrillwebhook.Options)) *world {
	t.Helper()
	return newWorldOf(t, mandrilltest.Options{}, change...)
}

func newWorldOf(t *testing.T, at mandrilltest.Options, change ...func(*mandrillwebhook.Options)) *world {
	t.Helper()
	w := &world{t: t, now: start, recorder: events.NewFakeRecorder(100)}
	at.APIKeys, at.BatchInterval = []string{apiKey}, time.Hour
	w.emulator = mandrilltest.New(at)
	t.Cleanup(w.emulator.Close)
	w.account = w.emulator.Account(apiKey)
	api := httptest.NewServer(w.emulator)
	t.Cleanup(api.Close)
	w.receiver = httptest.NewServer(http.HandlerFunc(w.serveReceiver))
	t.Cleanup(w.receiver.Close)
	options := mandrillwebhook.Options{
		Recorder: w.recorder, RoutesSecret: routesSecret, PublicURL: w.receiver.URL + "/mandrill",
		NewAPI: func(key string) (account.API, error) {
			return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0", Observe: w.reconciler.Metrics.ObserveCall})
		},
		Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now },
	}
	for _, c := range change {
		c(&options)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.MandrillWebhook{}).WithInterceptorFuncs(w.interceptors())
	for field, index := range mandrillwebhook.New(options).Indexes() {
		builder = builder.WithIndex(&v1alpha1.MandrillWebhook{}, field, index)
	}
	w.client = builder.Build()
	options.Client = w.client
	w.options = options
	w.restart()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mandrill"}, Data: map[string][]byte{"api-key": []byte(apiKey + "\n")}})
	w.create(service("consumer", 80))
	return w
}

func service(name string, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	for i, port := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: port})
	}
	return s
}

func (w *world) interceptors() interceptor.Funcs {
	check := func(verb string, object client.Object) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.fault != nil {
			return w.fault(verb, object)
		}
		return nil
	}
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, o ...client.GetOption) error {
			if err := check("get", object); err != nil {
				return err
			}
			if u, ok := object.(*unstructured.Unstructured); ok && u.GetKind() == "Nothing" {
				return &meta.NoKindMatchError{GroupKind: u.GroupVersionKind().GroupKind()}
			}
			return c.Get(ctx, key, object, o...)
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, o ...client.CreateOption) error {
			if err := check("create", object); err != nil {
				return err
			}
			return c.Create(ctx, object, o...)
		},
		Update: func(ctx context.Context, c client.WithWatch, object client.Object, o ...client.UpdateOption) error {
			if err := check("update", object); err != nil {
				return err
			}
			return c.Update(ctx, object, o...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, p client.Patch, o ...client.PatchOption) error {
			if err := check("patch", object); err != nil {
				return err
			}
			return c.Patch(ctx, object, p, o...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, o ...client.ApplyOption) error {
			if err := check("apply", nil); err != nil {
				return err
			}
			return c.Apply(ctx, object, o...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, object client.Object, p client.Patch, o ...client.SubResourcePatchOption) error {
			if err := check("patch "+sub, object); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, object, p, o...)
		},
	}
}

// serveReceiver is the real receiver with the routes of the moment.
func (w *world) serveReceiver(response http.ResponseWriter, request *http.Request) {
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	loaded := &receiver.Routes{Logger: logger, Metrics: metrics}
	loaded.Complete()
	for number := range routes.MaxSecrets {
		var secret corev1.Secret
		name := types.NamespacedName{Namespace: routesSecret.Namespace, Name: routes.SecretName(routesSecret.Name, number)}
		if err := w.client.Get(request.Context(), name, &secret); err == nil {
			if err := loaded.Load(name.Name, secret.Data[routes.Key]); err != nil {
				w.t.Errorf("the operator wrote routes that the receiver refuses: %v", err)
			}
		}
	}
	options := receiver.Options{Routes: loaded, Metrics: metrics, Logger: logger}
	if hinter := w.signatures.Load(); hinter != nil {
		options.Signatures = hinter
	}
	receiver.NewHandler(options).ServeHTTP(response, request)
}

func (w *world) create(object client.Object) {
	w.t.Helper()
	if err := w.client.Create(w.t.Context(), object); err != nil {
		w.t.Fatal(err)
	}
}

// apply creates the object of the tests, changed.
func (w *world) apply(change ...func(*v1alpha1.MandrillWebhook)) {
	w.t.Helper()
	webhook := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: webhookKey.Namespace, Name: webhookKey.Name, UID: "uid-1", Generation: 1, CreationTimestamp: metav1.NewTime(start)},
		Spec: v1alpha1.MandrillWebhookSpec{
			Description: "Shop mail events", Events: []v1alpha1.EventName{"open", "denylist", "allowlist"},
			APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill", Key: "api-key"},
			Sink:            v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "consumer"}},
			Receiver:        v1alpha1.ReceiverShared, DeletionPolicy: v1alpha1.DeletionDelete,
		},
	}
	for _, c := range change {
		c(webhook)
	}
	w.create(webhook)
}

// edit changes the stored object as a user would.
func (w *world) edit(change func(*v1alpha1.MandrillWebhook)) {
	w.t.Helper()
	webhook := w.get()
	change(webhook)
	webhook.Generation++
	if err := w.client.Update(w.t.Context(), webhook); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get() *v1alpha1.MandrillWebhook {
	w.t.Helper()
	var webhook v1alpha1.MandrillWebhook
	if err := w.client.Get(w.t.Context(), webhookKey, &webhook); err != nil {
		w.t.Fatal(err)
	}
	return &webhook
}

func (w *world) reconcile() (ctrl.Result, error) {
	w.t.Helper()
	return w.reconciler.Reconcile(w.t.Context(), w.get())
}

// certificate returns a certificate as PEM.
func certificate(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// mustReconcile reconciles to Ready.
func (w *world) mustReconcile() *v1alpha1.MandrillWebhook {
	w.t.Helper()
	result, err := w.reconcile()
	if err != nil || result.RequeueAfter != 0 && result.RequeueAfter < time.Minute { // nothing, or the end of a grace period
		w.t.Fatalf("got %v and error %v, want neither\n%s", result, err, w.conditions())
	}
	webhook := w.get()
	if !meta.IsStatusConditionTrue(webhook.Status.Conditions, "Ready") {
		w.t.Errorf("not Ready:\n%s", w.conditions())
	}
	if webhook.Status.ObservedGeneration != webhook.Generation {
		w.t.Errorf("observedGeneration is %d, want %d", webhook.Status.ObservedGeneration, webhook.Generation)
	}
	return webhook
}

// restart makes the operator forget everything it has in memory.
func (w *world) restart() {
	w.metrics = prometheus.NewRegistry()
	w.options.Metrics = mandrillwebhook.NewMetrics(w.metrics)
	w.reconciler = mandrillwebhook.New(w.options)
}

// configure restarts the operator with other options.
func (w *world) configure(change func(*mandrillwebhook.Options)) {
	change(&w.options)
	w.restart()
}

// metric returns the value of a metric with these values of labels, 0 when there is none.
func (w *world) metric(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var values []string
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			if family.GetName() == name && slices.Equal(values, labels) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// later lets so much time pass that the account is listed again.
func (w *world) later() *world {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(time.Hour)
	return w
}

func (w *world) conditions() string {
	var b strings.Builder
	for _, c := range w.get().Status.Conditions {
		fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}

func (w *world) assert(condition, status, reason, message string) {
	w.t.Helper()
	got := meta.FindStatusCondition(w.get().Status.Conditions, condition)
	if got == nil || string(got.Status) != status || got.Reason != reason || !strings.Contains(got.Message, message) {
		w.t.Errorf("%s should be %s, %s with %q; the conditions are\n%s", condition, status, reason, message, w.conditions())
	}
}

func (w *world) secret(key types.NamespacedName) *corev1.Secret {
	w.t.Helper()
	var secret corev1.Secret
	if err := w.client.Get(w.t.Context(), key, &secret); err != nil {
		w.t.Fatal(err)
	}
	return &secret
}

func (w *world) routes() []routes.Route {
	w.t.Helper()
	document, err := routes.Decode(w.secret(routesSecret).Data[routes.Key])
	if err != nil {
		w.t.Fatal(err)
	}
	return document.Routes
}

// events returns the Events so far. None of them, nor the status, may hold the API key or a signing key.
func (w *world) events() []string {
	w.t.Helper()
	var list []string
	for {
		select {
		case event := <-w.recorder.Events:
			list = append(list, event)
			continue
		default:
		}
		break
	}
	text := strings.Join(list, "\n") + w.conditions()
	for _, webhook := range w.account.Webhooks() {
		if strings.Contains(text, webhook.AuthKey) {
			w.t.Errorf("a signing key is visible:\n%s", text)
		}
	}
	if strings.Contains(text, "s3ntinel") {
		w.t.Errorf("a secret is visible:\n%s", text)
	}
	return list
}

func (w *world) assertEvent(want string) {
	w.t.Helper()
	if got := w.events(); !slices.ContainsFunc(got, func(event string) bool { return strings.Contains(event, want) }) {
		w.t.Errorf("no Event with %q in %q", want, got)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	webhook := w.mustReconcile()
	remote := w.account.Webhooks()
	url := w.receiver.URL + "/mandrill/shop/transactional"
	if len(remote) != 1 || remote[0].URL != url || remote[0].Description != "Shop mail events" || !slices.Equal(remote[0].Events, []string{"open", "blacklist", "whitelist"}) {
		t.Fatalf("Mandrill has %+v", remote)
	}
	status := webhook.Status
	if status.URL != url || status.WebhookID != remote[0].ID || status.SinkURI != "http://consumer.shop.svc.cluster.local" ||
		status.SigningKeySecretName != "transactional-signing-key" || !slices.Equal(status.Events, []string{"open", "denylist", "allowlist"}) || status.Upstream.CreatedAt == nil {
		t.Errorf("status is %+v", status)
	}
	secret := w.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"})
	if string(secret.Data["signing-key"]) != remote[0].AuthKey || string(secret.Data["url"]) != url || !metav1.IsControlledBy(secret, webhook) || len(secret.Data) != 2 {
		t.Errorf("the signing key's Secret is %+v", secret)
	}
	got := w.routes()
	if len(got) != 1 || got[0].Name != "shop/transactional" || got[0].URL != url || !slices.Equal(got[0].Keys, []string{remote[0].AuthKey}) ||
		got[0].Sink.URI != status.SinkURI || got[0].Source != "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional" {
		t.Errorf("routes are %+v", got)
	}
	for _, condition := range []string{"SinkProvided", "ReceiverReady", "Registered", "SigningKeyStored"} {
		w.assert(condition, "True", "Succeeded", "")
	}
	w.assert("Delivering", "Unknown", "NothingSentYet", "")
	w.assertEvent("Normal Registered Created webhook")
}

// Every type that the status announces is one that the receiver makes.
func TestAnnouncedTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Events = []v1alpha1.EventName{"send", "delivered", "deferral", "hard_bounce", "soft_bounce", "open", "click", "spam", "unsub", "reject", "allowlist", "denylist"}
	})
	announced := w.mustReconcile().Status.CloudEventAttributes
	types := map[string]bool{}
	for _, row := range eventtypes.Table {
		types[row.Type] = true
	}
	for _, attributes := range announced {
		if !types[attributes.Type] || attributes.Source != "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional" {
			t.Errorf("%+v is not among the receiver's types", attributes)
		}
	}
	if len(announced) != 15 {
		t.Errorf("%d types for 12 events, of which the lists make 5", len(announced))
	}
}

// Once everything agrees, a reconcile asks Mandrill nothing, because the account is listed for all, and writes
// nothing.
func TestSteadyState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	before := w.get().ResourceVersion
	calls := len(w.emulator.Calls())
	w.events()
	w.fault = func(verb string, object client.Object) error {
		if verb != "get" {
			return fmt.Errorf("unexpected %s of %T", verb, object)
		}
		return nil
	}
	w.mustReconcile()
	if made := w.emulator.Calls()[calls:]; len(made) != 0 {
		t.Errorf("calls are %v, want none", made)
	}
	w.later().mustReconcile()
	if made := w.emulator.Calls()[calls:]; !slices.Equal(made, []string{"webhooks/list"}) {
		t.Errorf("calls are %v, want one list", made)
	}
	if after := w.get().ResourceVersion; after != before {
		t.Error("the status was written")
	}
	if events := w.events(); len(events) != 0 {
		t.Errorf("Events are %v", events)
	}
}

func TestChangesReachMandrillAndTheReceiver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	first := w.account.Webhooks()[0]
	certs := certificate(t)
	w.edit(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.URL = w.receiver.URL + "/elsewhere?a=b"
		o.Spec.Description = "other"
		o.Spec.Events = []v1alpha1.EventName{"click"}
		o.Spec.Sink = v1alpha1.Destination{URI: "https://sink.example/x", CACerts: certs}
		o.Spec.CloudEventOverrides = &v1alpha1.CloudEventOverrides{Extensions: map[string]v1alpha1.ExtensionValue{"env": "prod"}}
		o.Spec.Delivery = &v1alpha1.Delivery{Mode: v1alpha1.ModeDirect, Timeout: "PT3S"}
	})
	w.mustReconcile()
	second := w.account.Webhooks()
	if len(second) != 1 || second[0].ID != first.ID || second[0].URL != w.receiver.URL+"/elsewhere?a=b" || second[0].Description != "other" || !slices.Equal(second[0].Events, []string{"click"}) {
		t.Errorf("Mandrill has %+v", second)
	}
	got := w.routes()[0]
	if got.URL != second[0].URL || got.Sink.URI != "https://sink.example/x" || got.Sink.CACerts != certs || got.CEOverrides.Extensions["env"] != "prod" || got.Delivery.Timeout != "PT3S" {
		t.Errorf("the route is %+v", got)
	}
	if secret := w.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"}); string(secret.Data["url"]) != second[0].URL {
		t.Errorf("the Secret has the URL %s", secret.Data["url"])
	}
	w.assertEvent("Updated webhook 101 at Mandrill: url, description, events differed")
}

func TestDriftAndKeyResetAreRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	id := w.account.Webhooks()[0].ID
	w.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = nil })
	newKey, err := w.account.ResetKey(id)
	if err != nil {
		t.Fatal(err)
	}
	w.later().mustReconcile()
	if got := w.account.Webhooks()[0]; len(got.Events) != 3 {
		t.Errorf("the emptied events were not put back: %v", got.Events)
	}
	if got := w.routes()[0].Keys; len(got) != 2 || got[0] != newKey {
		t.Errorf("the route has keys %v, want the new one and, for a while, the old one", got)
	}
	w.assertEvent("Normal SigningKeyChanged")
	// deleted at Mandrill: made again
	call(t, w, "webhooks/delete", id)
	w.later().mustReconcile()
	if got := w.account.Webhooks(); len(got) != 1 || got[0].ID == id {
		t.Errorf("the deleted webhook was not made again: %+v", got)
	}
	// the Secret edited and deleted by hand
	for _, spoil := range []func(*corev1.Secret) error{
		func(s *corev1.Secret) error {
			s.Data["signing-key"] = []byte("edited")
			return w.client.Update(t.Context(), s)
		},
		func(s *corev1.Secret) error { // what no route may have must not keep the Secret from being put right
			s.Data = map[string][]byte{"signing-key": []byte(mandrill.TestKey), "url": []byte("https://h.example/")}
			return w.client.Update(t.Context(), s)
		},
		func(s *corev1.Secret) error {
			s.Data["url"] = []byte("nonsense")
			s.Data["previous"] = []byte(`[{"url":"nonsense","key":"k","until":"2099-01-01T00:00:00Z"},{"url":"https://h.example/","key":"test-webhook","until":"2099-01-01T00:00:00Z"}]`)
			return w.client.Update(t.Context(), s)
		},
		func(s *corev1.Secret) error { return w.client.Delete(t.Context(), s) },
	} {
		if err := spoil(w.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"})); err != nil {
			t.Fatal(err)
		}
		w.mustReconcile()
		want := w.account.Webhooks()[0].AuthKey
		if secret := w.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"}); string(secret.Data["signing-key"]) != want || w.routes()[0].Keys[0] != want {
			t.Error("the Secret was not put right")
		}
	}
}

func call(t *testing.T, w *world, name string, id int64) {
	t.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"key":%q,"id":%d}`, apiKey, id))
	response := httptest.NewRecorder()
	w.emulator.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/"+name, body))
	if response.Code != http.StatusOK {
		t.Fatalf("%s: %s", name, response.Body)
	}
}

func TestAdoption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	url := w.receiver.URL + "/mandrill/shop/transactional"
	for _, other := range []string{url + "/", url} { // only the exact URL is ours
		body := strings.NewReader(fmt.Sprintf(`{"key":%q,"url":%q,"events":["send"]}`, apiKey, other))
		w.account.Revoke(false)
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/webhooks/add", body)
		response := httptest.NewRecorder()
		w.withoutProbe(func() { w.emulator.ServeHTTP(response, request) })
		if response.Code != http.StatusOK {
			t.Fatal(response.Body)
		}
	}
	webhook := w.mustReconcile()
	remote := w.account.Webhooks()
	if len(remote) != 2 || webhook.Status.WebhookID != remote[1].ID || remote[0].Description != "" || remote[1].Description != "Shop mail events" || len(remote[1].Events) != 3 {
		t.Errorf("Mandrill has %+v, the status names %d", remote, webhook.Status.WebhookID)
	}
	w.assertEvent("Normal Adopted Took over webhook")
}

// withoutProbe lets a webhook be added at a URL that is not served yet.
func (w *world) withoutProbe(do func()) {
	handler := w.receiver.Config.Handler
	w.receiver.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	defer func() { w.receiver.Config.Handler = handler }()
	do()
}

func TestDelete(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		policy  v1alpha1.DeletionPolicy
		prepare func(*world)
		remain  int
		event   string
	}{
		{"delete", v1alpha1.DeletionDelete, func(*world) {}, 0, "Normal Deleted"},
		{"retain", v1alpha1.DeletionRetain, func(*world) {}, 1, "Normal Retained"},
		{"retain with a revoked key", v1alpha1.DeletionRetain, func(w *world) { w.account.Revoke(true) }, 1, "Normal Retained"},
		{"gone already", v1alpha1.DeletionDelete, func(w *world) { call(w.t, w, "webhooks/delete", 101) }, 0, ""},
		{"status lost", v1alpha1.DeletionDelete, func(w *world) {
			webhook := w.get()
			webhook.Status = v1alpha1.MandrillWebhookStatus{}
			if err := w.client.Status().Update(w.t.Context(), webhook); err != nil {
				w.t.Fatal(err)
			}
		}, 0, "Normal Deleted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.DeletionPolicy = test.policy })
			w.mustReconcile()
			test.prepare(w)
			w.deleteObject(true)
			if got := w.account.Webhooks(); len(got) != test.remain {
				t.Errorf("Mandrill has %d webhooks, want %d", len(got), test.remain)
			}
			if got := w.routes(); len(got) != 0 {
				t.Errorf("routes are %v", got)
			}
			var text []string
			for len(w.recorder.Events) > 0 {
				text = append(text, <-w.recorder.Events)
			}
			if !strings.Contains(strings.Join(text, "\n"), test.event) {
				t.Errorf("no Event %q in %q", test.event, text)
			}
		})
	}
}

func (w *world) deleteKey() {
	w.t.Helper()
	if err := w.client.Delete(w.t.Context(), w.secret(types.NamespacedName{Namespace: "shop", Name: "mandrill"})); err != nil {
		w.t.Fatal(err)
	}
}

// When a namespace is deleted its Secrets go in any order: a key that was used is still known.
func TestDeletionWhenTheKeyWentFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	w.deleteKey()
	w.deleteObject(true)
	if got := w.account.Webhooks(); len(got) != 0 {
		t.Errorf("Mandrill still has %+v", got)
	}
}

// A key that is gone or revoked keeps an object for ten minutes and not longer.
func TestDeletionIsNotBlockedForEver(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(*world){
		"key revoked": func(w *world) { w.account.Revoke(true) },
		"Secret gone": func(w *world) {
			w.deleteKey()
			w.restart()
		},
		"Mandrill down": func(w *world) {
			w.emulator.Fail("*", mandrilltest.Fault{Status: 503}, mandrilltest.Fault{Status: 503})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply()
			w.mustReconcile()
			breakIt(w)
			if err := w.client.Delete(t.Context(), w.get()); err != nil {
				t.Fatal(err)
			}
			result, err := w.reconcile()
			if err != nil || result.RequeueAfter == 0 {
				t.Fatalf("got %v, %v; want another try soon", result, err)
			}
			w.assert("Ready", "False", "Deleting", "deleting the webhook at Mandrill, which is tried for 10 minutes")
			w.assert("Reconciling", "True", "Deleting", "")
			w.events()
			w.mu.Lock()
			w.now = time.Now().Add(11 * time.Minute) // the fake cluster stamps deletions with the real time
			w.mu.Unlock()
			if _, err := w.reconcile(); err != nil {
				t.Fatal(err)
			}
			if err := w.client.Get(t.Context(), webhookKey, &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
				t.Errorf("the object is still there: %v", err)
			}
			if event := <-w.recorder.Events; !strings.Contains(event, "Warning Orphaned") {
				t.Errorf("Event is %q", event)
			}
		})
	}
}
