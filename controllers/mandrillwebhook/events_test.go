package mandrillwebhook_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func subscribed(names ...v1alpha1.EventName) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) { o.Spec.Events = names }
}

// assertSteady asserts that neither another reconcile nor a restart makes the operator try again.
func (f *fixture) assertSteady() {
	f.t.Helper()
	f.events()
	before := f.get().ResourceVersion
	for range 2 {
		calls := len(f.emulator.Calls())
		f.hourLater().mustReconcile()
		if made := f.emulator.Calls()[calls:]; !slices.Equal(made, []string{"webhooks/list"}) {
			f.t.Errorf("another look made the calls %v", made)
		}
		f.restart()
	}
	if events := f.events(); len(events) > 0 || f.get().ResourceVersion != before {
		f.t.Errorf("another look wrote the status, or Events %q", events)
	}
}

func TestRefusedEventsDoNotKeepTheOthers(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, mandrilltest.Options{RefuseEvents: []string{"deferral", "blacklist"}})
	f.apply(subscribed("open", "deferral", "denylist", "allowlist", "sms_sent"))
	f.mustReconcile()
	calls := []string{"webhooks/list", "webhooks/add", "webhooks/add", "webhooks/add", "webhooks/add"} // three refusals
	if got := f.emulator.Calls(); !slices.Equal(got, calls) {
		t.Errorf("calls are %v, want %v", got, calls)
	}
	if got := f.account.Webhooks()[0].Events; !slices.Equal(got, []string{"open", "whitelist"}) {
		t.Errorf("Mandrill has %v", got)
	}
	const message = "Mandrill does not accept deferral, denylist, sms_sent; the other events are registered: take out of spec.events what is not needed, or tick it for webhook 101 in Mandrill's web interface"
	f.assert("EventsAccepted", "False", "EventsRefused", message)
	f.assertEvent("Warning EventsRefused " + message)
	if got := f.get().Status.Events; !slices.Equal(got, []string{"open", "allowlist"}) {
		t.Errorf("the status has %v", got)
	}
	f.assertSteady()

	// somebody ticks one, as the message says
	id := f.account.Webhooks()[0].ID
	f.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = append(spec.Events, "deferral") })
	f.hourLater().mustReconcile()
	if got := f.account.Webhooks()[0].Events; !slices.Equal(got, []string{"deferral", "open", "whitelist"}) {
		t.Errorf("Mandrill has %v", got)
	}
	f.assert("EventsAccepted", "False", "EventsRefused", "Mandrill does not accept denylist, sms_sent; ")
	f.assertSteady()

	// and somebody takes an accepted one out: that is put right
	f.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = []string{"open"} })
	f.hourLater().mustReconcile()
	if got := f.account.Webhooks()[0].Events; !slices.Contains(got, "whitelist") {
		t.Errorf("Mandrill has %v", got)
	}
	f.assertSteady()

	f.edit(subscribed("open", "allowlist"))
	f.mustReconcile()
	f.assert("EventsAccepted", "True", "Succeeded", "")
}

// Whatever Mandrill answers when it refuses events, the operator stops asking.
func TestRefusalsOfEventsEnd(t *testing.T) {
	t.Parallel()
	all := []v1alpha1.EventName{"open", "click", "delivered", "deferral", "denylist", "sms_sent", "sms_open"}
	for name, test := range map[string]struct {
		message string
		times   int
		events  []v1alpha1.EventName
		want    []string // at Mandrill; nil: the webhook is refused
	}{
		"names none, unknown ones first": {`Validation error: {"events":"is wrong"}`, 1, []v1alpha1.EventName{"open", "deferral", "delivered"}, []string{"delivered", "open"}},
		"names none, three times":        {`Validation error: {"events":"is wrong"}`, 3, []v1alpha1.EventName{"open", "deferral", "delivered", "denylist", "allowlist"}, []string{"open", "blacklist"}},
		"names none, without end":        {`Validation error: {"events":"is wrong"}`, 9, all, nil},
		"an element of the list":         {`Validation error: {"events.5":"sms_sent is no event"}`, 1, []v1alpha1.EventName{"open", "sms_sent"}, []string{"open"}},
		"a name within another":          {`Validation error: {"events":"opened and undelivered are not available"}`, 1, []v1alpha1.EventName{"open", "delivered"}, []string{"open"}},
		"an event that must be known":    {`Validation error: {"events":"open is not available"}`, 1, all, nil},
		"another field":                  {`Validation error: {"description":"deferral is no good word"}`, 1, all, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			for range test.times {
				f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: test.message})
			}
			f.apply(subscribed(test.events...))
			_, err := f.reconcile()
			if err != nil {
				t.Error(err)
			}
			if test.want == nil {
				f.assert("Stalled", "True", "Refused", test.message)
				if len(f.account.Webhooks()) > 0 || len(f.emulator.Calls()) > 8 {
					t.Errorf("Mandrill has %+v after %v", f.account.Webhooks(), f.emulator.Calls())
				}
				return
			}
			if got := f.account.Webhooks()[0].Events; !slices.Equal(got, test.want) {
				t.Errorf("Mandrill has %v, want %v", got, test.want)
			}
			f.assert("EventsAccepted", "False", "EventsRefused", "Mandrill does not accept")
			f.assertSteady()
		})
	}
}

func TestDroppedEventsAreReported(t *testing.T) {
	t.Parallel()
	f := newFixtureWith(t, mandrilltest.Options{DropEvents: []string{"deferral"}})
	f.apply(subscribed("open", "deferral"))
	f.mustReconcile()
	f.assert("EventsAccepted", "False", "EventsRefused", "Mandrill does not accept deferral; ")
	f.assertSteady()
}

// extraEventsAPI is a Mandrill that adds an event to each webhook.
type extraEventsAPI struct{ account.API }

func (g extraEventsAPI) AddWebhook(ctx context.Context, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	spec.Events = append(slices.Clone(spec.Events), "click")
	return g.API.AddWebhook(ctx, spec)
}

func (g extraEventsAPI) UpdateWebhook(ctx context.Context, id int64, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	spec.Events = append(slices.Clone(spec.Events), "click")
	return g.API.UpdateWebhook(ctx, id, spec)
}

func TestAddedEventsAreReported(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) {
		inner := o.NewAPI
		o.NewAPI = func(key string) (account.API, error) {
			api, err := inner(key)
			return extraEventsAPI{api}, err
		}
	})
	f.apply(subscribed("open"))
	f.mustReconcile()
	f.assert("EventsAccepted", "True", "EventsAdded", "Mandrill sends more than was asked for: click")
	f.assertSteady()
	if got := strings.Join(f.get().Status.Events, " "); got != "open click" {
		t.Errorf("the status has %s", got)
	}
}

// A name that is likely to be a misspelt one is corrected, whether Mandrill accepts it or not.
func TestMisspeltEventIsCorrected(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Events = []v1alpha1.EventName{"open", "hard_bouce"} })
	f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: `Validation error: {"events":"Please choose from the list"}`})
	f.mustReconcile()
	f.assert("EventsAccepted", "False", "EventsRefused", "; hard_bouce is not an event that is known: did you mean hard_bounce?")
}
