package mandrillwebhook_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// oddAPI is a Mandrill with unexpected answers.
type oddAPI struct {
	account.API
	nothing   int    // number of webhooks/add calls that are made and answered with null
	lastError string // of every webhook
	upperCase bool   // domains
	hangsUp   bool   // webhooks/add is made, and fails for a caller that has gone
	late      int    // number of webhooks/add calls that nobody answers, and that are not made yet
	emptied   int    // number of webhooks/list calls that are answered with []
	noDomains int    // the same of inbound/domains
	noRoutes  int    // and of inbound/routes
	noDelete  int    // number of webhooks/delete calls that are not made, and answered with {}
	mutely    bool   // webhooks/delete is made, and answered with {}
	writes    int    // of webhooks, answered or not
	during    func() // runs within each write of a webhook, if it is set
	// stored changes what a write stores and how it is answered and listed.
	stored func(*mandrill.Webhook)
}

func (o *oddAPI) UpdateWebhook(ctx context.Context, id int64, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	o.writes++
	o.run()
	webhook, err := o.API.UpdateWebhook(ctx, id, spec)
	o.store(&webhook)
	return webhook, err
}

func (o *oddAPI) run() {
	if o.during != nil {
		o.during()
	}
}

func (o *oddAPI) DeleteWebhook(ctx context.Context, id int64) (mandrill.Webhook, error) {
	o.run()
	if o.noDelete > 0 {
		o.noDelete--
		return mandrill.Webhook{}, nil
	}
	webhook, err := o.API.DeleteWebhook(ctx, id)
	if o.mutely {
		return mandrill.Webhook{}, err
	}
	return webhook, err
}

func (o *oddAPI) store(webhook *mandrill.Webhook) {
	if o.stored != nil {
		o.stored(webhook)
	}
}

func (o *oddAPI) AddWebhook(ctx context.Context, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	o.writes++
	o.run()
	if o.late > 0 {
		o.late--
		return mandrill.Webhook{}, &mandrill.TransportError{Call: "webhooks/add", Err: context.DeadlineExceeded}
	}
	webhook, err := o.API.AddWebhook(context.WithoutCancel(ctx), spec)
	o.store(&webhook)
	if o.hangsUp && ctx.Err() != nil {
		return mandrill.Webhook{}, &mandrill.TransportError{Call: "webhooks/add", Err: ctx.Err()}
	}
	if o.nothing > 0 {
		o.nothing--
		return mandrill.Webhook{}, nil
	}
	return webhook, err
}

func (o *oddAPI) Webhooks(ctx context.Context) ([]mandrill.Webhook, error) {
	list, err := o.API.Webhooks(ctx)
	if o.emptied > 0 {
		o.emptied--
		return []mandrill.Webhook{}, nil
	}
	for i := range list {
		o.store(&list[i])
		if o.lastError != "" {
			list[i].LastError = o.lastError
		}
	}
	return list, err
}

func (o *oddAPI) InboundDomains(ctx context.Context) ([]mandrill.InboundDomain, error) {
	list, err := o.API.InboundDomains(ctx)
	if o.noDomains > 0 {
		o.noDomains--
		return []mandrill.InboundDomain{}, nil
	}
	for i := range list {
		if o.upperCase {
			list[i].Domain = strings.ToUpper(list[i].Domain[:1]) + list[i].Domain[1:]
		}
	}
	return list, err
}

func (o *oddAPI) InboundRoutes(ctx context.Context, domain string) ([]mandrill.InboundRoute, error) {
	list, err := o.API.InboundRoutes(ctx, domain)
	if o.noRoutes > 0 {
		o.noRoutes--
		return []mandrill.InboundRoute{}, nil
	}
	return list, err
}

func newOddFixture(t *testing.T, o *oddAPI) *fixture {
	t.Helper()
	return newFixture(t, func(options *mandrillwebhook.Options) {
		first := options.NewAPI
		options.NewAPI = func(key string) (api account.API, err error) {
			o.API, err = first(key)
			return o, err
		}
	})
}

// An empty answer to webhooks/add does not lead to a second webhook.
func TestEmptyAnswerMakesNoSecondWebhook(t *testing.T) {
	t.Parallel()
	f := newOddFixture(t, &oddAPI{nothing: 3})
	f.apply()
	if _, err := f.reconcile(); err == nil {
		t.Error("null is taken for a webhook")
	}
	f.mustReconcile()
	if n := len(f.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

// If an operator stops while Mandrill makes the webhook, the next operator does not make a second one.
func TestStopWhileAddingMakesNoSecondWebhook(t *testing.T) {
	t.Parallel()
	f := newOddFixture(t, &oddAPI{hangsUp: true})
	f.apply()
	ctx, stop := context.WithCancel(t.Context())
	asked := f.receiver.Config.Handler
	f.receiver.Config.Handler = http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if strings.HasPrefix(request.UserAgent(), "Mandrill") { // it probes
			stop()
		}
		asked.ServeHTTP(response, request)
	})
	_, _ = f.reconciler.Reconcile(ctx, f.get())
	if ctx.Err() == nil || len(f.account.Webhooks()) != 1 {
		t.Fatalf("the test does not test what it says: Mandrill has %d webhooks", len(f.account.Webhooks()))
	}
	f.restart()
	f.mustReconcile()
	if n := len(f.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

func TestDomainsIgnoreCase(t *testing.T) {
	t.Parallel()
	f := newOddFixture(t, &oddAPI{upperCase: true})
	f.apply(inbound("help@a.example"))
	f.reconcileUntilDone()
	f.validMX("a.example")
	f.hourLater().mustReconcile()
	f.wantInbound("a.example", "help "+f.account.Webhooks()[0].URL)
}

// Mandrill may quote an earlier URL, whose secret is still accepted for a day.
func TestEarlierSecretIsHidden(t *testing.T) {
	t.Parallel()
	o := &oddAPI{}
	f := newOddFixture(t, o)
	withUser := func(user string) string { return strings.Replace(f.receiver.URL, "://", "://"+user+"@", 1) + "/p" }
	f.apply(func(object *v1alpha1.MandrillWebhook) { object.Spec.URL = withUser("user:hunter2%21") })
	f.mustReconcile()
	f.edit(func(object *v1alpha1.MandrillWebhook) { object.Spec.URL = withUser("user:other3") })
	f.mustReconcile()
	o.lastError = "no answer from " + withUser("user:hunter2%21") + ", nor with hunter2!"
	f.hourLater().mustReconcile()
	if got := f.get().Status.Upstream.LastError + f.conditions(); strings.Contains(got, "hunter2") || !strings.Contains(got, "no answer from") {
		t.Errorf("the status shows %s", got)
	}
}

// Mandrill accepts none of the events, and reports no error.
func TestWebhookWithoutEventsIsReported(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, mandrilltest.Options{DropEvents: []string{"deferral"}})
	f.apply(subscribed("deferral"))
	for range 3 {
		f.hourLater()
		if _, err := f.reconcile(); err != nil {
			t.Error(err)
		}
		f.assert("Stalled", "True", "Refused", "Mandrill took none of the events: name others in spec.events")
	}
	f.edit(subscribed("open"))
	f.mustReconcile()
	if n := len(f.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

// Suspending, and the end of the grace period, reach the routes without a sink.
func TestRoutesAreUpdatedWithoutASink(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url, hook := f.mustReconcile().Status.URL, f.account.Webhooks()[0]
	key, err := f.account.ResetKey(hook.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.hourLater().mustReconcile()
	if err := f.client.Delete(t.Context(), service("consumer", 80)); err != nil {
		t.Fatal(err)
	}
	f.advance(12 * time.Hour)
	for range 2 {
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	if old, now := f.post(url, hook.AuthKey), f.post(url, key); old != http.StatusOK || now != http.StatusOK {
		t.Errorf("without a sink the keys are answered with %d and %d", old, now)
	}
	f.advance(36 * time.Hour)
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	if old, now := f.post(url, hook.AuthKey), f.post(url, key); old != http.StatusForbidden || now != http.StatusOK {
		t.Errorf("after two days the keys are answered with %d and %d", old, now)
	}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = true })
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := f.post(url, key); got != http.StatusServiceUnavailable {
		t.Errorf("suspended without a sink it is answered with %d", got)
	}
}

// Kubernetes refuses Events with longer messages.
func TestEventMessagesAreTruncated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Message: strings.Repeat("words ", 400)})
	_, _ = f.reconcile()
	for _, event := range f.events() {
		if len(event) > 1024+len("Warning Refused ") {
			t.Errorf("an Event has %d bytes", len(event))
		}
	}
}
