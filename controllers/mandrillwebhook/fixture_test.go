package mandrillwebhook_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/metrics"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

const apiKey = "md-s3ntinel-api-key"

var (
	routesSecret = types.NamespacedName{Namespace: "system", Name: "routes"}
	webhookKey   = types.NamespacedName{Namespace: "shop", Name: "transactional"}
	start        = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
)

// fixture is everything around a reconciler: a fake cluster, an emulated Mandrill, and a receiver that reads its
// routes from the cluster at every request.
type fixture struct {
	t          *testing.T
	client     client.Client
	emulator   *mandrilltest.Server
	account    *mandrilltest.Account
	receiver   *httptest.Server
	recorder   *events.FakeRecorder
	reconciler *mandrillwebhook.Reconciler
	options    mandrillwebhook.Options
	metrics    *prometheus.Registry // of the operator that runs

	mu    sync.Mutex
	now   time.Time
	fault func(verb string, object client.Object) error // injected into the cluster
}

func newFixture(t *testing.T, change ...func(*mandrillwebhook.Options)) *fixture {
	t.Helper()
	return newFixtureWith(t, mandrilltest.Options{}, change...)
}

func newFixtureWith(t *testing.T, at mandrilltest.Options, change ...func(*mandrillwebhook.Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, now: start, recorder: events.NewFakeRecorder(100)}
	at.APIKeys, at.BatchInterval = []string{apiKey}, time.Hour
	f.emulator = mandrilltest.New(at)
	t.Cleanup(f.emulator.Close)
	f.account = f.emulator.Account(apiKey)
	api := httptest.NewServer(f.emulator)
	t.Cleanup(api.Close)
	f.receiver = httptest.NewServer(http.HandlerFunc(f.serveReceiver))
	t.Cleanup(f.receiver.Close)
	options := mandrillwebhook.Options{
		Recorder: f.recorder, RoutesSecret: routesSecret, PublicURL: f.receiver.URL + "/mandrill", ProbeWait: time.Minute,
		NewAPI: func(key string) (account.API, error) {
			return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0", Observe: f.reconciler.Metrics.ObserveCall})
		},
		Now: func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.now },
	}
	for _, c := range change {
		c(&options)
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil { // the fake cluster goes through all kinds at each request
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.MandrillWebhook{}).WithInterceptorFuncs(f.interceptors())
	for field, index := range mandrillwebhook.New(options).Indexes() {
		builder = builder.WithIndex(&v1alpha1.MandrillWebhook{}, field, index)
	}
	f.client = builder.Build()
	options.Client = f.client
	f.options = options
	f.restart()
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "mandrill"}, Data: map[string][]byte{"api-key": []byte(apiKey + "\n")}})
	f.create(service("consumer", 80))
	return f
}

func service(name string, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	for i, port := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: port})
	}
	return s
}

func (f *fixture) interceptors() interceptor.Funcs {
	check := func(verb string, object client.Object) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.fault != nil {
			return f.fault(verb, object)
		}
		return nil
	}
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, o ...client.GetOption) error {
			object.SetNamespace(key.Namespace) // for the fault; reading replaces them
			object.SetName(key.Name)
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
			f.wantMessages(object)
			return c.SubResource(sub).Patch(ctx, object, p, o...)
		},
	}
}

// wantMessages fails the test if a status is written that has a condition without a message.
func (f *fixture) wantMessages(object client.Object) {
	f.t.Helper()
	for _, condition := range object.(*v1alpha1.MandrillWebhook).Status.Conditions {
		if condition.Message == "" {
			f.t.Errorf("the condition %s %s %s has no message", condition.Type, condition.Status, condition.Reason)
		}
	}
}

// serveReceiver is the real receiver with the routes of the moment.
func (f *fixture) serveReceiver(response http.ResponseWriter, request *http.Request) {
	metrics := receiver.NewMetrics(prometheus.NewRegistry())
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	loaded := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	loaded.Complete()
	for number := range routes.MaxSecrets {
		var secret corev1.Secret
		name := types.NamespacedName{Namespace: routesSecret.Namespace, Name: routes.SecretName(routesSecret.Name, number)}
		if err := f.client.Get(request.Context(), name, &secret); err == nil {
			if err := loaded.Load(name.Name, secret.Data[routes.Key]); err != nil {
				f.t.Errorf("the operator wrote routes that the receiver refuses: %v", err)
			}
		}
	}
	receiver.NewHandler(receiver.Options{Routes: loaded, Metrics: metrics, Logger: logger}).ServeHTTP(response, request)
}

// failWhen makes the cluster refuse a verb while a condition holds.
func (f *fixture) failWhen(verb string, holds func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = func(done string, _ client.Object) error {
		if verb != "" && done == verb && holds() {
			return errors.New("refused by the test")
		}
		return nil
	}
}

func (f *fixture) create(object client.Object) {
	f.t.Helper()
	if err := f.client.Create(f.t.Context(), object); err != nil {
		f.t.Fatal(err)
	}
}

// apply creates the object of the tests, changed.
func (f *fixture) apply(change ...func(*v1alpha1.MandrillWebhook)) {
	f.t.Helper()
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
	f.create(webhook)
}

// edit changes the stored object as a user would.
func (f *fixture) edit(change func(*v1alpha1.MandrillWebhook)) {
	f.t.Helper()
	webhook := f.get()
	change(webhook)
	webhook.Generation++
	if err := f.client.Update(f.t.Context(), webhook); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) get() *v1alpha1.MandrillWebhook {
	f.t.Helper()
	var webhook v1alpha1.MandrillWebhook
	if err := f.client.Get(f.t.Context(), webhookKey, &webhook); err != nil {
		f.t.Fatal(err)
	}
	return &webhook
}

func (f *fixture) reconcile() (ctrl.Result, error) {
	f.t.Helper()
	defer f.reconciler.ForgetProbes(webhookKey) // tests change the receiver between reconciles
	return f.reconciler.Reconcile(f.t.Context(), f.get())
}

// certificate returns a certificate as PEM.
func certificate(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// mustReconcile reconciles to Ready.
func (f *fixture) mustReconcile() *v1alpha1.MandrillWebhook {
	f.t.Helper()
	result, err := f.reconcile()
	if err != nil || result.RequeueAfter != 0 && result.RequeueAfter < time.Minute { // nothing, or the end of a grace period
		f.t.Fatalf("got %v and error %v, want neither\n%s", result, err, f.conditions())
	}
	webhook := f.get()
	if !meta.IsStatusConditionTrue(webhook.Status.Conditions, "Ready") {
		f.t.Errorf("not Ready:\n%s", f.conditions())
	}
	if webhook.Status.ObservedGeneration != webhook.Generation {
		f.t.Errorf("observedGeneration is %d, want %d", webhook.Status.ObservedGeneration, webhook.Generation)
	}
	return webhook
}

// restart makes the operator forget everything it has in memory.
func (f *fixture) restart() {
	f.metrics = prometheus.NewRegistry()
	f.options.Metrics = metrics.New(f.metrics)
	f.reconciler = mandrillwebhook.New(f.options)
}

// configure restarts the operator with other options.
func (f *fixture) configure(change func(*mandrillwebhook.Options)) {
	change(&f.options)
	f.restart()
}

// metric returns the value of a metric with these values of labels, 0 when there is none.
func (f *fixture) metric(name string, labels ...string) float64 {
	f.t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		f.t.Fatal(err)
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

// hourLater advances the clock so far that the account is listed again.
func (f *fixture) hourLater() *fixture {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(time.Hour)
	return f
}

func (f *fixture) conditions() string {
	var b strings.Builder
	for _, c := range f.get().Status.Conditions {
		fmt.Fprintf(&b, "%s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}

func (f *fixture) assert(condition, status, reason, message string) {
	f.t.Helper()
	got := meta.FindStatusCondition(f.get().Status.Conditions, condition)
	if got == nil || string(got.Status) != status || got.Reason != reason || !strings.Contains(got.Message, message) {
		f.t.Errorf("%s should be %s, %s with %q; the conditions are\n%s", condition, status, reason, message, f.conditions())
	}
}

func (f *fixture) secret(key types.NamespacedName) *corev1.Secret {
	f.t.Helper()
	var secret corev1.Secret
	if err := f.client.Get(f.t.Context(), key, &secret); err != nil {
		f.t.Fatal(err)
	}
	return &secret
}

func (f *fixture) routes() []routes.Route {
	f.t.Helper()
	document, err := routes.Decode(f.secret(routesSecret).Data[routes.Key])
	if err != nil {
		f.t.Fatal(err)
	}
	return document.Routes
}

// events returns the Events so far. None of them, nor the status, may hold the API key or a signing key.
func (f *fixture) events() []string {
	f.t.Helper()
	var list []string
	for {
		select {
		case event := <-f.recorder.Events:
			list = append(list, event)
			continue
		default:
		}
		break
	}
	text := strings.Join(list, "\n") + f.conditions()
	for _, webhook := range f.account.Webhooks() {
		if strings.Contains(text, webhook.AuthKey) {
			f.t.Errorf("a signing key is visible:\n%s", text)
		}
	}
	if strings.Contains(text, "s3ntinel") {
		f.t.Errorf("a secret is visible:\n%s", text)
	}
	return list
}

func (f *fixture) assertEvent(want string) {
	f.t.Helper()
	if got := f.events(); !slices.ContainsFunc(got, func(event string) bool { return strings.Contains(event, want) }) {
		f.t.Errorf("no Event with %q in %q", want, got)
	}
}

func callWithID(t *testing.T, f *fixture, name string, id int64) {
	t.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"key":%q,"id":%d}`, apiKey, id))
	response := httptest.NewRecorder()
	f.emulator.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/"+name, body))
	if response.Code != http.StatusOK {
		t.Fatalf("%s: %s", name, response.Body)
	}
}

// withoutProbe lets a webhook be added at a URL that is not served yet.
func (f *fixture) withoutProbe(do func()) {
	handler := f.receiver.Config.Handler
	f.receiver.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	defer func() { f.receiver.Config.Handler = handler }()
	do()
}

func (f *fixture) deleteKey() {
	f.t.Helper()
	if err := f.client.Delete(f.t.Context(), f.secret(types.NamespacedName{Namespace: "shop", Name: "mandrill"})); err != nil {
		f.t.Fatal(err)
	}
}
