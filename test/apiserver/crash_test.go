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
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// errDied stands for the end of the process: whatever the reconcile does with it, there are no calls after it.
var errDied = errors.New("the process died")

// crashingProcess counts the external calls of an operator and ends it before one of them or right after it, when the
// call was made and its answer is lost.
type crashingProcess struct {
	calls  int
	diesAt int // number of the call, from 1; 0 never
	after  bool
	dead   bool
}

func (p *crashingProcess) call(do func() error) error {
	if p.dead {
		return errDied
	}
	p.calls++
	if p.calls != p.diesAt {
		return do()
	}
	p.dead = true
	if p.after {
		_ = do()
	}
	return errDied
}

// crashingAPI is Mandrill's API as the crashing operator calls it.
type crashingAPI struct {
	account.API
	process *crashingProcess
}

func (a crashingAPI) Webhooks(ctx context.Context) (list []mandrill.Webhook, err error) {
	err = a.process.call(func() error { list, err = a.API.Webhooks(ctx); return err })
	return list, err
}

func (a crashingAPI) Webhook(ctx context.Context, id int64) (w mandrill.Webhook, err error) {
	err = a.process.call(func() error { w, err = a.API.Webhook(ctx, id); return err })
	return w, err
}

func (a crashingAPI) AddWebhook(ctx context.Context, spec mandrill.WebhookSpec) (w mandrill.Webhook, err error) {
	err = a.process.call(func() error { w, err = a.API.AddWebhook(ctx, spec); return err })
	return w, err
}

func (a crashingAPI) UpdateWebhook(ctx context.Context, id int64, spec mandrill.WebhookSpec) (w mandrill.Webhook, err error) {
	err = a.process.call(func() error { w, err = a.API.UpdateWebhook(ctx, id, spec); return err })
	return w, err
}

func (a crashingAPI) DeleteWebhook(ctx context.Context, id int64) (w mandrill.Webhook, err error) {
	err = a.process.call(func() error { w, err = a.API.DeleteWebhook(ctx, id); return err })
	return w, err
}

func (a crashingAPI) InboundDomains(ctx context.Context) (list []mandrill.InboundDomain, err error) {
	err = a.process.call(func() error { list, err = a.API.InboundDomains(ctx); return err })
	return list, err
}

func (a crashingAPI) AddInboundDomain(ctx context.Context, domain string) (d mandrill.InboundDomain, err error) {
	err = a.process.call(func() error { d, err = a.API.AddInboundDomain(ctx, domain); return err })
	return d, err
}

func (a crashingAPI) CheckInboundDomain(ctx context.Context, domain string) (d mandrill.InboundDomain, err error) {
	err = a.process.call(func() error { d, err = a.API.CheckInboundDomain(ctx, domain); return err })
	return d, err
}

func (a crashingAPI) InboundRoutes(ctx context.Context, domain string) (list []mandrill.InboundRoute, err error) {
	err = a.process.call(func() error { list, err = a.API.InboundRoutes(ctx, domain); return err })
	return list, err
}

func (a crashingAPI) AddInboundRoute(ctx context.Context, domain, pattern, url string) (r mandrill.InboundRoute, err error) {
	err = a.process.call(func() error { r, err = a.API.AddInboundRoute(ctx, domain, pattern, url); return err })
	return r, err
}

func (a crashingAPI) UpdateInboundRoute(ctx context.Context, id, pattern, url string) (r mandrill.InboundRoute, err error) {
	err = a.process.call(func() error { r, err = a.API.UpdateInboundRoute(ctx, id, pattern, url); return err })
	return r, err
}

func (a crashingAPI) DeleteInboundRoute(ctx context.Context, id string) (r mandrill.InboundRoute, err error) {
	err = a.process.call(func() error { r, err = a.API.DeleteInboundRoute(ctx, id); return err })
	return r, err
}

// crashFixture is one object, a Mandrill of its own, and operators that die.
type crashFixture struct {
	t        *testing.T
	emulator *mandrilltest.Server
	account  *mandrilltest.Account
	api      *httptest.Server
	receiver *httptest.Server
	routes   types.NamespacedName
	key      types.NamespacedName

	otherRoute string // where somebody else's inbound route posts

	skew time.Duration // of the operators' clock: what is tried again has waited
}

func newCrashFixture(t *testing.T, change func(*v1alpha1.MandrillWebhook)) *crashFixture {
	t.Helper()
	namespace := newNamespace(t)
	createKey(t, namespace, lifecycleKey)
	f := &crashFixture{
		t: t, key: types.NamespacedName{Namespace: namespace, Name: "transactional"}, routes: types.NamespacedName{Namespace: namespace, Name: "routes"},
	}
	f.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: []string{lifecycleKey}, BatchInterval: time.Hour})
	t.Cleanup(f.emulator.Close)
	f.account = f.emulator.Account(lifecycleKey)
	f.api = httptest.NewServer(f.emulator)
	t.Cleanup(f.api.Close)
	f.receiver = httptest.NewServer(http.HandlerFunc(f.serveReceiver))
	t.Cleanup(f.receiver.Close)
	webhook := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: f.key.Name},
		Spec: v1alpha1.MandrillWebhookSpec{
			Events: []v1alpha1.EventName{"open"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"}, Sink: v1alpha1.Destination{URI: "http://sink.example"},
		},
	}
	if change != nil {
		change(webhook)
		f.prepareInbound()
	}
	if err := admin.Create(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	return f
}

// prepareInbound adds the domains, and somebody else's route to the first.
func (f *crashFixture) prepareInbound() {
	f.t.Helper()
	api, err := mandrill.NewClient(mandrill.ClientOptions{Key: lifecycleKey, BaseURL: f.api.URL + "/api/1.0"})
	if err != nil {
		f.t.Fatal(err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer other.Close()
	for _, domain := range inboundDomains {
		if _, err := api.AddInboundDomain(f.t.Context(), domain); err != nil {
			f.t.Fatal(err)
		}
		f.account.SetValidMX(domain, true)
	}
	if _, err := api.AddInboundRoute(f.t.Context(), inboundDomains[0], "sales", other.URL); err != nil {
		f.t.Fatal(err)
	}
	f.otherRoute = other.URL
}

// serveReceiver is a receiver with the routes of the moment.
func (f *crashFixture) serveReceiver(response http.ResponseWriter, request *http.Request) {
	metrics, logger := receiver.NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewTextHandler(io.Discard, nil))
	loaded := &routing.Routes{Logger: logger, Metrics: routing.NewMetrics(prometheus.NewRegistry())}
	loaded.Complete()
	var secret corev1.Secret
	if err := admin.Get(request.Context(), f.routes, &secret); err == nil {
		if err := loaded.Load("routes", secret.Data[routes.Key]); err != nil {
			f.t.Error(err)
		}
	}
	receiver.NewHandler(receiver.Options{Routes: loaded, Metrics: metrics, Logger: logger}).ServeHTTP(response, request)
}

// operator returns a reconciler that has just started, with nothing in memory, and makes its calls through the process.
func (f *crashFixture) operator(p *crashingProcess) *mandrillwebhook.Reconciler {
	f.t.Helper()
	seam := interceptor.NewClient(admin, interceptor.Funcs{
		// The field selectors of the cache's indexes mean nothing to the API server; there is one object here.
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			return c.List(ctx, list, client.InNamespace(f.key.Namespace))
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return p.call(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return p.call(func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return p.call(func() error { return c.Patch(ctx, o, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return p.call(func() error { return c.Apply(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return p.call(func() error { return c.SubResource(sub).Patch(ctx, o, patch, opts...) })
		},
	})
	return mandrillwebhook.New(mandrillwebhook.Options{
		Client: seam, Recorder: events.NewFakeRecorder(1000), RoutesSecret: f.routes, PublicURL: f.receiver.URL + "/mandrill", ProbeWait: time.Minute,
		SlowCall: time.Hour, // what is said about a slow call is written beside the calls that are counted
		NewAPI: func(key string) (account.API, error) {
			api, err := mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: f.api.URL + "/api/1.0"})
			return crashingAPI{api, p}, err
		},
		Now: func() time.Time { return time.Now().Add(f.skew) },
	})
}

// run reconciles until the operator dies or there is nothing left to do, and returns how many calls it made.
func (f *crashFixture) run(p *crashingProcess) int {
	f.t.Helper()
	operator := f.operator(p)
	for range 20 {
		var webhook v1alpha1.MandrillWebhook
		if err := admin.Get(f.t.Context(), f.key, &webhook); apierrors.IsNotFound(err) {
			return p.calls
		} else if err != nil {
			f.t.Fatal(err)
		}
		result, err := operator.Reconcile(f.t.Context(), &webhook)
		f.skew += result.RequeueAfter
		if err != nil {
			f.skew += 3 * time.Second
		}
		if unserved(&webhook) && !p.dead {
			operator = f.operator(p)
			continue
		}
		if p.dead || err == nil && (result == reconcile.Result{} || result.RequeueAfter > time.Minute) {
			return p.calls
		}
	}
	f.t.Fatalf("no end after 20 reconciles:\n%+v", f.webhook().Status.Conditions)
	return 0
}

// unserved reports whether a busy machine answered the probe too late. The operator would ask again after minutes, and a new one does at once.
func unserved(webhook *v1alpha1.MandrillWebhook) bool {
	return condition(webhook, "ReceiverReady").Reason == v1alpha1.ReasonRouteNotServed
}

func (f *crashFixture) webhook() *v1alpha1.MandrillWebhook {
	f.t.Helper()
	var webhook v1alpha1.MandrillWebhook
	if err := admin.Get(f.t.Context(), f.key, &webhook); err != nil {
		f.t.Fatal(err)
	}
	return &webhook
}

// check asserts what must hold whatever died: one webhook, its key in the Secret and in use, Ready.
func (f *crashFixture) check() error {
	webhook, remote := f.webhook(), f.account.Webhooks()
	if len(remote) != 1 {
		return fmt.Errorf("Mandrill has %d webhooks; the conditions are %+v", len(remote), webhook.Status.Conditions)
	}
	hook := remote[0]
	if ready := condition(webhook, "Ready"); ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != webhook.Generation {
		return fmt.Errorf("the conditions are %+v", webhook.Status.Conditions)
	}
	if webhook.Status.WebhookID != hook.ID || webhook.Status.URL != hook.URL || webhook.Spec.Description != hook.Description ||
		fmt.Sprint(webhook.Spec.Events) != fmt.Sprint(hook.Events) {
		return fmt.Errorf("Mandrill has %+v for %+v and status %+v", hook, webhook.Spec, webhook.Status)
	}
	var secret corev1.Secret
	if err := admin.Get(f.t.Context(), types.NamespacedName{Namespace: f.key.Namespace, Name: "transactional-signing-key"}, &secret); err != nil {
		return err
	}
	if string(secret.Data["signing-key"]) != hook.AuthKey || string(secret.Data["url"]) != hook.URL {
		return errors.New("the Secret has another key or URL")
	}
	request, err := mandrilltest.NewRequest(f.t.Context(), hook.URL, hook.URL, hook.AuthKey, []byte("[]"))
	if err != nil {
		return err
	}
	response, err := loopback.Client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the receiver answers a signed batch with %d", response.StatusCode)
	}
	return f.checkInbound(webhook, hook.URL)
}

// checkInbound asserts that the domains have the object's routes, each once, and those of others.
func (f *crashFixture) checkInbound(webhook *v1alpha1.MandrillWebhook, url string) error {
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
		for _, route := range f.account.Routes(domain) {
			if route.URL == f.otherRoute {
				continue
			}
			got[domain+" "+route.Pattern+" "+route.URL]++
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("the inbound routes are %v, want %v", got, want)
	}
	if routes := f.account.Routes(inboundDomains[0]); f.otherRoute != "" && (len(routes) == 0 || routes[0].URL != f.otherRoute) {
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
// at two places in a row. The next operator that lives puts everything in order.
func TestCrashesLoseNothing(t *testing.T) {
	t.Parallel()
	edit := func(f *crashFixture, change func(*v1alpha1.MandrillWebhook)) {
		f.t.Helper()
		webhook := f.webhook()
		change(webhook)
		if err := admin.Update(f.t.Context(), webhook); err != nil {
			f.t.Fatal(err)
		}
	}
	gone := func(f *crashFixture) error {
		if err := admin.Get(f.t.Context(), f.key, &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the object is still there: %w", errors.Join(err))
		}
		var secret corev1.Secret
		if err := admin.Get(f.t.Context(), f.routes, &secret); err != nil || strings.Contains(string(secret.Data[routes.Key]), "transactional") {
			return fmt.Errorf("the route is still there, or error %w", errors.Join(err))
		}
		if n := len(f.account.Webhooks()); n != 0 {
			return fmt.Errorf("Mandrill still has %d webhooks", n)
		}
		return f.checkInbound(nil, "")
	}
	twoRoutes := withInbound(v1alpha1.InboundRoute{Domain: "a.example", Pattern: "help-*"}, v1alpha1.InboundRoute{Domain: "b.example", Pattern: "*"})
	for _, test := range []struct {
		name   string
		exists bool                // the object is Ready before
		then   func(*crashFixture) // once the operator has died for the first time
		change func(*crashFixture)
		check  func(*crashFixture) error
		object func(*v1alpha1.MandrillWebhook)
	}{
		{"inbound routes for the first time", true, nil, func(f *crashFixture) {
			edit(f, twoRoutes)
		}, (*crashFixture).check, func(*v1alpha1.MandrillWebhook) {}},
		{"inbound routes and URL", true, nil, func(f *crashFixture) {
			edit(f, func(o *v1alpha1.MandrillWebhook) {
				o.Spec.Inbound.Routes[1].Pattern = "new"
				o.Spec.URL = f.receiver.URL + "/new"
			})
		}, (*crashFixture).check, twoRoutes},
		{"no inbound routes any more", true, nil, func(f *crashFixture) {
			edit(f, func(o *v1alpha1.MandrillWebhook) { o.Spec.Inbound = nil })
		}, (*crashFixture).check, twoRoutes},
		{"delete with inbound routes", true, nil, func(f *crashFixture) {
			if err := admin.Delete(f.t.Context(), f.webhook()); err != nil {
				f.t.Fatal(err)
			}
		}, gone, twoRoutes},
		{"create", false, nil, func(*crashFixture) {}, (*crashFixture).check, nil},
		{"create, and then another URL", false, func(f *crashFixture) {
			edit(f, func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/new" })
		}, func(*crashFixture) {}, (*crashFixture).check, nil},
		{"new URL", true, nil, func(f *crashFixture) {
			edit(f, func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/new" })
		}, (*crashFixture).check, nil},
		{"new events and description", true, nil, func(f *crashFixture) {
			edit(f, func(o *v1alpha1.MandrillWebhook) {
				o.Spec.Events, o.Spec.Description = []v1alpha1.EventName{"click", "spam"}, "changed"
			})
		}, (*crashFixture).check, nil},
		{"key reset", true, nil, func(f *crashFixture) {
			if _, err := f.account.ResetKey(f.account.Webhooks()[0].ID); err != nil {
				f.t.Fatal(err)
			}
		}, (*crashFixture).check, nil},
		{"delete", true, nil, func(f *crashFixture) {
			if err := admin.Delete(f.t.Context(), f.webhook()); err != nil {
				f.t.Fatal(err)
			}
		}, gone, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			prepare := func() *crashFixture {
				f := newCrashFixture(t, test.object)
				if test.exists {
					f.run(&crashingProcess{})
					if err := f.check(); err != nil {
						t.Fatal(err)
					}
				}
				test.change(f)
				return f
			}
			calls := prepare().run(&crashingProcess{})
			if calls < 2 {
				t.Fatalf("only %d calls were made", calls)
			}
			for first := 1; first <= calls; first++ {
				for _, after := range []bool{false, true} {
					for second := range calls + 1 { // 0: dies once
						if test.object != nil && second != 0 && second != first {
							continue // with inbound routes the second time only at the same call: there are many
						}
						f := prepare()
						f.run(&crashingProcess{diesAt: first, after: after})
						if test.then != nil {
							test.then(f)
						}
						if second > 0 {
							f.run(&crashingProcess{diesAt: second, after: after})
						}
						f.run(&crashingProcess{})
						if err := test.check(f); err != nil {
							t.Errorf("died at call %d, then %d, of %d (after it: %t): %v", first, second, calls, after, err)
						}
					}
				}
			}
			t.Logf("%d calls", calls)
		})
	}
}
