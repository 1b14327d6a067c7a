package apiserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// createRenamed creates a copy of an object under another name, and at the URL of the first.
func createRenamed(t *testing.T, webhook *v1alpha1.MandrillWebhook) *v1alpha1.MandrillWebhook {
	t.Helper()
	renamed := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: webhook.Namespace, Name: "renamed"}, Spec: *webhook.Spec.DeepCopy(),
	}
	renamed.Spec.URL = webhook.Status.URL
	if err := admin.Create(t.Context(), renamed); err != nil {
		t.Fatal(err)
	}
	return renamed
}

// runBoth reconciles the object and the renamed one until the operator dies or there is nothing left to do.
func (f *crashFixture) runBoth(p *crashingProcess) int {
	f.t.Helper()
	operator := f.operator(p)
	for range 40 {
		busy := false
		for _, name := range []string{f.key.Name, "renamed"} {
			var webhook v1alpha1.MandrillWebhook
			err := admin.Get(f.t.Context(), types.NamespacedName{Namespace: f.key.Namespace, Name: name}, &webhook)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				f.t.Fatal(err)
			}
			result, err := operator.Reconcile(f.t.Context(), &webhook)
			if p.dead {
				return p.calls
			}
			f.skew += result.RequeueAfter
			if err != nil {
				f.skew += 3 * time.Second
			}
			if unserved(&webhook) {
				busy, operator = true, f.operator(p)
			}
			busy = busy || err != nil || result != (reconcile.Result{}) && result.RequeueAfter < time.Minute
		}
		if !busy {
			return p.calls
		}
	}
	f.t.Fatal("no end after 40 reconciles")
	return 0
}

// The operator dies before and after every call that it makes while a webhook is handed over. The next one that lives ends with
// the same webhook at Mandrill, which is the renamed object's, or with none if that was deleted meanwhile.
func TestCrashesDuringARename(t *testing.T) {
	t.Parallel()
	var original mandrill.Webhook
	prepare := func(t *testing.T) *crashFixture {
		t.Helper()
		f := newCrashFixture(t, withInbound(v1alpha1.InboundRoute{Domain: "a.example", Pattern: "help-*"}))
		f.run(&crashingProcess{})
		if err := f.check(); err != nil {
			t.Fatal(err)
		}
		original = f.account.Webhooks()[0]
		createRenamed(t, f.webhook())
		if err := admin.Delete(t.Context(), f.webhook()); err != nil {
			t.Fatal(err)
		}
		return f
	}
	calls := prepare(t).runBoth(&crashingProcess{})
	if calls < 5 {
		t.Fatalf("only %d calls were made", calls)
	}
	for at := 1; at <= calls; at++ {
		for _, after := range []bool{false, true} {
			for _, deleted := range []bool{false, true} {
				f := prepare(t)
				f.runBoth(&crashingProcess{diesAt: at, after: after})
				old := f.key
				f.key.Name = "renamed"
				if deleted {
					if err := admin.Delete(t.Context(), f.webhook()); err != nil {
						t.Fatal(err)
					}
				}
				f.key = old
				f.runBoth(&crashingProcess{})
				if err := f.checkRenamed(original, deleted); err != nil {
					t.Errorf("died at call %d of %d, after it %t, then deleted %t: %v", at, calls, after, deleted, err)
				}
			}
		}
	}
}

// checkRenamed asserts that the renamed object has the webhook that there was, or that nothing is left after it was deleted.
func (f *crashFixture) checkRenamed(was mandrill.Webhook, deleted bool) error {
	f.t.Helper()
	if err := admin.Get(f.t.Context(), f.key, &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("the object is still there: %w", errors.Join(err))
	}
	remote := f.account.Webhooks()
	renamed := types.NamespacedName{Namespace: f.key.Namespace, Name: "renamed"}
	var webhook v1alpha1.MandrillWebhook
	err := admin.Get(f.t.Context(), renamed, &webhook)
	if deleted {
		if len(remote) != 0 || !apierrors.IsNotFound(err) {
			return fmt.Errorf("Mandrill has %+v, and reading the object says: %w", remote, errors.Join(err))
		}
		return f.checkInbound(nil, "")
	}
	if err != nil {
		return err
	}
	if len(remote) != 1 || remote[0].ID != was.ID || remote[0].AuthKey != was.AuthKey || webhook.Status.WebhookID != was.ID {
		return fmt.Errorf("Mandrill has %+v, the status %+v, want %+v", remote, webhook.Status, was)
	}
	if ready := condition(&webhook, "InboundReady"); condition(&webhook, "SigningKeyStored").Status != metav1.ConditionTrue || ready.Status != metav1.ConditionTrue {
		return fmt.Errorf("the conditions are %+v", webhook.Status.Conditions)
	}
	return f.checkInbound(&webhook, was.URL)
}

// testRename renames an object while batches wait at Mandrill: all of them arrive.
func (i *installation) testRename(t *testing.T) {
	for _, deletedFirst := range []bool{false, true} {
		var up atomic.Bool
		arrived := &consumer{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !up.Load() {
				http.Error(w, "down", http.StatusServiceUnavailable)
				return
			}
			arrived.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
			o.Spec.Events = []v1alpha1.EventName{"soft_bounce"}
			o.Spec.Sink = v1alpha1.Destination{URI: server.URL}
			o.Spec.URL = i.publicURL + "/" + o.Namespace + "/shared"
		})
		await(t, webhook, "Ready", "True", "Succeeded")
		was := *i.remote(webhook.Status.WebhookID)
		events, err := i.account.Emit("soft_bounce", "soft_bounce", "soft_bounce")
		if err != nil {
			t.Fatal(err)
		}
		if err := i.emulator.Flush(t.Context()); err != nil { // refused, so that Mandrill keeps them
			t.Fatal(err)
		}
		var renamed *v1alpha1.MandrillWebhook
		if deletedFirst {
			if err := admin.Delete(t.Context(), webhook); err != nil {
				t.Fatal(err)
			}
			renamed = createRenamed(t, webhook)
		} else {
			renamed = createRenamed(t, webhook)
			await(t, renamed, "ReceiverReady", "False", v1alpha1.ReasonURLConflict)
			if err := admin.Delete(t.Context(), webhook); err != nil {
				t.Fatal(err)
			}
		}
		await(t, renamed, "Ready", "True", "Succeeded")
		eventually(t, "the object goes", func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", errors.Join(err))
			}
			return nil
		})
		if now := i.remote(was.ID); now == nil || now.AuthKey != was.AuthKey || renamed.Status.WebhookID != was.ID {
			t.Errorf("Mandrill has %+v, was %+v", now, was)
		}
		up.Store(true)
		eventually(t, "the batches arrive", func() error {
			if err := i.emulator.Flush(t.Context()); err != nil {
				return err
			}
			for _, event := range events {
				if !arrived.got(event) {
					return errors.New("an event is missing")
				}
			}
			return nil
		})
	}
}
