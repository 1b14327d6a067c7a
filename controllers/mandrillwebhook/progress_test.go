package mandrillwebhook_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// says reports whether a condition of the object has a reason and a message.
func (f *fixture) says(condition, reason, message string) bool {
	has := meta.FindStatusCondition(f.get().Status.Conditions, condition)
	return has != nil && has.Reason == reason && strings.Contains(has.Message, message)
}

// lasting makes writes of webhooks last until a condition of the object says something, and fails if there was none.
func (f *fixture) lasting(odd *oddAPI, condition, reason, message string, do func()) {
	f.t.Helper()
	calls := 0
	odd.during = func() {
		calls++
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for deadline := time.Now().Add(20 * time.Second); !f.says(condition, reason, message); <-ticker.C {
			if time.Now().After(deadline) {
				f.t.Fatalf("want %s %q, the status says:\n%s", reason, message, f.conditions())
			}
		}
	}
	do()
	if odd.during = nil; calls == 0 {
		f.t.Errorf("nothing was written until %s", reason)
	}
}

// While Mandrill takes its time, the status says what is going on, and not what was true before.
func TestStatusSaysWhatIsGoingOn(t *testing.T) {
	t.Parallel()
	odd := &oddAPI{}
	f := newOddFixture(t, odd)
	f.configure(func(o *mandrillwebhook.Options) { o.SlowCall = time.Nanosecond })
	f.apply()
	f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 500, Name: "ValidationError", Code: -2, Message: `{"url":"no answer"}`})
	f.lasting(odd, "Registered", "Registering", "Mandrill has been asked to register the webhook, and has not answered yet", func() { _, _ = f.reconcile() })
	f.assert("Registered", "False", "URLCheckFailed", "no answer")
	f.lasting(odd, "Ready", "Registering", "the attempt before this one failed: Mandrill asked the URL", func() { f.mustReconcile() })
	f.assert("Ready", "True", "Succeeded", "")

	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Description = "changed" })
	f.lasting(odd, "Ready", "Updating", "Mandrill has been asked to change webhook 101 (description), and has not answered yet", func() { f.mustReconcile() })
	f.assert("Ready", "True", "Succeeded", "")

	f.lasting(odd, "Ready", "Deleting", "Mandrill has been asked to delete the webhook, and has not answered yet", func() { f.deleteObject(true) })
	f.hasIDs()
}

// A quick call costs no write of its own: a registration is announced in any case.
func TestQuickCallsAreNotSaid(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.configure(func(o *mandrillwebhook.Options) { o.SlowCall = time.Minute })
	f.apply()
	f.mustReconcile()
	writes := 0
	f.fault = func(verb string, _ client.Object) error {
		if verb == "patch status" {
			writes++
		}
		return nil
	}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Description = "changed" })
	f.mustReconcile()
	if writes != 1 {
		t.Errorf("an update takes %d writes of the status, want 1", writes)
	}
	writes = 0
	callWithID(t, f, "webhooks/delete", 101)
	f.hourLater().mustReconcile()
	if writes != 2 {
		t.Errorf("a registration takes %d writes of the status, want 2", writes)
	}
}

// A failure that lasts is one Event, although the status says something else while each attempt is made.
func TestAttemptsMakeNoEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	for range 5 {
		f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 500, Name: "ValidationError", Code: -2, Message: `{"url":"no answer"}`})
		_, _ = f.reconcile()
		f.advance(time.Minute)
	}
	warnings := 0
	for _, event := range f.events() {
		if strings.Contains(event, "URLCheckFailed") {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("five attempts made %d Warnings", warnings)
	}
}
