package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
)

// errDied stands for the end of the process: whatever the reconcile does with it, nothing is called any more.
var errDied = errors.New("the process died")

// mortal counts the external calls of an operator and ends it before one of them, or right after: the call was
// made, and nobody is there to see its answer.
type mortal struct {
	calls  int
	diesAt int // number of the call, from 1; 0 never
	after  bool
	dead   bool
}

func (m *mortal) call(do func() error) error {
	if m.dead {
		return errDied
	}
	m.calls++
	if m.calls != m.diesAt {
		return do()
	}
	m.dead = true
	if m.after {
		_ = do()
	}
	return errDied
}

// mortalAPI is Mandrill's API as the mortal operator calls it.
type mortalAPI struct {
	account.API
	*mortal
}

func (a mortalAPI) Webhooks(ctx context.Context) (list []mandrill.Webhook, err error) {
	err = a.call(func() error { list, err = a.API.Webhooks(ctx); return err })
	return list, err
}

func (a mortalAPI) AddWebhook(ctx context.Context, spec mandrill.WebhookSpec) (w mandrill.Webhook, err error) {
	err = a.call(func() error { w, err = a.API.AddWebhook(ctx, spec); return err })
	return w, err
}

func (a mortalAPI) UpdateWebhook(ctx context.Context, id int64, spec mandrill.WebhookSpec) (w mandrill.Webhook, err error) {
	err = a.call(func() error { w, err = a.API.UpdateWebhook(ctx, id, spec); return err })
	return w, err
}

func (a mortalAPI) DeleteWebhook(ctx context.Context, id int64) (w mandrill.Webhook, err error) {
	err = a.call(func() error { w, err = a.API.DeleteWebhook(ctx, id); return err })
	return w, err
}

func (a mortalAPI) InboundDomains(ctx context.Context) (list []mandrill.InboundDomain, err error) {
	err = a.call(func() error { list, err = a.API.InboundDomains(ctx); return err })
	return list, err
}

func (a mortalAPI) AddInboundDomain(ctx context.Context, domain string) (d mandrill.InboundDomain, err error) {
	err = a.call(func() error { d, err = a.API.AddInboundDomain(ctx, domain); return err })
	return d, err
}

func (a mortalAPI) CheckInboundDomain(ctx context.Context, domain string) (d mandrill.InboundDomain, err error) {
	err = a.call(func() error { d, err = a.API.CheckInboundDomain(ctx, domain); return err })
	return d, err
}

func (a mortalAPI) InboundRoutes(ctx context.Context, domain string) (list []mandrill.InboundRoute, err error) {
	err = a.call(func() error { list, err = a.API.InboundRoutes(ctx, domain); return err })
	return list, err
}

func (a mortalAPI) AddInboundRoute(ctx context.Context, domain, pattern, url string) (r mandrill.InboundRoute, err error) {
	err = a.call(func() error { r, err = a.API.AddInboundRoute(ctx, domain, pattern, url); return err })
	return r, err
}

func (a mortalAPI) UpdateInboundRoute(ctx context.Context, id, pattern, url string) (r mandrill.InboundRoute, err error) {
	err = a.call(func() error { r, err = a.API.UpdateInboundRoute(ctx, id, pattern, url); return err })
	return r, err
}

func (a mortalAPI) DeleteInboundRoute(ctx context.Context, id string) (r mandrill.InboundRoute, err error) {
	err = a.call(func() error { r, err = a.API.DeleteInboundRoute(ctx, id); return err })
	return r, err
}

// crashWorld is one object, a Mandrill of its own, and operators that die.
type crashWorld struct {
	t        *testing.T
	emulator *mandrilltest.Server
	account  *mandrilltest.Account
	api      *httptest.Server
	receiver *httptest.Server
	routes   types.NamespacedName
	key      types.NamespacedName

	otherRoute string // where somebody else's inbound route posts
}

func newCrashWorld(t *testing.T, change func(*v1alpha1.MandrillWebhook)) *crashWorld {
	t.Helper()
	namespace := newNamespace(t)
	createKey(t, namespace, lifecycleKey)
	w := &crashWorld{
		t: t, key: types.NamespacedName{Namespace: namespace, Name: "transactional"}, routes: types.NamespacedName{Namespace: namespace, Name: "routes"},
	}
	w.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: []string{lifecycleKey}, BatchInterval: time.Hour})
	t.Cleanup(w.emulator.Close)
	w.account = w.emulator.Account(lifecycleKey)
	w.api = httptest.NewServer(w.emulator)
	t.Cleanup(w.api.Close)
	w.receiver = httptest.NewServer(http.HandlerFunc(w.serveReceiver))
	t.Cleanup(w.receiver.Close)
	webhook := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: w.key.Name},
		Spec: v1alpha1.MandrillWebhookSpec{
			Events: []v1alpha1.EventName{"open"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"}, Sink: v1alpha1.Destination{URI: "http://sink.example"},
		},
	}
	if change != nil {
		change(webhook)
		w.prepareInbound()
	}
	if err := admin.Create(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	return w
}

// prepareInbound adds the domains, and somebody else's route to the first.
func (w *crashWorld) prepareInbound() {
	w.t.Helper()
	api, err := mandrill.NewClient(mandrill.ClientOptions{Key: lifecycleKey, BaseURL: w.api.URL + "/api/1.0"})
	if err != nil {
		w.t.Fatal(err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer other.Close()
	for _, domain := range inboundDomains {
		if _, err := api.AddInboundDomain(w.t.Context(), domain); err != nil {
			w.t.Fatal(err)
		}
		w.account.SetValidMX(domain, true)
	}
	if _, err := api.AddInboundRoute(w.t.Context(), inboundDomains[0], "sales", other.URL); err != nil {
		w.t.Fatal(err)
	}
	w.otherRoute = other.URL
}

// serveReceiver is a receiver with the routes of the moment.
func (w *crashWorld) serveReceiver(response http.ResponseWriter, request *http.Request) {
	metrics, logger := receiver.NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(io.Discard, nil))
	loaded := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	loaded.Complete()
	var secret corev1.Secret
	if err := admin.Get(request.Context(), w.routes, &secret); err == nil {
		if err := loaded.Load("routes", secret.Data[routes.Key]); err != nil {
			w.t.Error(err)
		}
	}
	receiver.NewHandler(receiver.Options{Routes: loaded, Metrics: metrics, Logger: logger}).ServeHTTP(response, request)
}

// operator returns a reconciler that has just started, with nothing in memory, and dies as the mortal says.
func (w *crashWorld) operator(m *mortal) *mandrillwebhook.Reconciler {
	w.t.Helper()
	direct, err := client.NewWithWatch(environment.Config, client.Options{Scheme: scheme})
	if err != nil {
		w.t.Fatal(err)
	}
	seam := interceptor.NewClient(direct, interceptor.Funcs{
		// The field selectors of the cache's indexes mean nothing to the API server; there is one object here.
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			return c.List(ctx, list, client.InNamespace(w.key.Namespace))
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return m.call(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return m.call(func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return m.call(func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return m.call(func() error { return c.Apply(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return m.call(func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
	})
	return mandrillwebhook.New(mandrillwebhook.Options{
		Client: seam, Recorder: events.NewFakeRecorder(1000), RoutesSecret: w.routes, PublicURL: w.receiver.URL + "/mandrill",
		NewAPI: func(key string) (account.API, error) {
			api, err := mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: w.api.URL + "/api/1.0"})
			return mortalAPI{api, m}, err
		},
	})
}

// run reconciles until the operator dies or there is nothing left to do, and returns how many calls it made.
func (w *crashWorld) run(m *mortal) int {
	w.t.Helper()
	operator := w.operator(m)
	for range 20 {
		var webhook v1alpha1.MandrillWebhook
		if err := admin.Get(w.t.Context(), w.key, &webhook); apierrors.IsNotFound(err) {
			return m.calls
		} else if err != nil {
			w.t.Fatal(err)
		}
		result, err := operator.Reconcile(w.t.Context(), &webhook)
		if m.dead || err == nil && (result == reconcile.Result{} || result.RequeueAfter > time.Minute) {
			return m.calls
		}
	}
	w.t.Fatalf("no end after 20 reconciles:\n%+v", w.webhook().Status.Conditions)
	return 0
}

func (w *crashWorld) webhook() *v1alpha1.MandrillWebhook {
	w.t.Helper()
	var webhook v1alpha1.MandrillWebhook
	if err := admin.Get(w.t.Context(), w.key, &webhook); err != nil {
		w.t.Fatal(err)
	}
	return &webhook
}

// check asserts what must hold whatever died: one webhook, its key in the Secret and in use, Ready.
func (w *crashWorld) check() error {
	remote := w.account.Webhooks()
	if len(remote) != 1 {
		return fmt.Errorf("Mandrill has %d webhooks", len(remote))
	}
	webhook, hook := w.webhook(), remote[0]
	if ready := condition(webhook, "Ready"); ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != webhook.Generation {
		return fmt.Errorf("the conditions are %+v", webhook.Status.Conditions)
	}
	if webhook.Status.WebhookID != hook.ID || webhook.Status.URL != hook.URL || webhook.Spec.Description != hook.Description ||
		fmt.Sprint(webhook.Spec.Events) != fmt.Sprint(hook.Events) {
		return fmt.Errorf("Mandrill has %+v for %+v and status %+v", hook, webhook.Spec, webhook.Status)
	}
	var secret corev1.Secret
	if err := admin.Get(w.t.Context(), types.NamespacedName{Namespace: w.key.Namespace, Name: "transactional-signing-key"}, &secret); err != nil {
		return err
	}
	if string(secret.Data["signing-key"]) != hook.AuthKey || string(secret.Data["url"]) != hook.URL {
		return errors.New("the Secret has another key or URL")
	}
	request, err := mandrilltest.NewRequest(w.t.Context(), hook.URL, hook.URL, hook.AuthKey, []byte("[]"))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the receiver answers a signed batch with %d", response.StatusCode)
	}
	return w.checkInbound(webhook, hook.URL)
}

// checkInbound asserts that the domains have the object's routes, each once, and those of others.
func (w *crashWorld) checkInbound(webhook *v1alpha1.MandrillWebhook, url string) error {
	want := map[string]int{}
	if webhook != nil && webhook.Spec.Inbound != nil {
		for _, route := range webhook.Spec.Inbound.Routes {
			want[route.Domain+" "+route.Pattern+" "+url]++
		}
		if len(webhook.Status.InboundRoutes) != len(webhook.Spec.Inbound.Routes) {
			return fmt.Errorf("the status has the inbound routes %+v", webhook.Status.InboundRoutes)
		}
	}
	got := map[string]int{}
	for _, domain := range inboundDomains {
		for _, route := range w.account.Routes(domain) {
			if route.URL == w.otherRoute {
				continue
			}
			got[domain+" "+route.Pattern+" "+route.URL]++
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("the inbound routes are %v, want %v", got, want)
	}
	if routes := w.account.Routes(inboundDomains[0]); w.otherRoute != "" && (len(routes) == 0 || routes[0].URL != w.otherRoute) {
		return errors.New("somebody else's inbound route is gone")
	}
	return nil
}

// inboundDomains are at Mandrill from the beginning in tests of inbound routes.
var inboundDomains = []string{"a.example", "b.example"}

func withInbound(routes ...v1alpha1.InboundRoute) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) { o.Spec.Inbound = &v1alpha1.Inbound{Routes: routes} }
}

// The operator dies before and after every call that it makes to Mandrill and every write to Kubernetes, once and
// at two places in a row. Then one that lives finds everything.
func TestCrashes(t *testing.T) {
	t.Parallel()
	edit := func(w *crashWorld, change func(*v1alpha1.MandrillWebhook)) {
		w.t.Helper()
		webhook := w.webhook()
		change(webhook)
		if err := admin.Update(w.t.Context(), webhook); err != nil {
			w.t.Fatal(err)
		}
	}
	gone := func(w *crashWorld) error {
		if err := admin.Get(w.t.Context(), w.key, &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the object is still there: %w", errors.Join(err))
		}
		var secret corev1.Secret
		if err := admin.Get(w.t.Context(), w.routes, &secret); err != nil || strings.Contains(string(secret.Data[routes.Key]), "transactional") {
			return fmt.Errorf("the route is still there, or error %w", errors.Join(err))
		}
		if n := len(w.account.Webhooks()); n != 0 {
			return fmt.Errorf("Mandrill still has %d webhooks", n)
		}
		return w.checkInbound(nil, "")
	}
	twoRoutes := withInbound(v1alpha1.InboundRoute{Domain: "a.example", Pattern: "help-*"}, v1alpha1.InboundRoute{Domain: "b.example", Pattern: "*"})
	for _, test := range []struct {
		name   string
		exists bool // the object is Ready before
		change func(*crashWorld)
		check  func(*crashWorld) error
		object func(*v1alpha1.MandrillWebhook)
	}{
		{"inbound routes for the first time", true, func(w *crashWorld) {
			edit(w, twoRoutes)
		}, (*crashWorld).check, func(*v1alpha1.MandrillWebhook) {}},
		{"inbound routes and URL", true, func(w *crashWorld) {
			edit(w, func(o *v1alpha1.MandrillWebhook) {
				o.Spec.Inbound.Routes[1].Pattern = "new"
				o.Spec.URL = w.receiver.URL + "/new"
			})
		}, (*crashWorld).check, twoRoutes},
		{"no inbound routes any more", true, func(w *crashWorld) {
			edit(w, func(o *v1alpha1.MandrillWebhook) { o.Spec.Inbound = nil })
		}, (*crashWorld).check, twoRoutes},
		{"delete with inbound routes", true, func(w *crashWorld) {
			if err := admin.Delete(w.t.Context(), w.webhook()); err != nil {
				w.t.Fatal(err)
			}
		}, gone, twoRoutes},
		{"create", false, func(*crashWorld) {}, (*crashWorld).check, nil},
		{"new URL", true, func(w *crashWorld) {
			edit(w, func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = w.receiver.URL + "/new" })
		}, (*crashWorld).check, nil},
		{"new events and description", true, func(w *crashWorld) {
			edit(w, func(o *v1alpha1.MandrillWebhook) {
				o.Spec.Events, o.Spec.Description = []v1alpha1.EventName{"click", "spam"}, "changed"
			})
		}, (*crashWorld).check, nil},
		{"key reset", true, func(w *crashWorld) {
			if _, err := w.account.ResetKey(w.account.Webhooks()[0].ID); err != nil {
				w.t.Fatal(err)
			}
		}, (*crashWorld).check, nil},
		{"delete", true, func(w *crashWorld) {
			if err := admin.Delete(w.t.Context(), w.webhook()); err != nil {
				w.t.Fatal(err)
			}
		}, gone, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			prepare := func() *crashWorld {
				w := newCrashWorld(t, test.object)
				if test.exists {
					w.run(&mortal{})
					if err := w.check(); err != nil {
						t.Fatal(err)
					}
				}
				test.change(w)
				return w
			}
			calls := prepare().run(&mortal{})
			if calls < 2 {
				t.Fatalf("only %d calls were made", calls)
			}
			for first := 1; first <= calls; first++ {
				for _, after := range []bool{false, true} {
					for second := range calls + 1 { // 0: dies once
						if test.object != nil && second != 0 && second != first {
							continue // with inbound routes the second time only at the same call: there are many
						}
						w := prepare()
						w.run(&mortal{diesAt: first, after: after})
						if second > 0 {
							w.run(&mortal{diesAt: second, after: after})
						}
						w.run(&mortal{})
						if err := test.check(w); err != nil {
							t.Errorf("died at call %d, then %d, of %d (after it: %t): %v", first, second, calls, after, err)
						}
					}
				}
			}
			t.Logf("%d calls", calls)
		})
	}
}
