package mandrillwebhook_test

import (
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// A webhook that Mandrill made without anybody getting the answer is found although the URL has changed since.
func TestLostRegistrationIsFoundAtItsURL(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		f := newFixture(t)
		f.apply()
		f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 502, After: true})
		if _, err := f.reconcile(); err == nil {
			t.Fatal("the answer was not lost")
		}
		f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/second" })
		if restarted {
			f.restart()
		}
		webhook := f.mustReconcile()
		if got := f.account.Webhooks(); len(got) != 1 || got[0].URL != webhook.Spec.URL || webhook.Status.WebhookID != got[0].ID {
			t.Errorf("Mandrill has %+v, the status ID %d", got, webhook.Status.WebhookID)
		}
		if pending := webhook.Status.PendingRegistrations; len(pending) > 0 {
			t.Errorf("pending are %+v", pending)
		}
	}
}

// A webhook that Mandrill moved without anybody getting the answer has a URL that the object has nowhere else. It is found although its
// signing key and the object's URL and API key have changed since.
func TestLostMoveIsFoundAtItsURL(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*fixture){
		"the answer": func(f *fixture) { f.emulator.Fail("webhooks/update", mandrilltest.Fault{Status: 502, After: true}) },
		"the write of the status": func(f *fixture) {
			f.failWhen("patch status", func() bool { return f.account.Webhooks()[0].URL == f.receiver.URL+"/second" })
		},
	} {
		f := newFixture(t, func(o *mandrillwebhook.Options) {
			first := o.NewAPI
			o.NewAPI = func(string) (account.API, error) { return first(apiKey) }
		})
		f.apply()
		id := f.mustReconcile().Status.WebhookID
		lose(f)
		f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/second" })
		if _, err := f.reconcile(); err == nil {
			t.Fatalf("%s was not lost", name)
		}
		f.failWhen("", nil)
		if _, err := f.account.ResetKey(id); err != nil {
			t.Fatal(err)
		}
		f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/third" })
		f.useKey("another")
		f.restart()
		webhook := f.mustReconcile()
		if got := f.account.Webhooks(); len(got) != 1 || got[0].ID != id || got[0].URL != webhook.Spec.URL || webhook.Status.WebhookID != id {
			t.Errorf("%s is lost: Mandrill has %+v, the status ID %d, want %d", name, got, webhook.Status.WebhookID, id)
		}
		if pending := webhook.Status.PendingRegistrations; len(pending) > 0 {
			f.hourLater().mustReconcile()
			if pending := f.get().Status.PendingRegistrations; len(pending) > 0 {
				t.Errorf("pending are %+v", pending)
			}
		}
		f.deleteObject(true)
		f.hasIDs()
	}
}

// The secret parts of a URL are not in the status while its registration is pending.
func TestPendingRegistrationHidesSecrets(t *testing.T) {
	t.Parallel()
	f := newOddFixture(t, &oddAPI{late: 1})
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = withUserinfo(f.receiver.URL, "robot:s3ntinel") + "/p" })
	if _, err := f.reconcile(); err == nil {
		t.Fatal("the call was answered")
	}
	pending := f.get().Status.PendingRegistrations
	if len(pending) != 1 || pending[0].URL != withUserinfo(f.receiver.URL, "hidden")+"/p" || pending[0].Calls != 1 {
		t.Errorf("pending are %+v", pending)
	}
	f.addByHand(f.get().Spec.URL) // what the call made
	f.mustReconcile()
	f.hasIDs(101)
}

// A call that Mandrill carries out late makes a second webhook, which is found and deleted. One that a person adds later stays,
// and is reported.
func TestLateRegistrationIsUndone(t *testing.T) {
	t.Parallel()
	f := newOddFixture(t, &oddAPI{late: 1})
	f.apply()
	if _, err := f.reconcile(); err == nil {
		t.Fatal("the call was answered")
	}
	f.restart()
	result, err := f.reconcile()
	if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > 2*time.Minute {
		t.Errorf("got %v, %v; want another look", result, err)
	}
	url := f.get().Status.URL
	late := f.addByHand(url)
	f.advance(time.Minute)
	f.mustReconcile()
	f.hasIDs(late.ID - 1)
	f.assertEvent("Deleted webhook 102 at Mandrill, which an earlier attempt to register had made")
	human := f.addByHand(url)
	f.hourLater().mustReconcile()
	f.hasIDs(late.ID-1, human.ID)
	f.assert("URLExclusive", "False", "OtherWebhooks", "delete 103 in Mandrill")
	f.assertEvent("Warning OtherWebhooks")
	f.deleteObject(true)
	f.hasIDs(human.ID)
}

// While a call may still make a webhook its object is not gone.
func TestDeletionWaitsForLateRegistrations(t *testing.T) {
	t.Parallel()
	for _, made := range []bool{true, false} {
		f := newOddFixture(t, &oddAPI{late: 1})
		f.apply()
		if _, err := f.reconcile(); err == nil {
			t.Fatal("the call was answered")
		}
		f.deleteObject(false)
		f.assert("Ready", "False", "Deleting", "the outcome of webhooks/add is not known")
		f.advance(time.Minute)
		if made {
			f.addByHand(f.receiver.URL + "/mandrill/shop/transactional")
		} else {
			f.advance(2 * time.Minute)
		}
		f.mustFinalize()
		f.hasIDs()
	}
}

// A registered webhook does not end the wait for another one that an earlier call may make.
func TestDeletionWaitsForASecondRegistration(t *testing.T) {
	t.Parallel()
	f := newOddFixture(t, &oddAPI{late: 1})
	f.apply()
	if _, err := f.reconcile(); err == nil {
		t.Fatal("the call was answered")
	}
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.hasIDs(101)
	f.deleteObject(false)
	f.hasIDs()
	f.addByHand(f.receiver.URL + "/mandrill/shop/transactional")
	f.advance(15 * time.Second)
	f.mustFinalize()
	f.hasIDs()
}

// A webhook of which Mandrill took no event is not in order, and still the object's.
func TestWebhookWithoutEventsIsDeleted(t *testing.T) {
	t.Parallel()
	for _, moved := range []bool{false, true} {
		f := newFixtureWith(t, mandrilltest.Options{DropEvents: []string{"deferral"}})
		f.apply(subscribed("deferral"))
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
		f.hasIDs(101)
		if moved {
			f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/second" })
			if _, err := f.reconcile(); err != nil {
				t.Fatal(err)
			}
			f.hasIDs(101)
		}
		f.advance(time.Hour)
		f.deleteObject(true)
		f.hasIDs()
	}
}

// What a refused call may have made need not be looked for.
func TestRefusedRegistrationIsNotPending(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Message: "no"})
	_, _ = f.reconcile()
	if pending := f.get().Status.PendingRegistrations; len(pending) > 0 {
		t.Errorf("pending are %+v", pending)
	}
}
