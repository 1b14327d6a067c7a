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

// assertSettled asserts that neither another look, nor a restart, makes the operator try again.
func (w *world) assertSettled() {
	w.t.Helper()
	w.events()
	before := w.get().ResourceVersion
	for range 2 {
		calls := len(w.emulator.Calls())
		w.later().mustReconcile()
		if made := w.emulator.Calls()[calls:]; !slices.Equal(made, []string{"webhooks/list"}) {
			w.t.Errorf("another look made the calls %v", made)
		}
		w.restart()
	}
	if events := w.events(); len(events) > 0 || w.get().ResourceVersion != before {
		w.t.Errorf("another look wrote the status, or Events %q", events)
	}
}

func TestEventsThatMandrillRefuses(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, mandrilltest.Options{RefuseEvents: []string{"deferral", "blacklist"}})
	w.apply(subscribed("open", "deferral", "denylist", "allowlist", "sms_sent"))
	w.mustReconcile()
	calls := []string{"webhooks/list", "webhooks/add", "webhooks/add", "webhooks/add", "webhooks/add"} // three refusals
	if got := w.emulator.Calls(); !slices.Equal(got, calls) {
		t.Errorf("calls are %v, want %v", got, calls)
	}
	if got := w.account.Webhooks()[0].Events; !slices.Equal(got, []string{"open", "whitelist"}) {
		t.Errorf("Mandrill has %v", got)
	}
	const message = "Mandrill does not accept deferral, denylist, sms_sent; the other events are registered: take out of spec.events what is not needed, or tick it for webhook 101 in Mandrill's web interface"
	w.assert("EventsAccepted", "False", "EventsRefused", message)
	w.assertEvent("Warning EventsRefused " + message)
	if got := w.get().Status.Events; !slices.Equal(got, []string{"open", "allowlist"}) {
		t.Errorf("the status has %v", got)
	}
	w.assertSettled()

	// somebody ticks one, as the message says
	id := w.account.Webhooks()[0].ID
	w.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = append(spec.Events, "deferral") })
	w.later().mustReconcile()
	if got := w.account.Webhooks()[0].Events; !slices.Equal(got, []string{"deferral", "open", "whitelist"}) {
		t.Errorf("Mandrill has %v", got)
	}
	w.assert("EventsAccepted", "False", "EventsRefused", "Mandrill does not accept denylist, sms_sent; ")
	w.assertSettled()

	// and somebody takes an accepted one out: that is put right
	w.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = []string{"open"} })
	w.later().mustReconcile()
	if got := w.account.Webhooks()[0].Events; !slices.Contains(got, "whitelist") {
		t.Errorf("Mandrill has %v", got)
	}
	w.assertSettled()

	w.edit(subscribed("open", "allowlist"))
	w.mustReconcile()
	w.assert("EventsAccepted", "True", "Succeeded", "")
}

// Whatever Mandrill says when it refuses, there is an end.
func TestRefusalsOfEvents(t *testing.T) {
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
			w := newWorld(t)
			for range test.times {
				w.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: test.message})
			}
			w.apply(subscribed(test.events...))
			_, err := w.reconcile()
			if err != nil {
				t.Error(err)
			}
			if test.want == nil {
				w.assert("Stalled", "True", "Refused", test.message)
				if len(w.account.Webhooks()) > 0 || len(w.emulator.Calls()) > 8 {
					t.Errorf("Mandrill has %+v after %v", w.account.Webhooks(), w.emulator.Calls())
				}
				return
			}
			if got := w.account.Webhooks()[0].Events; !slices.Equal(got, test.want) {
				t.Errorf("Mandrill has %v, want %v", got, test.want)
			}
			w.assert("EventsAccepted", "False", "EventsRefused", "Mandrill does not accept")
			w.assertSettled()
		})
	}
}

func TestEventsThatMandrillDrops(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, mandrilltest.Options{DropEvents: []string{"deferral"}})
	w.apply(subscribed("open", "deferral"))
	w.mustReconcile()
	w.assert("EventsAccepted", "False", "EventsRefused", "Mandrill does not accept deferral; ")
	w.assertSettled()
}

// generous is a Mandrill that subscribes to more than it is asked for.
type generous struct{ account.API }

func (g generous) AddWebhook(ctx context.Context, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	spec.Events = append(slices.Clone(spec.Events), "click")
	return g.API.AddWebhook(ctx, spec)
}

func (g generous) UpdateWebhook(ctx context.Context, id int64, spec mandrill.WebhookSpec) (mandrill.Webhook, error) {
	spec.Events = append(slices.Clone(spec.Events), "click")
	return g.API.UpdateWebhook(ctx, id, spec)
}

func TestEventsThatMandrillAdds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *mandrillwebhook.Options) {
		inner := o.NewAPI
		o.NewAPI = func(key string) (account.API, error) {
			api, err := inner(key)
			return generous{api}, err
		}
	})
	w.apply(subscribed("open"))
	w.mustReconcile()
	w.assert("EventsAccepted", "True", "EventsAdded", "Mandrill sends more than was asked for: click")
	w.assertSettled()
	if got := strings.Join(w.get().Status.Events, " "); got != "open click" {
		t.Errorf("the status has %s", got)
	}
}
