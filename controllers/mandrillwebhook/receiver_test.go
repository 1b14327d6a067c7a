package mandrillwebhook_test

import (
	"net"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
)

// followed reconciles the object as the manager does, once when it is told to.
func (f *fixture) followed() {
	f.t.Helper()
	select {
	case <-f.reconciler.Changed():
	case <-time.After(time.Minute):
		f.t.Fatalf("the object is not reconciled:\n%s", f.conditions())
	}
	if _, err := f.reconciler.Reconcile(f.t.Context(), f.get()); err != nil {
		f.t.Fatal(err)
	}
}

// A reconcile may begin with a status that is older than what this operator has written, and find nothing to change. The newest status may be
// seen before that reconcile ends, and would stay wrong if nobody looked again.
func TestStatusIsRepairedAfterAReconcileOfAnOlderOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	older := f.mustReconcile()
	newest := f.get()
	meta.SetStatusCondition(&newest.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonProbing, ObservedGeneration: newest.Generation,
	})
	if err := f.client.Status().Update(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	result, err := f.reconciler.Reconcile(t.Context(), older)
	if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > time.Second {
		t.Errorf("got %v and error %v, want that it runs again soon", result, err)
	}
	f.mustReconcile()
}

// A receiver that goes away makes the object not ready, and one that comes back makes it ready. Meanwhile the webhook is kept in
// order at Mandrill.
func TestReceiverReadyFollowsTheReceiver(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.ProbeInterval = 20 * time.Millisecond })
	answer := f.overrideAnswer(0)
	f.apply()
	if _, err := f.reconciler.Reconcile(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	f.assert("Ready", "True", "Succeeded", "")
	f.events()

	answer.Store(http.StatusBadGateway)
	f.followed()
	f.assert("ReceiverReady", "False", "RouteNotServed", "the receiver no longer serves "+f.get().Status.URL+" (it answered HEAD with status 502): check that it runs")
	f.assert("Ready", "False", "RouteNotServed", "no longer serves")
	f.assert("Reconciling", "True", "RouteNotServed", "")
	f.assert("Registered", "True", "Succeeded", "")
	f.assertEvent("Warning RouteNotServed")

	if _, err := f.account.ResetKey(f.account.Webhooks()[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.hourLater().reconciler.Reconcile(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	if got, want := string(f.secret(keySecret).Data["signing-key"]), f.account.Webhooks()[0].AuthKey; got != want {
		t.Errorf("the Secret has the key %q, want %q: the receiver being away keeps the webhook from being kept in order", got, want)
	}
	f.assert("ReceiverReady", "False", "RouteNotServed", "no longer serves")

	answer.Store(0)
	for !meta.IsStatusConditionTrue(f.get().Status.Conditions, "Ready") { // it is told of each of the two questions
		f.followed()
	}
	f.reconciler.ForgetProbes(webhookKey)
}

// While there is no answer the conditions say so, and nothing that was true of an earlier generation.
func TestConditionsAreUnknownWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) {
		o.AllowSinkHosts, o.ProbeWait = []string{"127.0.0.1"}, 10*time.Second
	})
	f.apply()
	f.mustReconcile()
	f.events()
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = silentServer(t) + "/hook" })
	f.configure(func(o *mandrillwebhook.Options) { o.ProbeWait = time.Millisecond })
	calls := len(f.emulator.Calls())
	result, err := f.reconcile()
	f.assertClass(waits, "Probing", result, err)
	f.assert("ReceiverReady", "Unknown", "Probing", "has not answered yet")
	f.assert("Ready", "Unknown", "Probing", "has not answered yet")
	if made := f.emulator.Calls()[calls:]; len(made) > 0 {
		t.Errorf("calls to Mandrill: %v", made)
	}
}

// Nothing runs any more for an object that is gone, also if somebody removed its finalizer.
func TestObjectThatIsGoneIsForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	if !f.reconciler.Follows(webhookKey) {
		t.Fatal("the object is not followed")
	}
	webhook := f.get()
	webhook.Finalizers = nil
	if err := f.client.Update(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	if err := f.client.Delete(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	if result, err := f.reconciler.ReconcileNamed(t.Context(), reconcile.Request{NamespacedName: webhookKey}); err != nil || !result.IsZero() {
		t.Errorf("got %v, %v", result, err)
	}
	if f.reconciler.Follows(webhookKey) {
		t.Error("the object is still followed")
	}
}

// silentServer returns the URL of a server that accepts connections and never answers.
func silentServer(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}
