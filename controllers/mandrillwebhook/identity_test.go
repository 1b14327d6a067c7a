package mandrillwebhook_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

var keySecret = types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"}

// post sends an empty batch for a registered URL, signed with a key, and returns the receiver's answer.
func (f *fixture) post(registered, key string) int {
	f.t.Helper()
	request, err := mandrilltest.NewRequest(f.t.Context(), registered, registered, key, []byte("[]"))
	if err != nil {
		f.t.Fatal(err)
	}
	response, err := loopback.Client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// advance lets time pass.
func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// A key that Mandrill replaced is accepted for another 24 hours, over restarts, and the Secret has the new one.
func TestReplacedKeyIsAcceptedForADay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url := f.mustReconcile().Status.URL
	oldKey := f.account.Webhooks()[0].AuthKey
	newKey, err := f.account.ResetKey(f.account.Webhooks()[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	f.hourLater()
	result, err := f.reconcile()
	if err != nil || result.RequeueAfter != 24*time.Hour {
		t.Fatalf("got %v, %v; want another look when the old key expires", result, err)
	}
	for range 2 {
		if f.post(url, newKey) != http.StatusOK || f.post(url, oldKey) != http.StatusOK || f.post(url, "forged") != http.StatusForbidden {
			t.Error("during the grace period the receiver must accept both keys and no other")
		}
		f.restart()
		f.mustReconcile()
	}
	if got := string(f.secret(keySecret).Data["signing-key"]); got != newKey {
		t.Error("the Secret has the old key")
	}
	f.advance(24*time.Hour + time.Second)
	if result, err := f.reconcile(); err != nil || !result.IsZero() {
		t.Errorf("after the grace period: %v, %v", result, err)
	}
	if f.post(url, newKey) != http.StatusOK || f.post(url, oldKey) != http.StatusForbidden {
		t.Error("after the grace period the receiver must accept the new key alone")
	}
	if _, ok := f.secret(keySecret).Data["previous"]; ok {
		t.Error("the Secret still remembers the old key")
	}
}

// While Mandrill does not accept a new URL it posts to the old one, which must still be served, and for a day after that.
func TestReplacedURLIsServedForADay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	oldURL := f.mustReconcile().Status.URL
	key := f.account.Webhooks()[0].AuthKey
	newURL := f.receiver.URL + "/new"
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = newURL })
	f.emulator.Fail("webhooks/update", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: `Validation error: {"url":"no"}`})
	if _, err := f.reconcile(); err == nil {
		t.Fatal("the update did not fail")
	}
	f.assert("Registered", "False", "URLCheckFailed", "")
	if f.post(oldURL, key) != http.StatusOK {
		t.Error("the old URL is not served, and Mandrill knows no other")
	}
	f.mustReconcile()
	if f.post(oldURL, key) != http.StatusOK || f.post(newURL, key) != http.StatusOK {
		t.Error("after the change both URLs must be served for a while")
	}
	if got := f.account.Webhooks(); len(got) != 1 || got[0].URL != newURL {
		t.Errorf("Mandrill has %+v", got)
	}
	f.advance(25 * time.Hour)
	f.mustReconcile()
	if f.post(oldURL, key) != http.StatusNotFound || f.post(newURL, key) != http.StatusOK || len(f.routes()) != 1 {
		t.Errorf("after the grace period the routes are %+v", f.routes())
	}
	if err := f.client.Delete(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reconcile(); err != nil || len(f.routes()) != 0 {
		t.Errorf("after deletion the routes are %+v, error %v", f.routes(), err)
	}
}

// The secret part of the URL is registered and required of requests, is shown nowhere, and may change.
func TestURLSecretIsShownNowhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.createURLSecret("hook", "s3ntinel &1\n")
	f.apply(urlSecret("hook"))
	// Mandrill quotes the URL, in its own way
	quoted := strings.ReplaceAll(f.receiver.URL+"/mandrill/shop/transactional?secret=s3ntinel+%261 or s3ntinel &1", "/", `\/`)
	f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: `Validation error: {"url":"` + quoted + `"}`})
	if _, err := f.reconcile(); err == nil || strings.Contains(err.Error(), "s3ntinel") {
		t.Errorf("error is %v", err)
	}
	webhook := f.mustReconcile()
	f.events() // and none of them, nor the conditions, has it
	first := f.receiver.URL + "/mandrill/shop/transactional?secret=s3ntinel+%261"
	hook := f.account.Webhooks()[0]
	if hook.URL != first || webhook.Status.URL != f.receiver.URL+"/mandrill/shop/transactional?secret=hidden" {
		t.Errorf("Mandrill has %s, the status %s", hook.URL, webhook.Status.URL)
	}
	if got := f.post(strings.Replace(first, "s3ntinel", "other", 1), hook.AuthKey); got != http.StatusForbidden {
		t.Errorf("without the secret the receiver answers %d", got)
	}
	secret := f.secret(types.NamespacedName{Namespace: "shop", Name: "hook"})
	secret.Data["token"] = []byte("s3ntinel2")
	if err := f.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	f.mustReconcile()
	second := f.receiver.URL + "/mandrill/shop/transactional?secret=s3ntinel2"
	if got := f.account.Webhooks(); len(got) != 1 || got[0].URL != second || got[0].ID != hook.ID {
		t.Errorf("Mandrill has %+v", got)
	}
	if f.post(first, hook.AuthKey) != http.StatusOK || f.post(second, hook.AuthKey) != http.StatusOK {
		t.Error("during the grace period both URLs must be accepted")
	}
	f.events()
	f.advance(25 * time.Hour)
	f.mustReconcile()
	if f.post(first, hook.AuthKey) != http.StatusForbidden || f.post(second, hook.AuthKey) != http.StatusOK {
		t.Error("after the grace period the new URL alone must be accepted")
	}
	f.restart()
	f.deleteObject(true)
	if got := f.account.Webhooks(); len(got) != 0 {
		t.Errorf("Mandrill still has %+v", got)
	}
}

// The status may be lost, and the URL changed at the same time: the Secret still says which webhook is ours.
func TestWebhookIsFoundByItsKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/new" })
	webhook := f.get()
	webhook.Status = v1alpha1.MandrillWebhookStatus{}
	if err := f.client.Status().Update(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	f.restart()
	f.events()
	f.mustReconcile()
	if got := f.account.Webhooks(); len(got) != 1 || got[0].URL != f.receiver.URL+"/new" {
		t.Errorf("Mandrill has %+v", got)
	}
	if events := f.events(); slices.ContainsFunc(events, func(event string) bool { return strings.Contains(event, "Adopted") }) {
		t.Errorf("the object's own webhook is said to be adopted: %q", events)
	}
}

// A webhook that another object has recorded is not adopted, even if it is at our URL.
func TestClaimedWebhookIsNotAdopted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url := f.mustReconcile().Status.URL
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/moving" }) // not reconciled: still at the old URL
	second := types.NamespacedName{Namespace: "shop", Name: "second"}
	f.create(&v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: second.Namespace, Name: second.Name, UID: "uid-2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec: v1alpha1.MandrillWebhookSpec{
			URL: url, Events: []v1alpha1.EventName{"send"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill", Key: "api-key"}, Sink: v1alpha1.Destination{URI: "http://sink.example"},
		},
	})
	reconcileSecond := func() *v1alpha1.MandrillWebhook {
		t.Helper()
		var object v1alpha1.MandrillWebhook
		if err := f.client.Get(t.Context(), second, &object); err != nil {
			t.Fatal(err)
		}
		if _, err := f.reconciler.Reconcile(t.Context(), &object); err != nil {
			t.Fatal(err)
		}
		return &object
	}
	if object := reconcileSecond(); object.Status.WebhookID != 0 || !strings.Contains(fmt.Sprint(object.Status.Conditions), "shop/transactional") {
		t.Errorf("the second object took the webhook: %+v", object.Status)
	}
	f.mustReconcile() // moves away
	if object := reconcileSecond(); object.Status.WebhookID == 0 || object.Status.WebhookID == f.get().Status.WebhookID || len(f.account.Webhooks()) != 2 {
		t.Errorf("after the first has moved: %+v, Mandrill has %d", object.Status, len(f.account.Webhooks()))
	}
}

// An object that is registered at a URL keeps it, even if another one is older.
func TestRegisteredObjectKeepsTheURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url := f.mustReconcile().Status.URL
	f.create(&v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "older", UID: "uid-0", Generation: 2, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: url, Sink: v1alpha1.Destination{URI: "http://thief.example"}},
	})
	var intruder v1alpha1.MandrillWebhook
	if err := f.client.Get(t.Context(), types.NamespacedName{Namespace: "other", Name: "older"}, &intruder); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reconciler.Reconcile(t.Context(), &intruder); err == nil {
		t.Error("the intruder was not stalled")
	}
	f.mustReconcile()
	if got := f.routes(); len(got) != 1 || got[0].Name != "shop/transactional" || got[0].Sink.URI == "http://thief.example" {
		t.Errorf("routes are %+v", got)
	}
}

// An API key of another account moves the webhook there.
func TestAnotherAccountsKeyMovesTheWebhook(t *testing.T) {
	t.Parallel()
	other := mandrilltest.New(mandrilltest.Options{APIKeys: []string{"md-other"}, BatchInterval: time.Hour})
	t.Cleanup(other.Close)
	api := httptest.NewServer(other)
	t.Cleanup(api.Close)
	f := newFixture(t, func(o *mandrillwebhook.Options) {
		first := o.NewAPI
		o.NewAPI = func(key string) (account.API, error) {
			if key == "md-other" {
				return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0"})
			}
			return first(key)
		}
	})
	f.apply()
	f.mustReconcile()
	f.events()
	secret := f.secret(types.NamespacedName{Namespace: "shop", Name: "mandrill"})
	secret.Data["api-key"] = []byte("md-other")
	if err := f.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	f.mustReconcile()
	if before, after := f.account.Webhooks(), other.Account("md-other").Webhooks(); len(before) != 0 || len(after) != 1 {
		t.Errorf("the old account has %d webhooks, the new one %d", len(before), len(after))
	}
	f.assertEvent("in the account that was used before")
}

// A Secret of an earlier object with the same name is taken over, and its contents are not trusted.
func TestSecretOfAnEarlierObjectIsTakenOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	yes := true
	f.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: keySecret.Namespace, Name: keySecret.Name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "mandrill-operator.io/v1alpha1", Kind: "MandrillWebhook", Name: "transactional", UID: "gone", Controller: &yes},
		}},
		Data: map[string][]byte{"signing-key": []byte("theirs"), "url": []byte(f.receiver.URL + "/mandrill/shop/transactional")},
	})
	f.apply()
	webhook := f.mustReconcile()
	if got := f.routes()[0].Keys; slices.Contains(got, "theirs") || len(got) != 1 {
		t.Errorf("the route accepts the keys %v", got)
	}
	if secret := f.secret(keySecret); string(secret.Data["signing-key"]) != f.account.Webhooks()[0].AuthKey || secret.OwnerReferences[0].UID == "gone" && len(secret.OwnerReferences) == 1 {
		t.Errorf("the Secret is %+v for %s", secret.ObjectMeta, webhook.UID)
	}
}

func TestUnregisteredObjectIsDeletedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "nowhere" })
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.deleteObject(true)
}

// deleteObject deletes the object and reconciles once; the object must be gone, or not.
func (f *fixture) deleteObject(gone bool) {
	f.t.Helper()
	if err := f.client.Delete(f.t.Context(), f.get()); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.reconcile(); err != nil {
		f.t.Fatal(err)
	}
	if err := f.client.Get(f.t.Context(), webhookKey, &v1alpha1.MandrillWebhook{}); apierrors.IsNotFound(err) != gone {
		f.t.Errorf("reading the object: %v, want it gone: %t", err, gone)
	}
}

// The ten minutes begin when deleting first fails, not when it was requested.
func TestDeletionDeadlineStartsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "nowhere" }) // Reconciling for another reason
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "mandrill" })
	f.mu.Lock()
	f.now = time.Now().Add(time.Hour)
	f.mu.Unlock()
	f.restart()
	f.emulator.Fail("webhooks/list", mandrilltest.Fault{Status: 503})
	f.deleteObject(false)
	f.mu.Lock()
	f.now = time.Now().Add(time.Minute) // the status was written with the real time
	f.mu.Unlock()
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := f.account.Webhooks(); len(got) != 0 {
		t.Errorf("Mandrill still has %+v", got)
	}
}

// A webhook that Mandrill disabled is enabled again, after a pause that grows, and an Event says so.
func TestDisabledWebhookIsEnabledAfterAPause(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.Resync = time.Nanosecond }) // every reconcile lists
	f.apply()
	f.mustReconcile()
	id := f.account.Webhooks()[0].ID
	f.events()
	disable := func() {
		f.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = nil })
		f.advance(time.Second)
	}
	enabled := func() bool { return len(f.account.Webhooks()[0].Events) == 3 }
	disable()
	f.mustReconcile()
	if !enabled() {
		t.Fatal("the first repair was not made at once")
	}
	f.assert("Delivering", "False", "Disabled", "Mandrill has disabled the webhook, because too many batches failed")
	f.assertEvent("Warning WebhookDisabled")
	for _, minutes := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		pause := time.Duration(minutes) * time.Minute
		disable()
		result, err := f.reconcile()
		if err != nil || result.RequeueAfter != pause-time.Second || enabled() {
			t.Fatalf("got %v, %v, enabled %t; want another look in %s", result, err, enabled(), pause)
		}
		f.assert("Registered", "False", "Disabled", "it is enabled again after a pause")
		f.advance(pause)
		f.mustReconcile()
		if !enabled() {
			t.Fatalf("not enabled after %s", pause)
		}
	}
	f.advance(25 * time.Hour)
	disable()
	f.mustReconcile()
	if !enabled() {
		t.Error("after a day in order the pauses were not forgotten")
	}
}

// After a reset of the key, a receiver's word about a bad signature makes it get the new key before the interval is over.
func TestBadSignatureBringsTheNewKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.Now, o.PollGap = time.Now, time.Millisecond })
	f.apply()
	f.mustReconcile()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	polled := make(chan error, 1)
	go func() { polled <- f.reconciler.Poll(ctx) }()

	hook := f.account.Webhooks()[0]
	key, err := f.account.ResetKey(hook.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.post(hook.URL, key); got != http.StatusForbidden {
		t.Fatalf("the receiver answers %d, want 403", got)
	}
	f.reconciler.KeyMayHaveChanged(types.NamespacedName{Namespace: "shop", Name: "unknown"})
	f.reconciler.KeyMayHaveChanged(webhookKey)
	select {
	case changed := <-f.reconciler.Changed():
		if changed.Object.GetName() != webhookKey.Name {
			t.Errorf("%s is said to be changed", changed.Object.GetName())
		}
	case <-time.After(3 * time.Minute):
		t.Fatal("nobody looked")
	}
	f.mustReconcile()
	if got := f.post(hook.URL, key); got != http.StatusOK {
		t.Errorf("the receiver answers %d, want 200", got)
	}
	cancel()
	if err := <-polled; err != nil {
		t.Error(err)
	}
}
