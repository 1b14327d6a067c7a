package mandrillwebhook_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// addByHand adds a webhook at Mandrill as a person or another system does.
func (f *fixture) addByHand(url string) mandrill.Webhook {
	f.t.Helper()
	f.withoutProbe(func() { f.callAPI("webhooks/add", fmt.Sprintf(`"url":%q,"events":["send"]`, url)) })
	list := f.account.Webhooks()
	return list[len(list)-1]
}

// hasIDs asserts which webhooks Mandrill has.
func (f *fixture) hasIDs(want ...int64) {
	f.t.Helper()
	var got []int64
	for _, webhook := range f.account.Webhooks() {
		got = append(got, webhook.ID)
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("Mandrill has the webhooks %v, want %v", got, want)
	}
}

// failOnce makes one write to the cluster fail.
func (f *fixture) failOnce(verb string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = func(have string, object client.Object) error {
		if _, ok := object.(*v1alpha1.MandrillWebhook); have != verb || !ok {
			return nil
		}
		f.fault = nil
		return err
	}
}

// Deleting an object deletes what it provably made or adopted. A webhook that is only at its URL stays, and so does one whose
// ID somebody wrote into the status.
func TestOnlyOwnWebhooksAreDeleted(t *testing.T) {
	t.Parallel()
	t.Run("at the URL of an object that never adopted it", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		other := f.addByHand(f.receiver.URL + "/mandrill/shop/transactional")
		f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Sink.Ref.Name = "not-there" })
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
		f.deleteObject(true)
		f.hasIDs(other.ID)
	})
	t.Run("adopted", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.addByHand(f.receiver.URL + "/mandrill/shop/transactional")
		f.apply()
		f.mustReconcile()
		f.deleteObject(true)
		f.hasIDs()
	})
	t.Run("ID written into the status", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		other := f.addByHand(f.receiver.URL + "/human")
		f.apply()
		webhook := f.mustReconcile()
		created := metav1.NewTime(start) // the emulator makes both webhooks within a second
		webhook.Status.WebhookID, webhook.Status.Upstream.CreatedAt = other.ID, &created
		if err := f.client.Status().Update(t.Context(), webhook); err != nil {
			t.Fatal(err)
		}
		f.restart()
		f.deleteObject(true)
		f.hasIDs(other.ID)
	})
	t.Run("same ID in another account", func(t *testing.T) {
		t.Parallel()
		f, other := twoAccounts(t)
		human := f.inAnotherAccount(other)
		f.restart()
		f.events()
		f.deleteObject(true)
		if got := other.Account(otherKey).Webhooks(); len(got) != 1 || got[0].ID != human.ID {
			t.Errorf("the other account has %+v", got)
		}
		if events := strings.Join(f.recorded(), "\n"); !strings.Contains(events, "Warning Orphaned Webhook 101 was registered with an earlier API key") {
			t.Errorf("Events are %s", events)
		}
		if n := f.metric("mandrill_operator_webhooks", "orphaned"); n != 1 {
			t.Errorf("%v orphans", n)
		}
	})
	t.Run("made by a call whose answer was lost", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.apply()
		f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 502, After: true})
		if _, err := f.reconcile(); err == nil {
			t.Fatal("the answer was not lost")
		}
		f.restart()
		f.deleteObject(true)
		f.hasIDs()
	})
}

// inAnotherAccount registers the object, and then gives it the key of an account where another webhook has the same ID.
func (f *fixture) inAnotherAccount(other *mandrilltest.Server) mandrill.Webhook {
	f.t.Helper()
	f.withoutProbe(func() { addWebhook(f.t, other, otherKey, f.receiver.URL+"/human") })
	human := other.Account(otherKey).Webhooks()[0]
	f.apply()
	if id := f.mustReconcile().Status.WebhookID; id != human.ID {
		f.t.Fatalf("the IDs are %d and %d, want equal ones", id, human.ID)
	}
	f.useKey(otherKey)
	return human
}

// An ID is not believed in another account, whether the operator saw the change of the key or not. Without the key of the
// account before, the webhook in it is reported.
func TestIDIsNotBelievedInAnotherAccount(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		f, other := twoAccounts(t)
		human := f.inAnotherAccount(other)
		f.events()
		left := 0
		if restarted {
			f.restart()
			left = 1
		}
		webhook := f.mustReconcile()
		got := other.Account(otherKey).Webhooks()
		if len(got) != 2 || got[0].URL != human.URL || got[0].Description != "" || webhook.Status.WebhookID != got[1].ID {
			t.Errorf("restarted %t: the account has %+v, the status ID %d", restarted, got, webhook.Status.WebhookID)
		}
		if n := len(f.account.Webhooks()); n != left {
			t.Errorf("restarted %t: the account before has %d webhooks, want %d", restarted, n, left)
		}
		if n := f.metric("mandrill_operator_webhooks", "orphaned"); n != float64(left) {
			t.Errorf("restarted %t: %v orphans, want %d", restarted, n, left)
		}
		if restarted {
			f.assertEvent("Warning Orphaned Webhook 101 was registered with an earlier API key")
		}
	}
}

// An answer to webhooks/delete that is not the deleted webhook says nothing: Mandrill is asked whether it still has it.
func TestOddAnswerToADeletionIsChecked(t *testing.T) {
	t.Parallel()
	f := newOddFixture(t, &oddAPI{noDelete: 1})
	f.apply()
	id := f.mustReconcile().Status.WebhookID
	f.deleteObject(false)
	f.hasIDs(id)
	f.assert("Ready", "False", "Deleting", "did not make it")
	f.mustFinalize()
	f.hasIDs()

	f = newOddFixture(t, &oddAPI{mutely: true})
	f.apply()
	f.mustReconcile()
	f.deleteObject(true)
	f.hasIDs()
}

// mustFinalize reconciles an object that is being deleted, and after that it is gone.
func (f *fixture) mustFinalize() {
	f.t.Helper()
	if _, err := f.reconcile(); err != nil {
		f.t.Fatal(err)
	}
	if err := f.client.Get(f.t.Context(), webhookKey, &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
		f.t.Errorf("the object is still there: %v", err)
	}
}

// An object that never registered anything is deleted at once, whatever is wrong with its API key.
func TestDeletionWithoutARegistrationAsksNobody(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*fixture){
		"wrong key": func(f *fixture) { f.useKey("a typo") },
		"no answer": func(f *fixture) {
			f.emulator.Fail("*", mandrilltest.Fault{Status: 503}, mandrilltest.Fault{Status: 503})
		},
		"refused": func(f *fixture) {
			f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "PaymentRequired"})
		},
	} {
		f := newFixture(t)
		prepare(f)
		f.apply()
		_, _ = f.reconcile()
		f.events()
		calls := len(f.emulator.Calls())
		f.deleteObject(true)
		if made := f.emulator.Calls()[calls:]; len(made) > 0 {
			t.Errorf("%s: the deletion made the calls %v", name, made)
		}
		if n := f.metric("mandrill_operator_webhooks", "orphaned"); n != 0 || len(f.recorded()) > 0 {
			t.Errorf("%s: %v orphans, or an Event", name, n)
		}
	}
}

// Removing the finalizer is no conflict with a change of the status or of labels. After a conflict, or any other error, it is
// known that the webhook is gone, although the Secrets are too.
func TestDeletionSurvivesConflicts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	if err := f.client.Delete(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	stale := f.get()
	labelled := f.get()
	labelled.Labels = map[string]string{"a": "b"}
	if err := f.client.Update(t.Context(), labelled); err != nil {
		t.Fatal(err)
	}
	f.failOnce("patch", apierrors.NewConflict(schema.GroupResource{}, "", nil))
	result, err := f.reconciler.Reconcile(t.Context(), stale)
	if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > time.Second {
		t.Fatalf("after a conflict: %v, %v; want another try at once", result, err)
	}
	f.hasIDs()
	f.deleteKey()
	if err := f.client.Delete(t.Context(), f.secret(keySecret)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reconciler.Reconcile(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	if err := f.client.Get(t.Context(), webhookKey, &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
		t.Errorf("the object is still there: %v", err)
	}
	if events := strings.Join(f.recorded(), "\n"); strings.Contains(events, "Orphaned") {
		t.Errorf("Events are %s", events)
	}
}

// recorded returns the Events so far of an object that may be gone.
func (f *fixture) recorded() []string {
	var list []string
	for len(f.recorder.Events) > 0 {
		list = append(list, <-f.recorder.Events)
	}
	return list
}

// An Event cannot be written in a namespace that is being deleted, so that an orphan is reported in the operator's too.
func TestOrphansAreReportedInTheOperatorsNamespace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.deleteKey()
	f.restart()
	f.deleteObject(false)
	f.mu.Lock()
	f.now = time.Now().Add(11 * time.Minute) // the fake cluster stamps conditions with the real time
	f.mu.Unlock()
	f.mustFinalize()
	if events := strings.Join(f.recorded(), "\n"); !strings.Contains(events, "Warning Orphaned MandrillWebhook shop/transactional: Gave up deleting webhook 101") {
		t.Errorf("Events are %s", events)
	}
}

// In a namespace that is being deleted the Secret with the API key cannot be made again, so the object does not wait for it.
func TestTerminatingNamespaceIsNotHeldUpWithoutKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.deleteKey()
	f.restart()
	f.deleteObject(false)
	f.terminateNamespace()
	f.mustFinalize()
	if events := strings.Join(f.recorded(), "\n"); !strings.Contains(events, "Warning Orphaned MandrillWebhook shop/transactional: Gave up deleting webhook 101") {
		t.Errorf("Events are %s", events)
	}
	f.hasIDs(101)
}

// A cache that still shows the object with its finalizer, after that was removed and the namespace lost its Secrets, raises no alarm.
func TestCacheThatLagsReportsNoOrphan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	if err := f.client.Delete(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	cached := f.get()
	f.terminateNamespace()
	f.mustFinalize()
	f.hasIDs()
	f.deleteKey()
	if result, err := f.reconciler.Reconcile(t.Context(), cached.DeepCopy()); err != nil || result.RequeueAfter > 0 {
		t.Errorf("got %v, %v", result, err)
	}
	if events := strings.Join(f.recorded(), "\n"); strings.Contains(events, "Orphaned") {
		t.Errorf("Events are %s", events)
	}
	if n := f.metric("mandrill_operator_webhooks", "orphaned"); n != 0 {
		t.Errorf("%v orphans", n)
	}
}

// Kubernetes deletes the operator's role in a namespace before the objects that have finalizers. What the operator knows is enough.
func TestDeletionNeedsNoRightToSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	if err := f.client.Delete(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.fault = func(_ string, object client.Object) error {
		if _, isSecret := object.(*corev1.Secret); isSecret && object.GetNamespace() != "mandrill-operator-system" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, object.GetName(), errors.New("there is no role"))
		}
		return nil
	}
	f.mu.Unlock()
	f.mustFinalize()
	f.hasIDs()
	if events := strings.Join(f.recorded(), "\n"); strings.Contains(events, "Orphaned") {
		t.Errorf("Events are %s", events)
	}
}

// terminateNamespace makes the API server refuse Secrets in the namespace of the object.
func (f *fixture) terminateNamespace() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = func(verb string, object client.Object) error {
		if _, isSecret := object.(*corev1.Secret); verb != "create" || !isSecret || object.GetNamespace() != "shop" {
			return nil
		}
		err := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, object.GetName(), errors.New("the namespace is being terminated"))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		return err
	}
}

// An object that was in order stays so while Mandrill does not answer, and a restart of the operator changes nothing about it.
func TestOutageKeepsObjectsReady(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	before := f.mustReconcile().ResourceVersion
	f.restart()
	f.events()
	f.emulator.Fail("webhooks/list", mandrilltest.Fault{Status: 503}, mandrilltest.Fault{Status: 500, Name: "GeneralError"})
	for range 2 {
		if _, err := f.reconcile(); err == nil {
			t.Error("the list is not tried again")
		}
		f.assert("Ready", "True", "Succeeded", "")
		f.assert("Registered", "True", "Succeeded", "")
	}
	if events := f.events(); len(events) > 0 || f.get().ResourceVersion != before {
		t.Errorf("the outage changed the object, or made the Events %q", events)
	}
	f.advance(time.Minute)
	f.mustReconcile()
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Description = "changed" }) // and this is not at Mandrill yet
	f.restart()
	f.emulator.Fail("webhooks/list", mandrilltest.Fault{Status: 503})
	_, _ = f.reconcile()
	f.assert("Ready", "False", "Retrying", "")
}
