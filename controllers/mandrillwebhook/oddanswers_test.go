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

// odd is a Mandrill whose answers are not what one expects.
type odd struct {
	account.API
	nothing   int    // so many webhooks/add are made, and answered with null
	lastError string // of every webhook
	upperCase bool   // domains
	hangsUp   bool   // webhooks/add goes on when the caller has gone
}

func (o *odd) AddWebhook(ctx context.Context, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	webhook, err := o.API.AddWebhook(context.WithoutCancel(ctx), spec)
	if o.hangsUp && ctx.Err() != nil {
		return mandrill.Webhook{}, &mandrill.TransportError{Call: "webhooks/add", Err: ctx.Err()}
	}
	if o.nothing > 0 {
		o.nothing--
		return mandrill.Webhook{}, nil
	}
	return webhook, err
}

func (o *odd) Webhooks(ctx context.Context) ([]mandrill.Webhook, error) {
	list, err := o.API.Webhooks(ctx)
	for i := range list {
		if o.lastError != "" {
			list[i].LastError = o.lastError
		}
	}
	return list, err
}

func (o *odd) InboundDomains(ctx context.Context) ([]mandrill.InboundDomain, error) {
	list, err := o.API.InboundDomains(ctx)
	for i := range list {
		if o.upperCase {
			list[i].Domain = strings.ToUpper(list[i].Domain[:1]) + list[i].Domain[1:]
		}
	}
	return list, err
}

func newOddWorld(t *testing.T, o *odd) *world {
	t.Helper()
	return newWorld(t, func(options *mandrillwebhook.Options) {
		first := options.NewAPI
		options.NewAPI = func(key string) (api account.API, err error) {
			o.API, err = first(key)
			return o, err
		}
	})
}

// An answer that says nothing does not make a second webhook.
func TestAddThatAnswersNothing(t *testing.T) {
	t.Parallel()
	w := newOddWorld(t, &odd{nothing: 3})
	w.apply()
	if _, err := w.reconcile(); err == nil {
		t.Error("null is taken for a webhook")
	}
	w.mustReconcile()
	if n := len(w.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

// An operator that is told to stop while Mandrill makes the webhook does not leave a second one to the next.
func TestStoppedWhileAdding(t *testing.T) {
	t.Parallel()
	w := newOddWorld(t, &odd{hangsUp: true})
	w.apply()
	ctx, stop := context.WithCancel(t.Context())
	asked := w.receiver.Config.Handler
	w.receiver.Config.Handler = http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if strings.HasPrefix(request.UserAgent(), "Mandrill") { // it probes
			stop()
		}
		asked.ServeHTTP(response, request)
	})
	_, _ = w.reconciler.Reconcile(ctx, w.get())
	if ctx.Err() == nil || len(w.account.Webhooks()) != 1 {
		t.Fatalf("the test does not test what it says: Mandrill has %d webhooks", len(w.account.Webhooks()))
	}
	w.restart()
	w.mustReconcile()
	if n := len(w.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

func TestDomainInAnotherCase(t *testing.T) {
	t.Parallel()
	w := newOddWorld(t, &odd{upperCase: true})
	w.apply(inbound("help@a.example"))
	w.settle()
	w.validMX("a.example")
	w.later().mustReconcile()
	w.wantInbound("a.example", "help "+w.account.Webhooks()[0].URL)
}

// Mandrill may quote a URL that was changed since, whose secret is still good for a day.
func TestEarlierSecretIsHidden(t *testing.T) {
	t.Parallel()
	o := &odd{}
	w := newOddWorld(t, o)
	withUser := func(user string) string { return strings.Replace(w.receiver.URL, "://", "://"+user+"@", 1) + "/p" }
	w.apply(func(object *v1alpha1.MandrillWebhook) { object.Spec.URL = withUser("user:hunter2%21") })
	w.mustReconcile()
	w.edit(func(object *v1alpha1.MandrillWebhook) { object.Spec.URL = withUser("user:other3") })
	w.mustReconcile()
	o.lastError = "no answer from " + withUser("user:hunter2%21") + ", nor with hunter2!"
	w.later().mustReconcile()
	if got := w.get().Status.Upstream.LastError + w.conditions(); strings.Contains(got, "hunter2") || !strings.Contains(got, "no answer from") {
		t.Errorf("the status shows %s", got)
	}
}

// Mandrill takes none of the events, and says nothing.
func TestAllEventsDropped(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, mandrilltest.Options{DropEvents: []string{"deferral"}})
	w.apply(subscribed("deferral"))
	for range 3 {
		w.later()
		if _, err := w.reconcile(); err != nil {
			t.Error(err)
		}
		w.assert("Stalled", "True", "Refused", "Mandrill took none of the events: name others in spec.events")
	}
	w.edit(subscribed("open"))
	w.mustReconcile()
	if n := len(w.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

// Suspending, and the end of the grace period, wait for no sink.
func TestMissingSink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	url, hook := w.mustReconcile().Status.URL, w.account.Webhooks()[0]
	key, err := w.account.ResetKey(hook.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.later().mustReconcile()
	if err := w.client.Delete(t.Context(), service("consumer", 80)); err != nil {
		t.Fatal(err)
	}
	w.advance(12 * time.Hour)
	for range 2 {
		if _, err := w.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	if old, now := w.post(url, hook.AuthKey), w.post(url, key); old != http.StatusOK || now != http.StatusOK {
		t.Errorf("without a sink the keys are answered with %d and %d", old, now)
	}
	w.advance(36 * time.Hour)
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	if old, now := w.post(url, hook.AuthKey), w.post(url, key); old != http.StatusForbidden || now != http.StatusOK {
		t.Errorf("after two days the keys are answered with %d and %d", old, now)
	}
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = true })
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := w.post(url, key); got != http.StatusServiceUnavailable {
		t.Errorf("suspended without a sink it is answered with %d", got)
	}
}

// Kubernetes refuses longer notes.
func TestEventsAreCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Message: strings.Repeat("words ", 400)})
	_, _ = w.reconcile()
	for _, event := range w.events() {
		if len(event) > 1024+len("Warning Refused ") {
			t.Errorf("an Event has %d bytes", len(event))
		}
	}
}
