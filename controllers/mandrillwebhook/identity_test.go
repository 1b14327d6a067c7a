package mandrillwebhook_test

import (
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
)

var keySecret = types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"}

// post sends an empty batch for a registered URL, signed with a key, and returns the receiver's answer.
func (w *world) post(registered, key string) int {
	w.t.Helper()
	request, err := mandrilltest.NewRequest(w.t.Context(), registered, registered, key, []byte("[]"))
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// advance lets time pass.
func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// A key that Mandrill replaced is accepted for 24 hours more, over restarts, and the Secret holds the new one.
func TestKeyGracePeriod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	url := w.mustReconcile().Status.URL
	oldKey := w.account.Webhooks()[0].AuthKey
	newKey, err := w.account.ResetKey(w.account.Webhooks()[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	w.later()
	result, err := w.reconcile()
	if err != nil || result.RequeueAfter != 24*time.Hour {
		t.Fatalf("got %v, %v; want another look when the old key expires", result, err)
	}
	for range 2 {
		if w.post(url, newKey) != http.StatusOK || w.post(url, oldKey) != http.StatusOK || w.post(url, "forged") != http.StatusForbidden {
			t.Error("during the grace period the receiver must accept both keys and no other")
		}
		w.restart()
		w.mustReconcile()
	}
	if got := string(w.secret(keySecret).Data["signing-key"]); got != newKey {
		t.Error("the Secret has the old key")
	}
	w.advance(24*time.Hour + time.Second)
	if result, err := w.reconcile(); err != nil || !result.IsZero() {
		t.Errorf("after the grace period: %v, %v", result, err)
	}
	if w.post(url, newKey) != http.StatusOK || w.post(url, oldKey) != http.StatusForbidden {
		t.Error("after the grace period the receiver must accept the new key alone")
	}
	if _, ok := w.secret(keySecret).Data["previous"]; ok {
		t.Error("the Secret still remembers the old key")
	}
}

// While Mandrill does not accept a new URL it goes on posting to the old one, which must be served; and for a while
// after it did.
func TestURLGracePeriod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	oldURL := w.mustReconcile().Status.URL
	key := w.account.Webhooks()[0].AuthKey
	newURL := w.receiver.URL + "/new"
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = newURL })
	w.emulator.Fail("webhooks/update", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: `Validation error: {"url":"no"}`})
	if _, err := w.reconcile(); err == nil {
		t.Fatal("the update did not fail")
	}
	w.assert("Registered", "False", "URLCheckFailed", "")
	if w.post(oldURL, key) != http.StatusOK {
		t.Error("the old URL is not served, and Mandrill knows no other")
	}
	w.mustReconcile()
	if w.post(oldURL, key) != http.StatusOK || w.post(newURL, key) != http.StatusOK {
		t.Error("after the change both URLs must be served for a while")
	}
	if got := w.account.Webhooks(); len(got) != 1 || got[0].URL != newURL {
		t.Errorf("Mandrill has %+v", got)
	}
	w.advance(25 * time.Hour)
	w.mustReconcile()
	if w.post(oldURL, key) != http.StatusNotFound || w.post(newURL, key) != http.StatusOK || len(w.routes()) != 1 {
		t.Errorf("after the grace period the routes are %+v", w.routes())
	}
	if err := w.client.Delete(t.Context(), w.get()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reconcile(); err != nil || len(w.routes()) != 0 {
		t.Errorf("after deletion the routes are %+v, error %v", w.routes(), err)
	}
}

// The secret part of the URL is registered and demanded, is shown nowhere, and may change.
func TestURLSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "hook"}, Data: map[string][]byte{"token": []byte("s3ntinel &1\n")}})
	w.apply(urlSecret("hook"))
	// Mandrill quotes the URL, in its own way
	quoted := strings.ReplaceAll(w.receiver.URL+"/mandrill/shop/transactional?secret=s3ntinel+%261 or s3ntinel &1", "/", `\/`)
	w.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: `Validation error: {"url":"` + quoted + `"}`})
	if _, err := w.reconcile(); err == nil || strings.Contains(err.Error(), "s3ntinel") {
		t.Errorf("error is %v", err)
	}
	webhook := w.mustReconcile()
	w.events() // and none of them, nor the conditions, has it
	first := w.receiver.URL + "/mandrill/shop/transactional?secret=s3ntinel+%261"
	hook := w.account.Webhooks()[0]
	if hook.URL != first || webhook.Status.URL != w.receiver.URL+"/mandrill/shop/transactional?secret=hidden" {
		t.Errorf("Mandrill has %s, the status %s", hook.URL, webhook.Status.URL)
	}
	if got := w.post(strings.Replace(first, "s3ntinel", "other", 1), hook.AuthKey); got != http.StatusForbidden {
		t.Errorf("without the secret the receiver answers %d", got)
	}
	secret := w.secret(types.NamespacedName{Namespace: "shop", Name: "hook"})
	secret.Data["token"] = []byte("s3ntinel2")
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.mustReconcile()
	second := w.receiver.URL + "/mandrill/shop/transactional?secret=s3ntinel2"
	if got := w.account.Webhooks(); len(got) != 1 || got[0].URL != second || got[0].ID != hook.ID {
		t.Errorf("Mandrill has %+v", got)
	}
	if w.post(first, hook.AuthKey) != http.StatusOK || w.post(second, hook.AuthKey) != http.StatusOK {
		t.Error("during the grace period both URLs must be accepted")
	}
	w.events()
	w.advance(25 * time.Hour)
	w.mustReconcile()
	if w.post(first, hook.AuthKey) != http.StatusForbidden || w.post(second, hook.AuthKey) != http.StatusOK {
		t.Error("after the grace period the new URL alone must be accepted")
	}
	w.restart()
	w.deleteObject(true)
	if got := w.account.Webhooks(); len(got) != 0 {
		t.Errorf("Mandrill still has %+v", got)
	}
}

// The status may be lost, and the URL changed at the same time: the Secret still says which webhook is ours.
func TestLostStatusAndChangedURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = w.receiver.URL + "/new" })
	webhook := w.get()
	webhook.Status = v1alpha1.MandrillWebhookStatus{}
	if err := w.client.Status().Update(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.events()
	w.mustReconcile()
	if got := w.account.Webhooks(); len(got) != 1 || got[0].URL != w.receiver.URL+"/new" {
		t.Errorf("Mandrill has %+v", got)
	}
	if events := w.events(); slices.ContainsFunc(events, func(event string) bool { return strings.Contains(event, "Adopted") }) {
		t.Errorf("the object's own webhook is said to be adopted: %q", events)
	}
}

// A webhook that another object has recorded is not taken, even when it stands at our URL.
func TestClaimedWebhookIsNotAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	url := w.mustReconcile().Status.URL
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = w.receiver.URL + "/moving" }) // not reconciled: still at the old URL
	second := types.NamespacedName{Namespace: "shop", Name: "second"}
	w.create(&v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: second.Namespace, Name: second.Name, UID: "uid-2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec: v1alpha1.MandrillWebhookSpec{
			URL: url, Events: []v1alpha1.EventName{"send"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill", Key: "api-key"}, Sink: v1alpha1.Destination{URI: "http://sink.example"},
		},
	})
	reconcileSecond := func() *v1alpha1.MandrillWebhook {
		t.Helper()
		var object v1alpha1.MandrillWebhook
		if err := w.client.Get(t.Context(), second, &object); err != nil {
			t.Fatal(err)
		}
		if _, err := w.reconciler.Reconcile(t.Context(), &object); err != nil {
			t.Fatal(err)
		}
		return &object
	}
	if object := reconcileSecond(); object.Status.WebhookID != 0 || !strings.Contains(fmt.Sprint(object.Status.Conditions), "shop/transactional") {
		t.Errorf("the second object took the webhook: %+v", object.Status)
	}
	w.mustReconcile() // moves away
	if object := reconcileSecond(); object.Status.WebhookID == 0 || object.Status.WebhookID == w.get().Status.WebhookID || len(w.account.Webhooks()) != 2 {
		t.Errorf("after the first has moved: %+v, Mandrill has %d", object.Status, len(w.account.Webhooks()))
	}
}

// An object that is registered at a URL keeps it, whoever is older.
func TestRegisteredKeepsTheURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	url := w.mustReconcile().Status.URL
	w.create(&v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "older", UID: "uid-0", Generation: 2, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: url, Sink: v1alpha1.Destination{URI: "http://thief.example"}},
	})
	var intruder v1alpha1.MandrillWebhook
	if err := w.client.Get(t.Context(), types.NamespacedName{Namespace: "other", Name: "older"}, &intruder); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reconciler.Reconcile(t.Context(), &intruder); err == nil {
		t.Error("the intruder was not stalled")
	}
	w.mustReconcile()
	if got := w.routes(); len(got) != 1 || got[0].Name != "shop/transactional" || got[0].Sink.URI == "http://thief.example" {
		t.Errorf("routes are %+v", got)
	}
}

// An API key of another account moves the webhook there.
func TestChangedAccount(t *testing.T) {
	t.Parallel()
	other := mandrilltest.New(mandrilltest.Options{APIKeys: []string{"md-other"}, BatchInterval: time.Hour})
	t.Cleanup(other.Close)
	api := httptest.NewServer(other)
	t.Cleanup(api.Close)
	w := newWorld(t, func(o *mandrillwebhook.Options) {
		first := o.NewAPI
		o.NewAPI = func(key string) (account.API, error) {
			if key == "md-other" {
				return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0"})
			}
			return first(key)
		}
	})
	w.apply()
	w.mustReconcile()
	w.events()
	secret := w.secret(types.NamespacedName{Namespace: "shop", Name: "mandrill"})
	secret.Data["api-key"] = []byte("md-other")
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.mustReconcile()
	if before, after := w.account.Webhooks(), other.Account("md-other").Webhooks(); len(before) != 0 || len(after) != 1 {
		t.Errorf("the old account has %d webhooks, the new one %d", len(before), len(after))
	}
	w.assertEvent("in the account that was used before")
}

// A Secret that an earlier object of the name left is taken over, and what it says is not believed.
func TestSecretOfAnEarlierObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	yes := true
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: keySecret.Namespace, Name: keySecret.Name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "mandrill-operator.io/v1alpha1", Kind: "MandrillWebhook", Name: "transactional", UID: "gone", Controller: &yes},
		}},
		Data: map[string][]byte{"signing-key": []byte("theirs"), "url": []byte(w.receiver.URL + "/mandrill/shop/transactional")},
	})
	w.apply()
	webhook := w.mustReconcile()
	if got := w.routes()[0].Keys; slices.Contains(got, "theirs") || len(got) != 1 {
		t.Errorf("the route accepts the keys %v", got)
	}
	if secret := w.secret(keySecret); string(secret.Data["signing-key"]) != w.account.Webhooks()[0].AuthKey || secret.OwnerReferences[0].UID == "gone" && len(secret.OwnerReferences) == 1 {
		t.Errorf("the Secret is %+v for %s", secret.ObjectMeta, webhook.UID)
	}
}

func TestDeletionOfWhatWasNeverRegistered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "nowhere" })
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.deleteObject(true)
}

// deleteObject deletes the object and reconciles once; the object must be gone, or not.
func (w *world) deleteObject(gone bool) {
	w.t.Helper()
	if err := w.client.Delete(w.t.Context(), w.get()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.reconcile(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.Get(w.t.Context(), webhookKey, &v1alpha1.MandrillWebhook{}); apierrors.IsNotFound(err) != gone {
		w.t.Errorf("reading the object: %v, want it gone: %t", err, gone)
	}
}

// The ten minutes begin when deleting fails first, not while nobody tried.
func TestDeletionAfterTheOperatorWasAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "nowhere" }) // Reconciling for another reason
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "mandrill" })
	w.mu.Lock()
	w.now = time.Now().Add(time.Hour)
	w.mu.Unlock()
	w.restart()
	w.emulator.Fail("webhooks/list", mandrilltest.Fault{Status: 503})
	w.deleteObject(false)
	w.mu.Lock()
	w.now = time.Now().Add(time.Minute) // the status was written with the real time
	w.mu.Unlock()
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := w.account.Webhooks(); len(got) != 0 {
		t.Errorf("Mandrill still has %+v", got)
	}
}

// A webhook that Mandrill disabled is enabled again, after a pause that grows, and the user is told.
func TestDisabledWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *mandrillwebhook.Options) { o.Resync = time.Nanosecond }) // every reconcile lists
	w.apply()
	w.mustReconcile()
	id := w.account.Webhooks()[0].ID
	w.events()
	disable := func() {
		w.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = nil })
		w.advance(time.Second)
	}
	enabled := func() bool { return len(w.account.Webhooks()[0].Events) == 3 }
	disable()
	w.mustReconcile()
	if !enabled() {
		t.Fatal("the first repair was not made at once")
	}
	w.assert("Delivering", "False", "Disabled", "Mandrill has disabled the webhook, because too many batches failed")
	w.assertEvent("Warning Disabled")
	for _, minutes := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		pause := time.Duration(minutes) * time.Minute
		disable()
		result, err := w.reconcile()
		if err != nil || result.RequeueAfter != pause-time.Second || enabled() {
			t.Fatalf("got %v, %v, enabled %t; want another look in %s", result, err, enabled(), pause)
		}
		w.assert("Registered", "False", "Disabled", "it is enabled again after a pause")
		w.advance(pause)
		w.mustReconcile()
		if !enabled() {
			t.Fatalf("not enabled after %s", pause)
		}
	}
	w.advance(25 * time.Hour)
	disable()
	w.mustReconcile()
	if !enabled() {
		t.Error("after a day in order the pauses were not forgotten")
	}
}
