package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/metrics"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/kube"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

const lifecycleKey = "md-lifecycle"

var routesSecret = types.NamespacedName{Namespace: "mandrill-operator-system", Name: "mandrill-receiver-routes"}

// installation is the operator and the receiver with the rights that they have in a cluster, an emulated
// Mandrill and a consumer. There is one for all tests, as there is one in a cluster.
type installation struct {
	account  *mandrilltest.Account
	emulator *mandrilltest.Server
	consumer *consumer

	publicURL string
}

type consumer struct {
	*httptest.Server
	mu     sync.Mutex
	events []cloudevents.Event
}

func (c *consumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cehttp.NewEventFromHTTPRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, *event)
}

func (c *consumer) got(data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.events, func(e cloudevents.Event) bool { return string(e.Data()) == string(data) })
}

func install(t *testing.T) *installation {
	t.Helper()
	i, apiURL := installWithoutOperator(t)
	startOperator(t, apiURL, i.publicURL)
	return i
}

// installWithoutOperator makes an installation without an operator, and returns the URL of its Mandrill's API.
func installWithoutOperator(t *testing.T) (i *installation, apiURL string) {
	t.Helper()
	i = &installation{consumer: &consumer{}}
	i.consumer.Server = httptest.NewServer(i.consumer)
	t.Cleanup(i.consumer.Close)
	i.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: []string{lifecycleKey}, BatchInterval: time.Hour})
	t.Cleanup(i.emulator.Close)
	i.account = i.emulator.Account(lifecycleKey)
	api := httptest.NewServer(i.emulator)
	t.Cleanup(api.Close)
	i.publicURL = startReceiver(t) + "/mandrill"
	return i, api.URL + "/api/1.0"
}

// background runs something until the test ends, and fails the test with its error.
func background(t *testing.T, what string, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
}

func startReceiver(t *testing.T) string {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	counters := receiver.NewMetrics(prometheus.NewRegistry())
	loaded := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	loaded.Complete()
	secrets, err := kube.NewSecrets(rightsOf(t, "mandrill-receiver"), routesSecret.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := receiver.NewHandler(receiver.Options{Routes: loaded, Sender: sink.NewSender(sink.Options{}), Metrics: counters, Logger: logger})
	server := &receiver.Server{Listener: listener, Handler: handler, Logger: logger}
	background(t, "receiver", server.Serve)
	background(t, "routes", func(ctx context.Context) error {
		return kube.WatchSecrets(ctx, secrets, routesSecret.Name, loaded, logger)
	})
	return "http://" + listener.Addr().String()
}

func startOperator(t *testing.T, apiURL, publicURL string, change ...func(*mandrillwebhook.Options)) {
	t.Helper()
	startOperatorWith(t, delivery.Timing{}, apiURL, publicURL, change...)
}

// operating is an operator that runs.
type operating struct {
	reportsURL string
	registry   *prometheus.Registry
	ahead      atomic.Int64 // nanoseconds that the clock of what shows delivery is ahead
}

func startOperatorWith(t *testing.T, timing delivery.Timing, apiURL, publicURL string, change ...func(*mandrillwebhook.Options)) *operating {
	t.Helper()
	skipNameValidation := true
	options := mandrillwebhook.ManagerOptions(scheme)
	options.Metrics, options.HealthProbeBindAddress = metricsserver.Options{BindAddress: "0"}, "0"
	options.Controller = config.Controller{SkipNameValidation: &skipNameValidation}
	options.LeaderElection, options.LeaderElectionID, options.LeaderElectionNamespace = true, "mandrill-operator", routesSecret.Namespace
	options.LeaderElectionReleaseOnCancel = true
	manager, err := ctrl.NewManager(rightsOf(t, "mandrill-operator"), options)
	if err != nil {
		t.Fatal(err)
	}
	operator := mandrillwebhook.Options{
		Client: manager.GetClient(), Recorder: manager.GetEventRecorder("mandrill-operator"), RoutesSecret: routesSecret, PublicURL: publicURL,
		Resync: 200 * time.Millisecond, RenameWindow: 15 * time.Second, AllowSinkHosts: []string{"127.0.0.1"},
		NewAPI: func(key string) (account.API, error) {
			return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: apiURL})
		},
	}
	for _, c := range change {
		c(&operator)
	}
	registry := prometheus.NewRegistry()
	running := &operating{registry: registry}
	objects := &delivery.Objects{}
	alerter := newAlerter(operator, objects, running)
	operator.Recorder = alerter.Recorder(operator.Recorder)
	var reconciler *mandrillwebhook.Reconciler
	shown := delivery.New(delivery.Options{
		Client: operator.Client, Recorder: operator.Recorder, Registerer: registry, Elected: manager.Elected(), Handles: operator.Scope.Handles,
		Alerts: alerter, Objects: objects, Now: running.now, Resync: operator.Resync, Timing: timing, SharedReceivers: []string{routesSecret.Namespace + "/mandrill-receiver"},
		BadSignature: func(object types.NamespacedName) { reconciler.KeyMayHaveChanged(object) },
	})
	operator.Delivery, operator.Metrics = shown.Writer, metrics.New(registry)
	reconciler = mandrillwebhook.New(operator)
	if err := errors.Join(reconciler.SetupWithManager(t.Context(), manager), shown.SetupWithManager(t.Context(), manager), manager.Add(alerter)); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(shown)
	t.Cleanup(server.Close)
	background(t, "operator", manager.Start)
	running.reportsURL = server.URL
	return running
}

func (o *operating) now() time.Time { return time.Now().Add(time.Duration(o.ahead.Load())) }

// create makes an object in a namespace of its own, with its API key unless the test makes it later.
func (i *installation) create(t *testing.T, withKey bool, change func(*v1alpha1.MandrillWebhook)) *v1alpha1.MandrillWebhook {
	t.Helper()
	namespace := newNamespace(t)
	if withKey {
		createKey(t, namespace, lifecycleKey)
	}
	webhook := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "transactional"},
		Spec: v1alpha1.MandrillWebhookSpec{
			Events: []v1alpha1.EventName{"open", "denylist"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"},
			Sink: v1alpha1.Destination{URI: i.consumer.URL},
		},
	}
	if change != nil {
		change(webhook)
	}
	if err := admin.Create(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	return webhook
}

func createKey(t *testing.T, namespace, key string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mandrill"}, StringData: map[string]string{"api-key": key}}
	if err := admin.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
}

// edit changes an object, once more when the operator has written its status meanwhile.
func edit(t *testing.T, webhook *v1alpha1.MandrillWebhook, change func()) {
	t.Helper()
	eventually(t, "the object is changed", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
			return err
		}
		change()
		return admin.Update(t.Context(), webhook)
	})
}

// await waits until a condition of the object says what is wanted, of the present generation.
func await(t *testing.T, webhook *v1alpha1.MandrillWebhook, name, status, reason string) {
	t.Helper()
	eventually(t, name+"="+status, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
			return err
		}
		got := condition(webhook, name)
		if string(got.Status) != status || got.Reason != reason || got.ObservedGeneration != webhook.Generation || webhook.Status.ObservedGeneration != webhook.Generation {
			return fmt.Errorf("the conditions are %+v", webhook.Status.Conditions)
		}
		return nil
	})
}

func (i *installation) remote(id int64) *mandrill.Webhook {
	for _, webhook := range i.account.Webhooks() {
		if webhook.ID == id {
			return &webhook
		}
	}
	return nil
}

func (i *installation) deliver(t *testing.T, kinds ...string) {
	t.Helper()
	events, err := i.account.Emit(kinds...)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.emulator.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, event := range events {
		if !i.consumer.got(event) {
			t.Errorf("an event did not arrive with its bytes as they were: %.80s", event)
		}
	}
}

func TestLifecycle(t *testing.T) {
	i := install(t)

	t.Run("stalled objects recover", i.testStalledObjectsRecover)

	t.Run("renamed with batches waiting at Mandrill", i.testRename)
	t.Run("everything is uninstalled", i.testUninstall)

	t.Run("from create to delete", func(t *testing.T) {
		webhook := i.create(t, true, nil)
		await(t, webhook, "Ready", "True", "Succeeded")
		hook := i.remote(webhook.Status.WebhookID)
		if hook == nil || !strings.HasSuffix(hook.URL, "/mandrill/"+webhook.Namespace+"/transactional") || webhook.Status.URL != hook.URL {
			t.Fatalf("Mandrill has %+v", hook)
		}
		secret := &corev1.Secret{}
		key := types.NamespacedName{Namespace: webhook.Namespace, Name: "transactional-signing-key"}
		if err := admin.Get(t.Context(), key, secret); err != nil || string(secret.Data["signing-key"]) != hook.AuthKey || string(secret.Data["url"]) != hook.URL || !metav1.IsControlledBy(secret, webhook) {
			t.Errorf("the signing key's Secret is %+v, error %v", secret.ObjectMeta, err)
		}
		i.deliver(t, "open", "denylist_add")

		edit(t, webhook, func() { webhook.Spec.Events = []v1alpha1.EventName{"click"} })
		await(t, webhook, "Ready", "True", "Succeeded")
		if got := i.remote(webhook.Status.WebhookID); !slices.Equal(got.Events, []string{"click"}) {
			t.Errorf("Mandrill has the events %v", got.Events)
		}
		i.deliver(t, "click")

		// a Secret deleted by hand comes back by way of the watch
		if err := admin.Delete(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the Secret comes back", func() error { return admin.Get(t.Context(), key, &corev1.Secret{}) })

		if err := admin.Delete(t.Context(), webhook); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the object goes", func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", errors.Join(err))
			}
			return nil
		})
		if i.remote(hook.ID) != nil {
			t.Error("the webhook is still there at Mandrill")
		}
		routesNow := &corev1.Secret{}
		if err := admin.Get(t.Context(), routesSecret, routesNow); err != nil || strings.Contains(string(routesNow.Data[routes.Key]), webhook.Namespace) {
			t.Errorf("the route is still there, or error %v", err)
		}
		assertEvents(t, webhook.Namespace, "Registered", "Updated", "Deleted")
	})

	t.Run("an API key that comes late and was wrong at first", func(t *testing.T) {
		webhook := i.create(t, false, nil)
		await(t, webhook, "Registered", "False", v1alpha1.ReasonAPIKeySecretNotFound)
		createKey(t, webhook.Namespace, "wrong")
		await(t, webhook, "Stalled", "True", v1alpha1.ReasonInvalidAPIKey)
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: "mandrill"}, StringData: map[string]string{"api-key": lifecycleKey}}
		if err := admin.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		await(t, webhook, "Ready", "True", "Succeeded")
		assertEvents(t, webhook.Namespace, "InvalidAPIKey", "Registered")
	})

	t.Run("a Service that comes late", func(t *testing.T) {
		webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
			o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "v1", Kind: "Service", Name: "late"}, URI: "/events"}
			o.Spec.Events = []v1alpha1.EventName{"spam"} // which no test emits: the Service's name leads nowhere
		})
		await(t, webhook, "SinkProvided", "False", v1alpha1.ReasonSinkNotFound)
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: "late"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 8080}}}}
		if err := admin.Create(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		await(t, webhook, "Ready", "True", "Succeeded")
		if want := "http://late." + webhook.Namespace + ".svc.cluster.local:8080/events"; webhook.Status.SinkURI != want {
			t.Errorf("the sink is %s, want %s", webhook.Status.SinkURI, want)
		}
	})

	t.Run("a secret in the URL that comes late and changes", func(t *testing.T) {
		webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
			o.Spec.URLSecretRef = &v1alpha1.URLSecretRef{Name: "hook", Key: "token"}
		})
		await(t, webhook, "ReceiverReady", "False", v1alpha1.ReasonURLSecretNotFound)
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: "hook"}, StringData: map[string]string{"token": "first"}}
		if err := admin.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		await(t, webhook, "ReceiverReady", "False", v1alpha1.ReasonSecretNotAllowed)
		secret.Annotations = map[string]string{v1alpha1.AnnotationAllowURLSecret: "true"}
		if err := admin.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		await(t, webhook, "Ready", "True", "Succeeded")
		if got := i.remote(webhook.Status.WebhookID).URL; !strings.HasSuffix(got, "/transactional?secret=first") || strings.Contains(webhook.Status.URL, "first") {
			t.Errorf("Mandrill has %s, the status %s", got, webhook.Status.URL)
		}
		i.deliver(t, "open")
		secret.StringData = map[string]string{"token": "second"}
		if err := admin.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the URL changes", func() error {
			if got := i.remote(webhook.Status.WebhookID).URL; !strings.HasSuffix(got, "?secret=second") {
				return errors.New("not yet")
			}
			return nil
		})
		i.deliver(t, "open")
	})

	t.Run("a sink of a kind that is not installed", func(t *testing.T) {
		webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
			o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "eventing.knative.dev/v1", Kind: "Broker", Name: "default"}}
		})
		await(t, webhook, "SinkProvided", "False", v1alpha1.ReasonSinkNotFound)
		if message := condition(webhook, "SinkProvided").Message; !strings.Contains(message, "the cluster has no kind Broker in eventing.knative.dev/v1") {
			t.Errorf("the message is %q", message)
		}
	})

	t.Run("a kind of sink that is installed late", func(t *testing.T) { i.testLateKind(t) })
	t.Run("a kind of dead letter sink that is installed late", func(t *testing.T) { i.testLateDeadLetterKind(t) })

	t.Run("changes made at Mandrill", func(t *testing.T) {
		webhook := i.create(t, true, nil)
		await(t, webhook, "Ready", "True", "Succeeded")
		id := webhook.Status.WebhookID
		i.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events, spec.Description = nil, "edited" })
		eventually(t, "the events come back", func() error {
			if got := i.remote(id); len(got.Events) != 2 || got.Description != "" {
				return fmt.Errorf("Mandrill has %+v", got)
			}
			return nil
		})
		key, err := i.account.ResetKey(id)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new key is stored", func() error {
			secret := &corev1.Secret{}
			err := admin.Get(t.Context(), types.NamespacedName{Namespace: webhook.Namespace, Name: "transactional-signing-key"}, secret)
			if err == nil && string(secret.Data["signing-key"]) != key {
				err = errors.New("the Secret has the old key")
			}
			return err
		})
		eventually(t, "the receiver has the new key", func() error {
			if err := i.emulator.Flush(t.Context()); err != nil {
				return err
			}
			if _, err := i.account.Emit("open"); err != nil {
				return err
			}
			if got := i.remote(id); got.BatchesSent == 0 {
				return fmt.Errorf("nothing was delivered: %s", got.LastError)
			}
			return nil
		})
		body := strings.NewReader(fmt.Sprintf(`{"key":%q,"id":%d}`, lifecycleKey, id))
		response := httptest.NewRecorder()
		i.emulator.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/webhooks/delete", body))
		eventually(t, "the webhook is made again", func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
				return err
			}
			if webhook.Status.WebhookID == id || i.remote(webhook.Status.WebhookID) == nil {
				return errors.New("not yet")
			}
			return nil
		})
		assertEvents(t, webhook.Namespace, "Registered", "Updated", "SigningKeyChanged")
	})

	t.Run("routes edited and deleted by hand", func(t *testing.T) {
		webhook := i.create(t, true, nil)
		await(t, webhook, "Ready", "True", "Succeeded")
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: routesSecret.Namespace, Name: routesSecret.Name}}
		for what, spoil := range map[string]func() error{
			"edited": func() error {
				secret := secret.DeepCopy()
				secret.Data = map[string][]byte{routes.Key: []byte("routes: []")}
				return admin.Update(t.Context(), secret)
			},
			"deleted": func() error { return admin.Delete(t.Context(), secret.DeepCopy()) },
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the route comes back after it was "+what, func() error {
				now := &corev1.Secret{}
				err := admin.Get(t.Context(), routesSecret, now)
				if err == nil && !strings.Contains(string(now.Data[routes.Key]), webhook.Namespace) {
					err = errors.New("the route is not there")
				}
				return err
			})
		}
		// The receiver may not have read yet what was spoiled. What it reads after a route that is made now, has come back.
		await(t, i.create(t, true, nil), "Ready", "True", "Succeeded")
		eventually(t, "the receiver has the route again", func() error {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, webhook.Status.URL, nil)
			if err != nil {
				return err
			}
			response, err := loopback.Client.Do(request)
			if err != nil {
				return err
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d", response.StatusCode)
			}
			return nil
		})
		i.deliver(t, "open")
	})

	t.Run("two objects with one URL", func(t *testing.T) {
		older := i.create(t, true, nil)
		await(t, older, "Ready", "True", "Succeeded")
		receiver, _, _ := strings.Cut(older.Status.URL, "/mandrill/")
		shared := receiver + "/shared" // a place of no namespace
		edit(t, older, func() { older.Spec.URL = shared })
		await(t, older, "Ready", "True", "Succeeded")
		younger := i.create(t, true, func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = shared })
		await(t, younger, "Stalled", "True", v1alpha1.ReasonURLConflict)
		await(t, older, "URLExclusive", "False", v1alpha1.ReasonURLConflict)
		edit(t, older, func() { older.Spec.URL = shared + "/moved" })
		await(t, younger, "Ready", "True", "Succeeded")
		await(t, older, "Ready", "True", "Succeeded")
		await(t, older, "URLExclusive", "True", "Succeeded")
		if moved, kept := i.remote(older.Status.WebhookID), i.remote(younger.Status.WebhookID); moved.URL != shared+"/moved" || kept.URL != shared {
			t.Errorf("Mandrill has %s and %s", moved.URL, kept.URL)
		}
		third := i.create(t, true, func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = shared })
		await(t, third, "Stalled", "True", v1alpha1.ReasonURLConflict)
		if err := admin.Delete(t.Context(), younger); err != nil {
			t.Fatal(err)
		}
		await(t, third, "Ready", "True", "Succeeded")
		// the same name again: the Secret of the first is still there, because nothing collects garbage here
		if err := admin.Delete(t.Context(), third); err != nil {
			t.Fatal(err)
		}
		third.ObjectMeta = metav1.ObjectMeta{Namespace: third.Namespace, Name: third.Name}
		third.Status = v1alpha1.MandrillWebhookStatus{}
		eventually(t, "the name is free", func() error { return admin.Create(t.Context(), third) })
		await(t, third, "Ready", "True", "Succeeded")
	})
}

// assertEvents waits for Kubernetes Events with these reasons.
func assertEvents(t *testing.T, namespace string, reasons ...string) {
	t.Helper()
	eventually(t, "Events", func() error {
		var list eventsv1.EventList
		if err := admin.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		var got []string
		for _, event := range list.Items {
			got = append(got, event.Reason)
			if strings.Contains(event.Note, lifecycleKey) {
				t.Errorf("an Event holds the API key: %s", event.Note)
			}
		}
		for _, reason := range reasons {
			if !slices.Contains(got, reason) {
				return fmt.Errorf("no Event %s among %v", reason, got)
			}
		}
		return nil
	})
}

// The receiver's account may read its routes and nothing else, the operator's no more than it needs.
func TestAccountsHaveOnlyTheRightsTheyNeed(t *testing.T) {
	t.Parallel()
	asReceiver, err := client.New(rightsOf(t, "mandrill-receiver"), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	namespace := newNamespace(t)
	createKey(t, namespace, "x")
	for what, err := range map[string]error{
		"a Secret of a user":            asReceiver.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "mandrill"}, &corev1.Secret{}),
		"another Secret beside":         asReceiver.Get(t.Context(), types.NamespacedName{Namespace: routesSecret.Namespace, Name: "other"}, &corev1.Secret{}),
		"all Secrets beside":            asReceiver.List(t.Context(), &corev1.SecretList{}, client.InNamespace(routesSecret.Namespace)),
		"MandrillWebhooks":              asReceiver.List(t.Context(), &v1alpha1.MandrillWebhookList{}),
		"writing its routes":            asReceiver.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: routesSecret.Namespace, Name: routesSecret.Name}}),
		"the Services of the cluster":   asReceiver.List(t.Context(), &corev1.ServiceList{}),
		"the Namespaces of the cluster": asReceiver.List(t.Context(), &corev1.NamespaceList{}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("the receiver is not forbidden %s: %v", what, err)
		}
	}
	for number := range routes.MaxSecrets + 1 {
		name := types.NamespacedName{Namespace: routesSecret.Namespace, Name: routes.SecretName(routesSecret.Name, number)}
		err := asReceiver.Get(t.Context(), name, &corev1.Secret{})
		if wanted := number < routes.MaxSecrets; wanted == apierrors.IsForbidden(err) {
			t.Errorf("the receiver may read %s: want %t, got error %v", name, wanted, err)
		}
	}
	asOperator, err := client.New(rightsOf(t, "mandrill-operator"), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"deleting a Secret":    asOperator.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mandrill"}}),
		"creating an object":   asOperator.Create(t.Context(), &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x"}}),
		"the Pods":             asOperator.List(t.Context(), &corev1.PodList{}),
		"listing Events":       asOperator.List(t.Context(), &eventsv1.EventList{}, client.InNamespace(namespace)),
		"changing a Namespace": asOperator.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("the operator is not forbidden %s: %v", what, err)
		}
	}
}
