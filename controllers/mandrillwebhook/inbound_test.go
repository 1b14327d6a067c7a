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
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
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

// reconcileUntilDone reconciles until the reconcile fails, ends, or waits for over a minute.
func (f *fixture) reconcileUntilDone() {
	f.t.Helper()
	for range 10 {
		result, err := f.reconcile()
		if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > time.Minute {
			return
		}
	}
	f.t.Fatalf("no end:\n%s", f.conditions())
}

// validMX corrects a domain's MX record, and advances the clock so far that Mandrill is asked again.
func (f *fixture) validMX(domain string) {
	f.account.SetValidMX(domain, true)
	f.advance(3 * time.Minute)
}

// addForeignRoute adds a route of somebody else and returns its URL.
func (f *fixture) addForeignRoute(address string) string {
	f.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	f.t.Cleanup(server.Close)
	pattern, domain, _ := strings.Cut(address, "@")
	f.callAPI("inbound/add-domain", fmt.Sprintf(`"domain":%q`, domain))
	f.callAPI("inbound/add-route", fmt.Sprintf(`"domain":%q,"pattern":%q,"url":%q`, domain, pattern, server.URL))
	return server.URL
}

// callAPI calls Mandrill's API as somebody else.
func (f *fixture) callAPI(name, fields string) {
	f.t.Helper()
	response := httptest.NewRecorder()
	body := strings.NewReader(fmt.Sprintf(`{"key":%q,%s}`, apiKey, fields))
	f.emulator.ServeHTTP(response, httptest.NewRequestWithContext(f.t.Context(), http.MethodPost, "/api/1.0/"+name, body))
	if response.Code != http.StatusOK {
		f.t.Fatalf("%s: %s", name, response.Body)
	}
}

// wantInbound asserts what Mandrill has at a domain, each route as "pattern URL".
func (f *fixture) wantInbound(domain string, want ...string) {
	f.t.Helper()
	var got []string
	for _, route := range f.account.Routes(domain) {
		got = append(got, route.Pattern+" "+route.URL)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.t.Errorf("%s has the routes %q, want %q\n%s", domain, got, want, f.conditions())
	}
}

// doubtLoss reconciles once: a list lacks an inbound domain or route that was there before, so nothing is added, and the
// object's conditions stay as they are until the next list.
func (f *fixture) doubtLoss() *fixture {
	f.t.Helper()
	before := f.conditions()
	calls := len(f.emulator.Calls())
	if _, err := f.reconcile(); err == nil || !strings.Contains(err.Error(), "lacks what was there before, and is requested again") {
		f.t.Errorf("the loss is not doubted: %v", err)
	}
	for _, call := range f.emulator.Calls()[calls:] {
		if strings.HasPrefix(call, "inbound/add-") {
			f.t.Errorf("%s was called", call)
		}
	}
	if after := f.conditions(); strings.Contains(before, "\nReady=True") && after != before {
		f.t.Errorf("the conditions are\n%s", after)
	}
	f.advance(3 * time.Second)
	return f
}

func TestInboundRoutesAreSetUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	theirs := f.addForeignRoute("sales@b.example")
	f.apply(inbound("help-*@a.example", "*@b.example"))
	f.reconcileUntilDone()
	url := f.account.Webhooks()[0].URL
	f.wantInbound("a.example", "help-* "+url)
	f.wantInbound("b.example", "* "+url, "sales "+theirs)
	const message = "mail for a.example, b.example does not go to Mandrill yet: set the MX record that Mandrill's page of inbound domains shows"
	f.assert("InboundReady", "False", "MXRecordMissing", message)
	f.assert("Ready", "False", "MXRecordMissing", message)
	f.assert("Reconciling", "True", "MXRecordMissing", message)
	if got := f.get().Status; len(got.InboundRoutes) != 2 || got.InboundRoutes[0].Domain != "a.example" || got.InboundRoutes[0].Pattern != "help-*" || got.InboundRoutes[0].ID == "" ||
		got.CloudEventAttributes[len(got.CloudEventAttributes)-1].Type != "com.mandrill.inbound" {
		t.Errorf("the status is %+v", got)
	}
	f.validMX("a.example")
	f.reconcileUntilDone()
	f.assert("InboundReady", "False", "MXRecordMissing", "mail for b.example does not go to Mandrill yet")
	f.validMX("b.example")
	f.mustReconcile()
	f.assert("InboundReady", "True", "Succeeded", "")

	calls := len(f.emulator.Calls())
	f.mustReconcile()
	if made := f.emulator.Calls()[calls:]; len(made) != 0 {
		t.Errorf("calls are %v, want none", made)
	}
	f.hourLater().mustReconcile()
	want := []string{"webhooks/list", "inbound/domains", "inbound/routes", "inbound/routes"}
	if made := f.emulator.Calls()[calls:]; !slices.Equal(made, want) {
		t.Errorf("calls are %v, want %v", made, want)
	}

	// a mail arrives, signed with the webhook's key
	f.callAPI("inbound/send-raw", `"raw_message":"From: x@c.example\nTo: help-1@a.example\n\nhello"`)
	f.edit(inbound("new@b.example"))
	f.reconcileUntilDone()
	f.wantInbound("a.example")
	f.wantInbound("b.example", "new "+url, "sales "+theirs)
	f.advance(registration.Spacing)
	f.edit(inbound())
	f.reconcileUntilDone()
	f.wantInbound("b.example", "sales "+theirs)
	if webhook := f.mustReconcile(); meta.FindStatusCondition(webhook.Status.Conditions, "InboundReady") != nil || webhook.Status.InboundRoutes != nil {
		t.Errorf("something is left in the status: %+v", webhook.Status)
	}
	calls = len(f.emulator.Calls())
	if f.mustReconcile(); len(f.emulator.Calls()) != calls {
		t.Errorf("an object without inbound routes makes the calls %v", f.emulator.Calls()[calls:])
	}
}

// inboundReady returns a fixture with an object whose inbound routes are set up.
func inboundReady(t *testing.T, addresses ...string) (f *fixture, url string) {
	t.Helper()
	f = newFixture(t)
	f.apply(inbound(addresses...))
	f.reconcileUntilDone()
	for _, address := range addresses {
		_, domain, _ := strings.Cut(address, "@")
		f.validMX(domain)
	}
	f.mustReconcile()
	f.events()
	return f, f.account.Webhooks()[0].URL
}

// Routes that are edited, deleted or duplicated at Mandrill are repaired, and a deleted domain is added again.
func TestInboundDriftIsRepaired(t *testing.T) {
	t.Parallel()
	f, url := inboundReady(t, "help@a.example")
	theirs := f.addForeignRoute("sales@a.example")
	id := f.account.Routes("a.example")[0].ID
	for name, drift := range map[string]func(){
		"another URL":     func() { f.callAPI("inbound/update-route", fmt.Sprintf(`"id":%q,"url":%q`, id, theirs)) },
		"another pattern": func() { f.callAPI("inbound/update-route", fmt.Sprintf(`"id":%q,"pattern":"x"`, id)) },
		"deleted":         func() { f.callAPI("inbound/delete-route", fmt.Sprintf(`"id":%q`, id)) },
		"doubled": func() {
			f.callAPI("inbound/add-route", fmt.Sprintf(`"domain":"a.example","pattern":"help","url":%q`, url))
		},
		"one too many": func() {
			f.callAPI("inbound/add-route", fmt.Sprintf(`"domain":"a.example","pattern":"more","url":%q`, url))
		},
	} {
		before := f.metric("mandrill_operator_drift_repairs_total", "inbound")
		drift()
		f.hourLater()
		if name == "deleted" {
			f.doubtLoss()
		}
		f.mustReconcile()
		if t.Failed() {
			t.Fatal(name)
		}
		f.wantInbound("a.example", "help "+url, "sales "+theirs)
		if got := f.metric("mandrill_operator_drift_repairs_total", "inbound"); got != before+1 {
			t.Errorf("%s: %v repairs were counted, want %v", name, got, before+1)
		}
		for _, route := range f.account.Routes("a.example") {
			if route.Pattern == "help" {
				id = route.ID
			}
		}
	}
	f.assertEvent("the inbound route help of a.example at Mandrill")
	f.callAPI("inbound/delete-domain", `"domain":"a.example"`)
	f.hourLater().doubtLoss().reconcileUntilDone()
	f.wantInbound("a.example", "help "+url)
	f.assert("InboundReady", "False", "MXRecordMissing", "")
}

// Inbound routes follow a new URL, and one whose secret has changed.
func TestInboundFollowsTheURL(t *testing.T) {
	t.Parallel()
	f, url := inboundReady(t, "help@a.example")
	id := f.account.Routes("a.example")[0].ID
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new" })
	f.mustReconcile()
	f.wantInbound("a.example", "help "+url+"/new")
	if got := f.account.Routes("a.example")[0].ID; got != id {
		t.Errorf("the route is another: %s, was %s", got, id)
	}
}

// Somebody else's route with the same pattern is left alone, until it goes.
func TestForeignInboundRouteIsLeftAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	theirs := f.addForeignRoute("help@a.example")
	f.validMX("a.example")
	f.apply(inbound("help@a.example", "more@a.example"))
	f.reconcileUntilDone()
	url := f.account.Webhooks()[0].URL
	f.wantInbound("a.example", "help "+theirs, "more "+url)
	f.assert("Stalled", "True", "InboundRouteConflict", `the domain a.example has a route for "help" that posts to another URL: remove it in Mandrill or from its MandrillWebhook, or choose another pattern`)
	f.assertEvent("Warning InboundRouteConflict")
	f.callAPI("inbound/delete-route", fmt.Sprintf(`"id":%q`, f.account.Routes("a.example")[0].ID))
	f.hourLater().doubtLoss().mustReconcile()
	f.wantInbound("a.example", "help "+url, "more "+url)
}

// An object that has moved away from a URL does not touch the routes of the one that has it now.
func TestInboundLeavesRoutesOfTheURLsNewOwner(t *testing.T) {
	t.Parallel()
	f, url := inboundReady(t, "help@a.example")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new"; inbound("more@a.example")(o) })
	f.reconcileUntilDone()
	second := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "second", UID: "uid-2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec:       f.get().Spec,
	}
	second.Spec.URL, second.Spec.Inbound = url, &v1alpha1.Inbound{Routes: []v1alpha1.InboundRoute{{Domain: "a.example", Pattern: "help"}}}
	f.create(second)
	for range 4 {
		if err := f.client.Get(t.Context(), client.ObjectKeyFromObject(second), second); err != nil {
			t.Fatal(err)
		}
		if _, err := f.reconciler.Reconcile(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	}
	f.wantInbound("a.example", "help "+url, "more "+url+"/new")
	f.hourLater().mustReconcile()
	f.wantInbound("a.example", "help "+url, "more "+url+"/new")
	f.deleteObject(true)
	f.wantInbound("a.example", "help "+url)
}

func TestInboundRoutesAreDeletedWithTheObject(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*fixture)
		want    []string // what is left
		lost    bool     // a list lacks what the object has recorded
	}{
		"deleted":     {func(*fixture) {}, nil, false},
		"retained":    {func(f *fixture) { f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.DeletionPolicy = "Retain" }) }, []string{"help"}, false},
		"domain gone": {func(f *fixture) { f.callAPI("inbound/delete-domain", `"domain":"a.example"`) }, nil, true},
		"route gone": {func(f *fixture) {
			f.callAPI("inbound/delete-route", fmt.Sprintf(`"id":%q`, f.account.Routes("a.example")[0].ID))
		}, nil, true},
		"key went first":  {func(f *fixture) { f.deleteKey() }, nil, false},
		"status was lost": {func(f *fixture) { f.edit(func(o *v1alpha1.MandrillWebhook) { o.Status.InboundRoutes = nil }) }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := inboundReady(t, "help@a.example")
			test.prepare(f)
			calls := len(f.emulator.Calls())
			f.deleteObject(!test.lost)
			if test.lost {
				f.assert("Ready", "False", "Deleting", "lacks what was there before")
				f.advance(15 * time.Second)
				f.mustFinalize()
			}
			var left []string
			for _, route := range f.account.Routes("a.example") {
				left = append(left, route.Pattern)
			}
			if !slices.Equal(left, test.want) {
				t.Errorf("the routes %v are left, want %v", left, test.want)
			}
			made := f.emulator.Calls()[calls:]
			if route, hook := slices.Index(made, "inbound/delete-route"), slices.Index(made, "webhooks/delete"); route > hook {
				t.Errorf("the webhook went before the route that needs its key: %v", made)
			}
		})
	}
}

func TestInboundErrorsAreReported(t *testing.T) {
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
			f := newFixture(t)
			f.emulator.Fail(call, fault)
			f.apply(inbound("help@a.example"))
			f.reconcileUntilDone()
			if meta.IsStatusConditionTrue(f.get().Status.Conditions, "InboundReady") || !meta.IsStatusConditionTrue(f.get().Status.Conditions, "SigningKeyStored") {
				t.Errorf("the conditions are\n%s", f.conditions())
			}
			f.events()
			f.reconcileUntilDone()
			f.validMX("a.example")
			f.mustReconcile()
			f.wantInbound("a.example", "help "+f.account.Webhooks()[0].URL)
		})
	}
}

// A route that was added right before a crash is found, even if the spec no longer wants it.
func TestInboundRouteAddedBeforeACrashIsFound(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*fixture){
		"changed": func(f *fixture) { f.edit(inbound("more@b.example")); f.reconcileUntilDone() },
		"removed": func(f *fixture) { f.edit(inbound()); f.reconcileUntilDone() },
		"deleted": func(f *fixture) { f.deleteObject(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.apply(inbound("help@a.example"))
			for range 3 {
				f.mu.Lock()
				f.fault = func(verb string, _ client.Object) error {
					if verb == "patch status" && len(f.account.Routes("a.example")) > 0 {
						return errors.New("died")
					}
					return nil
				}
				f.mu.Unlock()
				_, _ = f.reconcile()
			}
			f.mu.Lock()
			f.fault = nil
			f.mu.Unlock()
			f.restart()
			if len(f.account.Routes("a.example")) != 1 || len(f.get().Status.InboundRoutes) != 0 {
				t.Fatal("the test does not test what it says")
			}
			forget(f)
			f.wantInbound("a.example")
		})
	}
}

// createSecond creates a second object, a changed copy of the first, and returns a function that reconciles it.
func (f *fixture) createSecond(change func(*v1alpha1.MandrillWebhook)) func() {
	f.t.Helper()
	object := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "second", UID: "uid-2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec:       f.get().Spec,
	}
	change(object)
	f.create(object)
	return func() {
		var now v1alpha1.MandrillWebhook
		if err := f.client.Get(f.t.Context(), client.ObjectKeyFromObject(object), &now); err != nil {
			f.t.Error(err)
			return
		}
		_, _ = f.reconciler.Reconcile(f.t.Context(), &now)
	}
}

// Routes are deleted with their object, and not by an object with a similar URL or the same one.
func TestInboundIsNotInherited(t *testing.T) {
	t.Parallel()
	for name, suffix := range map[string]string{"another query": "?tenant=blue", "the same": ""} {
		f := newFixture(t)
		base := f.receiver.URL + "/hooks/x"
		f.apply(inbound("help@a.example"), func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = base + suffix })
		f.reconcileUntilDone()
		f.validMX("a.example")
		f.mustReconcile()
		second := f.createSecond(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL, o.Spec.Inbound = base, nil })
		for range 3 {
			second()
		}
		f.deleteObject(true)
		for range 3 { // the one at the same URL takes over the webhook, and not the routes, which it does not want
			second()
		}
		if left := f.account.Routes("a.example"); len(left) > 0 {
			t.Errorf("%s: the routes %+v are left", name, left)
		}
	}
}

// A pattern that is dropped together with the URL is deleted, although another object has that URL by then.
func TestDroppedPatternIsDeletedAtTheEarlierURL(t *testing.T) {
	t.Parallel()
	f, url := inboundReady(t, "help@a.example")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new"; inbound("more@a.example")(o) })
	second := f.createSecond(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL, o.Spec.Inbound = url, nil })
	for range 4 {
		_, _ = f.reconcile()
		second()
	}
	f.wantInbound("a.example", "more "+url+"/new")
}

// Of two objects that want one pattern at the same time one gets it.
func TestOneOfTwoObjectsGetsAPattern(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(inbound("help@a.example"))
	second := f.createSecond(func(*v1alpha1.MandrillWebhook) {})
	for range 3 {
		var both sync.WaitGroup
		both.Go(func() { _, _ = f.reconcile() })
		both.Go(second)
		both.Wait()
	}
	if routes := f.account.Routes("a.example"); len(routes) != 1 {
		t.Errorf("Mandrill has the routes %+v", routes)
	}
}

// Inbound routes that cannot be deleted do not keep the webhook for ever.
func TestDeletionGivesUpOnInboundRoutes(t *testing.T) {
	t.Parallel()
	f, _ := inboundReady(t, "help@a.example")
	for range 10 {
		f.emulator.Fail("inbound/domains", mandrilltest.Fault{Status: 402, Name: "PaymentRequired", Message: "The requested feature requires payment."})
	}
	f.restart()
	f.deleteObject(false)
	if n := len(f.account.Webhooks()); n != 1 {
		t.Errorf("%d webhooks are left while it is tried, want that the webhook goes after its routes", n)
	}
	f.mu.Lock()
	f.now = time.Now().Add(11 * time.Minute)
	f.mu.Unlock()
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	if n := len(f.account.Webhooks()); n != 0 {
		t.Errorf("%d webhooks are left", n)
	}
}

// However many objects share a domain, its MX record is looked up once per interval.
func TestMXIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(inbound("help@a.example"))
	f.reconcileUntilDone()
	second := f.createSecond(inbound("more@a.example"))
	for range 4 {
		second()
	}
	f.advance(3 * time.Minute)
	calls := len(f.emulator.Calls())
	_, _ = f.reconcile()
	second()
	if made := f.emulator.Calls()[calls:]; !slices.Equal(made, []string{"inbound/check-domain"}) {
		t.Errorf("calls are %v, want one look", made)
	}
}

func TestMissingInboundRouteIsListedAgain(t *testing.T) {
	t.Parallel()
	f, url := inboundReady(t, "help@a.example")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url + "/new" })
	f.emulator.Fail("inbound/update-route", mandrilltest.Fault{Status: 404, Name: "Unknown_InboundRoute", Message: "No inbound route exists with that id"})
	if _, err := f.reconcile(); err == nil {
		t.Error("a route that is gone is no reason to list again")
	}
	f.mustReconcile()
	f.wantInbound("a.example", "help "+url+"/new")
}

// An empty answer to a list of inbound domains or routes adds nothing, also after a restart.
func TestEmptyInboundAnswersAddNothing(t *testing.T) {
	t.Parallel()
	for name, restarted := range map[string]bool{"running": false, "restarted": true} {
		for _, what := range []string{"domains", "routes"} {
			odd := &oddAPI{}
			f := newOddFixture(t, odd)
			f.apply(inbound("help@a.example"))
			f.reconcileUntilDone()
			f.validMX("a.example")
			f.mustReconcile()
			url := f.account.Webhooks()[0].URL
			if restarted {
				f.restart()
			}
			if what == "domains" {
				odd.noDomains = 1
			} else {
				odd.noRoutes = 1
			}
			f.hourLater().doubtLoss().mustReconcile()
			f.wantInbound("a.example", "help "+url)
			if made := strings.Join(f.emulator.Calls(), " "); strings.Count(made, "inbound/add-") != 2 {
				t.Errorf("%s, no %s: calls are %s", name, what, made)
			}
		}
	}
}
