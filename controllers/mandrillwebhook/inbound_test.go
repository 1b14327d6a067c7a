package mandrillwebhook_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// inbound sets routes, each "pattern@domain".
func inbound(addresses ...string) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Inbound = nil
		for _, address := range addresses {
			pattern, domain, _ := strings.Cut(address, "@")
			if o.Spec.Inbound == nil {
				o.Spec.Inbound = &v1alpha1.Inbound{}
			}
			o.Spec.Inbound.Routes = append(o.Spec.Inbound.Routes, v1alpha1.InboundRoute{Domain: domain, Pattern: pattern})
		}
	}
}

// settle reconciles until it comes to an end, or waits for longer than a moment.
func (w *world) settle() {
	w.t.Helper()
	for range 10 {
		result, err := w.reconcile()
		if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > time.Minute {
			return
		}
	}
	w.t.Fatalf("no end:\n%s", w.conditions())
}

// validMX puts a domain's MX record right, and lets so much time pass that Mandrill is asked again.
func (w *world) validMX(domain string) {
	w.account.SetValidMX(domain, true)
	w.advance(3 * time.Minute)
}

// other adds somebody else's route and returns its URL.
func (w *world) other(address string) string {
	w.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w.t.Cleanup(server.Close)
	pattern, domain, _ := strings.Cut(address, "@")
	w.api("inbound/add-domain", fmt.Sprintf(`"domain":%q`, domain))
	w.api("inbound/add-route", fmt.Sprintf(`"domain":%q,"pattern":%q,"url":%q`, domain, pattern, server.URL))
	return server.URL
}

// api calls Mandrill's API as somebody else.
func (w *world) api(name, fields string) {
	w.t.Helper()
	response := httptest.NewRecorder()
	body := strings.NewReader(fmt.Sprintf(`{"key":%q,%s}`, apiKey, fields))
	w.emulator.ServeHTTP(response, httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, "/api/1.0/"+name, body))
	if response.Code != http.StatusOK {
		w.t.Fatalf("%s: %s", name, response.Body)
	}
}

// wantInbound asserts what Mandrill has at a domain, each route as "pattern URL".
func (w *world) wantInbound(domain string, want ...string) {
	w.t.Helper()
	var got []string
	for _, route := range w.account.Routes(domain) {
		got = append(got, route.Pattern+" "+route.URL)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s has the routes %q, want %q\n%s", domain, got, want, w.conditions())
	}
}

func TestInboundRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := w.other("sales@b.example")
	w.apply(inbound("help-*@a.example", "*@b.example"))
	w.settle()
	url := w.account.Webhooks()[0].URL
	w.wantInbound("a.example", "help-* "+url)
	w.wantInbound("b.example", "* "+url, "sales "+theirs)
	const message = "mail for a.example, b.example does not go to Mandrill yet: set the MX record that Mandrill's page of inbound domains shows"
	w.assert("InboundReady", "False", "MXRecordMissing", message)
	w.assert("Ready", "False", "MXRecordMissing", message)
	w.assert("Reconciling", "True", "MXRecordMissing", message)
	if got := w.get().Status; len(got.InboundRoutes) != 2 || got.InboundRoutes[0].Domain != "a.example" || got.InboundRoutes[0].Pattern != "help-*" || got.InboundRoutes[0].ID == "" ||
		got.CloudEventAttributes[len(got.CloudEventAttributes)-1].Type != "com.mandrill.inbound" {
		t.Errorf("the status is %+v", got)
	}
	w.validMX("a.example")
	w.settle()
	w.assert("InboundReady", "False", "MXRecordMissing", "mail for b.example does not go to Mandrill yet")
	w.validMX("b.example")
	w.mustReconcile()
	w.assert("InboundReady", "True", "Succeeded", "")

	calls := len(w.emulator.Calls())
	w.mustReconcile()
	if made := w.emulator.Calls()[calls:]; len(made) != 0 {
		t.Errorf("calls are %v, want none", made)
	}
	w.later().mustReconcile()
	want := []string{"webhooks/list", "inbound/domains", "inbound/routes", "inbound/routes"}
	if made := w.emulator.Calls()[calls:]; !slices.Equal(made, want) {
		t.Errorf("calls are %v, want %v", made, want)
	}

	// a mail arrives, signed with the webhook's key
	w.api("inbound/send-raw", `"raw_message":"From: x@c.example\nTo: help-1@a.example\n\nhello"`)
	w.edit(inbound("new@b.example"))
	w.settle()
	w.wantInbound("a.example")
	w.wantInbound("b.example", "new "+url, "sales "+theirs)
	w.edit(inbound())
	w.settle()
	w.wantInbound("b.example", "sales "+theirs)
	if webhook := w.mustReconcile(); meta.FindStatusCondition(webhook.Status.Conditions, "InboundReady") != nil || webhook.Status.InboundRoutes != nil {
		t.Errorf("something is left in the status: %+v", webhook.Status)
	}
	calls = len(w.emulator.Calls())
	if w.mustReconcile(); len(w.emulator.Calls()) != calls {
		t.Errorf("an object without inbound routes makes the calls %v", w.emulator.Calls()[calls:])
	}
}

// inboundReady is a world with an object whose inbound routes are in order.
func inboundReady(t *testing.T, addresses ...string) (w *world, url string) {
	t.Helper()
	w = newWorld(t)
	w.apply(inbound(addresses...))
	w.settle()
	for _, address := range addresses {
		_, domain, _ := strings.Cut(address, "@")
		w.validMX(domain)
	}
	w.mustReconcile()
	w.events()
	return w, w.account.Webhooks()[0].URL
}

// Routes that are edited, deleted or doubled at Mandrill are put right, and a domain that is deleted is added again.
func TestInboundDrift(t *testing.T) {
	t.Parallel()
	w, url := inboundReady(t, "help@a.example")
	theirs := w.other("sales@a.example")
	id := w.account.Routes("a.example")[0].ID
	for name, drift := range map[string]func(){
		"another URL":     func() { w.api("inbound/update-route", fmt.Sprintf(`"id":%q,"url":%q`, id, theirs)) },
		"another pattern": func() { w.api("inbound/update-route", fmt.Sprintf(`"id":%q,"pattern":"x"`, id)) },
		"deleted":         func() { w.api("inbound/delete-route", fmt.Sprintf(`"id":%q`, id)) },
		"doubled":         func() { w.api("inbound/add-route", fmt.Sprintf(`"domain":"a.example","pattern":"help","url":%q`, url)) },
		"one too many":    func() { w.api("inbound/add-route", fmt.Sprintf(`"domain":"a.example","pattern":"more","url":%q`, url)) },
	} {
		before := w.metric("mandrill_operator_drift_repairs_total", "inbound")
		drift()
		w.later().mustReconcile()
		if t.Failed() {
			t.Fatal(name)
		}
		w.wantInbound("a.example", "help "+url, "sales "+theirs)
		if got := w.metric("mandrill_operator_drift_repairs_total", "inbound"); got != before+1 {
			t.Errorf("%s: %v repairs were counted, want %v", name, got, before+1)
		}
		for _, route := range w.account.Routes("a.example") {
			if route.Pattern == "help" {
				id = route.ID
			}
		}
	}
	w.assertEvent("the inbound route help of a.example at Mandrill")
	w.api("inbound/delete-domain", `"domain":"a.example"`)
	w.later().settle()
	w.wantInbound("a.example", "help "+url)
	w.assert("InboundReady", "False", "MXRecordMissing", "")
}

// A new URL, and one whose secret has changed, takes its routes along.
func TestInboundFollowsTheURL(t *testing.T) {
	t.Parallel()
	w, url := inboundReady(t, "help@a.example")
	id := w.account.Routes("a.example")[0].ID
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new" })
	w.mustReconcile()
	w.wantInbound("a.example", "help "+url+"/new")
	if got := w.account.Routes("a.example")[0].ID; got != id {
		t.Errorf("the route is another: %s, was %s", got, id)
	}
}

// Somebody else's route with the same pattern is left alone, until it goes.
func TestInboundConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := w.other("help@a.example")
	w.validMX("a.example")
	w.apply(inbound("help@a.example", "more@a.example"))
	w.settle()
	url := w.account.Webhooks()[0].URL
	w.wantInbound("a.example", "help "+theirs, "more "+url)
	w.assert("Stalled", "True", "InboundRouteConflict", `the domain a.example has a route for "help" that posts to another URL: remove it in Mandrill or from its MandrillWebhook, or choose another pattern`)
	w.assertEvent("Warning InboundRouteConflict")
	w.api("inbound/delete-route", fmt.Sprintf(`"id":%q`, w.account.Routes("a.example")[0].ID))
	w.later().mustReconcile()
	w.wantInbound("a.example", "help "+url, "more "+url)
}

// An object that has moved away from a URL does not touch the routes of the one that has it now.
func TestInboundOfAnEarlierURL(t *testing.T) {
	t.Parallel()
	w, url := inboundReady(t, "help@a.example")
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new"; inbound("more@a.example")(o) })
	w.settle()
	second := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "second", UID: "uid-2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec:       w.get().Spec,
	}
	second.Spec.URL, second.Spec.Inbound = url, &v1alpha1.Inbound{Routes: []v1alpha1.InboundRoute{{Domain: "a.example", Pattern: "help"}}}
	w.create(second)
	for range 4 {
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(second), second); err != nil {
			t.Fatal(err)
		}
		if _, err := w.reconciler.Reconcile(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	}
	w.wantInbound("a.example", "help "+url, "more "+url+"/new")
	w.later().mustReconcile()
	w.wantInbound("a.example", "help "+url, "more "+url+"/new")
	w.deleteObject(true)
	w.wantInbound("a.example", "help "+url)
}

func TestInboundDeletion(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*world)
		want    []string // what is left
	}{
		"deleted":     {func(*world) {}, nil},
		"retained":    {func(w *world) { w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.DeletionPolicy = "Retain" }) }, []string{"help"}},
		"domain gone": {func(w *world) { w.api("inbound/delete-domain", `"domain":"a.example"`) }, nil},
		"route gone": {func(w *world) {
			w.api("inbound/delete-route", fmt.Sprintf(`"id":%q`, w.account.Routes("a.example")[0].ID))
		}, nil},
		"key went first":  {func(w *world) { w.deleteKey() }, nil},
		"status was lost": {func(w *world) { w.edit(func(o *v1alpha1.MandrillWebhook) { o.Status.InboundRoutes = nil }) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := inboundReady(t, "help@a.example")
			test.prepare(w)
			calls := len(w.emulator.Calls())
			w.deleteObject(true)
			var left []string
			for _, route := range w.account.Routes("a.example") {
				left = append(left, route.Pattern)
			}
			if !slices.Equal(left, test.want) {
				t.Errorf("the routes %v are left, want %v", left, test.want)
			}
			made := w.emulator.Calls()[calls:]
			if route, hook := slices.Index(made, "inbound/delete-route"), slices.Index(made, "webhooks/delete"); route > hook {
				t.Errorf("the webhook went before the route that needs its key: %v", made)
			}
		})
	}
}

func TestInboundErrors(t *testing.T) {
	t.Parallel()
	for call, fault := range map[string]mandrilltest.Fault{
		"inbound/domains":      {Status: 502},
		"inbound/add-domain":   {Status: 402, Name: "PaymentRequired", Message: "The requested feature requires payment."},
		"inbound/routes":       {Status: 500, Name: "GeneralError", Message: "try later"},
		"inbound/add-route":    {Status: 400, Name: "ValidationError", Message: `Validation error: {"url":"no"}`},
		"inbound/check-domain": {Status: 404, Name: "Unknown_InboundDomain", Message: "gone"},
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.emulator.Fail(call, fault)
			w.apply(inbound("help@a.example"))
			w.settle()
			if meta.IsStatusConditionTrue(w.get().Status.Conditions, "InboundReady") || !meta.IsStatusConditionTrue(w.get().Status.Conditions, "SigningKeyStored") {
				t.Errorf("the conditions are\n%s", w.conditions())
			}
			w.events()
			w.settle()
			w.validMX("a.example")
			w.mustReconcile()
			w.wantInbound("a.example", "help "+w.account.Webhooks()[0].URL)
		})
	}
}

// A route that was added right before a crash is found, even when nobody wants it any more.
func TestInboundLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*world){
		"changed": func(w *world) { w.edit(inbound("more@b.example")); w.settle() },
		"removed": func(w *world) { w.edit(inbound()); w.settle() },
		"deleted": func(w *world) { w.deleteObject(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(inbound("help@a.example"))
			for range 3 {
				w.mu.Lock()
				w.fault = func(verb string, _ client.Object) error {
					if verb == "patch status" && len(w.account.Routes("a.example")) > 0 {
						return errors.New("died")
					}
					return nil
				}
				w.mu.Unlock()
				_, _ = w.reconcile()
			}
			w.mu.Lock()
			w.fault = nil
			w.mu.Unlock()
			w.restart()
			if len(w.account.Routes("a.example")) != 1 || len(w.get().Status.InboundRoutes) != 0 {
				t.Fatal("the test does not test what it says")
			}
			forget(w)
			w.wantInbound("a.example")
		})
	}
}

// another is a second object, the first one's but for what is changed.
func (w *world) another(change func(*v1alpha1.MandrillWebhook)) func() {
	w.t.Helper()
	object := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "second", UID: "uid-2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec:       w.get().Spec,
	}
	change(object)
	w.create(object)
	return func() {
		var now v1alpha1.MandrillWebhook
		if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(object), &now); err != nil {
			w.t.Error(err)
			return
		}
		_, _ = w.reconciler.Reconcile(w.t.Context(), &now)
	}
}

// Routes go with their object, and not to one with a URL that is like its, or the same.
func TestInboundIsNotInherited(t *testing.T) {
	t.Parallel()
	for name, suffix := range map[string]string{"another query": "?tenant=blue", "the same": ""} {
		w := newWorld(t)
		base := w.receiver.URL + "/mandrill/x"
		w.apply(inbound("help@a.example"), func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = base + suffix })
		w.settle()
		w.validMX("a.example")
		w.mustReconcile()
		second := w.another(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL, o.Spec.Inbound = base, nil })
		for range 3 {
			second()
		}
		w.deleteObject(true)
		if left := w.account.Routes("a.example"); len(left) > 0 {
			t.Errorf("%s: the routes %+v are left", name, left)
		}
	}
}

// A pattern that is dropped together with the URL goes, though another object has that URL by then.
func TestInboundMovesAndDrops(t *testing.T) {
	t.Parallel()
	w, url := inboundReady(t, "help@a.example")
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new"; inbound("more@a.example")(o) })
	second := w.another(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL, o.Spec.Inbound = url, nil })
	for range 4 {
		_, _ = w.reconcile()
		second()
	}
	w.wantInbound("a.example", "more "+url+"/new")
}

// Of two objects that want one pattern at the same time one gets it.
func TestTwoWantOnePattern(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(inbound("help@a.example"))
	second := w.another(func(*v1alpha1.MandrillWebhook) {})
	for range 3 {
		var both sync.WaitGroup
		both.Go(func() { _, _ = w.reconcile() })
		both.Go(second)
		both.Wait()
	}
	if routes := w.account.Routes("a.example"); len(routes) != 1 {
		t.Errorf("Mandrill has the routes %+v", routes)
	}
}

// Inbound routes that cannot be deleted do not keep the webhook for ever.
func TestDeletionWithInboundRefused(t *testing.T) {
	t.Parallel()
	w, _ := inboundReady(t, "help@a.example")
	for range 10 {
		w.emulator.Fail("inbound/domains", mandrilltest.Fault{Status: 402, Name: "PaymentRequired", Message: "The requested feature requires payment."})
	}
	w.restart()
	w.deleteObject(false)
	if n := len(w.account.Webhooks()); n != 1 {
		t.Errorf("%d webhooks are left while it is tried, want that the webhook goes after its routes", n)
	}
	w.mu.Lock()
	w.now = time.Now().Add(11 * time.Minute)
	w.mu.Unlock()
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	if n := len(w.account.Webhooks()); n != 0 {
		t.Errorf("%d webhooks are left", n)
	}
}

// However many objects share a domain, its MX record is looked up once in a while.
func TestMXIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(inbound("help@a.example"))
	w.settle()
	second := w.another(inbound("more@a.example"))
	for range 4 {
		second()
	}
	w.advance(3 * time.Minute)
	calls := len(w.emulator.Calls())
	_, _ = w.reconcile()
	second()
	if made := w.emulator.Calls()[calls:]; !slices.Equal(made, []string{"inbound/check-domain"}) {
		t.Errorf("calls are %v, want one look", made)
	}
}

func TestRouteThatWentMeanwhile(t *testing.T) {
	t.Parallel()
	w, url := inboundReady(t, "help@a.example")
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new" })
	w.emulator.Fail("inbound/update-route", mandrilltest.Fault{Status: 404, Name: "Unknown_InboundRoute", Message: "No inbound route exists with that id"})
	if _, err := w.reconcile(); err == nil {
		t.Error("a route that is gone is no reason to list again")
	}
	w.mustReconcile()
	w.wantInbound("a.example", "help "+url+"/new")
}
