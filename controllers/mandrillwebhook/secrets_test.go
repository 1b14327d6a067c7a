package mandrillwebhook_test

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
)

// update changes a Secret as somebody else would.
func (f *fixture) update(change func(*corev1.Secret)) {
	f.t.Helper()
	secret := f.secret(keySecret)
	change(secret)
	if err := f.client.Update(f.t.Context(), secret); err != nil {
		f.t.Fatal(err)
	}
}

// A Secret that appears between the look for it and the write is not overwritten.
func TestSecretThatAppearsMeanwhileIsNotOverwritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	handler, appear := f.receiver.Config.Handler, sync.Once{}
	f.receiver.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		appear.Do(func() { //nolint:contextcheck // the test's, not the request's
			f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: keySecret.Namespace, Name: keySecret.Name}, Data: map[string][]byte{"password": []byte("theirs")}})
		})
		handler.ServeHTTP(w, r)
	})
	f.apply()
	if result, err := f.reconcile(); err != nil || result.RequeueAfter == 0 {
		t.Errorf("got %v, %v for a Secret that appeared; want another look", result, err)
	}
	f.assert("Ready", "False", "Progressing", "already exists")
	if _, err := f.reconcile(); err == nil {
		t.Error("a Secret of others is no error")
	}
	f.assert("Stalled", "True", "SecretConflict", `the Secret "transactional-signing-key" exists and is not this object's: delete or rename it`)
	if secret := f.secret(keySecret); len(secret.Data) != 1 || len(secret.OwnerReferences) != 0 || len(secret.Labels) != 0 {
		t.Errorf("the Secret of others is now %+v", secret)
	}
}

// A Secret that the operator made and others fill is theirs: the object does not own it, so that it is not
// garbage-collected with the object. Once it is the operator's alone again, the object owns it again.
func TestSecretThatOthersFillIsLeftToThem(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(*corev1.Secret){
		"another entry": func(s *corev1.Secret) { s.Data["password"] = []byte("theirs") },
		"a manifest with an entry of the same name": func(s *corev1.Secret) {
			s.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}
			s.Data["url"] = []byte("postgres://db/")
		},
	} {
		for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionRetain} {
			t.Run(name+", "+string(policy), func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.DeletionPolicy = policy })
				webhook := f.mustReconcile()
				before := f.secret(keySecret)
				f.update(fill)
				filled := f.secret(keySecret)
				if _, err := f.reconcile(); err == nil {
					t.Error("a Secret that others fill is no error")
				}
				f.assert("Stalled", "True", "SecretConflict", `others write to the Secret "transactional-signing-key", so it is not this object's any more: take what the operator did not write out of it, or delete or rename it`)
				if got := f.secret(keySecret); len(got.OwnerReferences) != 0 || !maps.EqualFunc(got.Data, filled.Data, slices.Equal) {
					t.Errorf("the Secret is now %+v", got)
				}
				if len(f.routes()[0].Keys) != 1 {
					t.Error("the receiver lost the key")
				}
				f.update(func(s *corev1.Secret) { s.Data, s.Annotations = before.Data, nil })
				f.mustReconcile()
				if got := f.secret(keySecret); !metav1.IsControlledBy(got, webhook) || !maps.EqualFunc(got.Data, before.Data, slices.Equal) {
					t.Errorf("the Secret was not taken back: %+v", got)
				}
				f.update(fill)
				f.deleteObject(true)
				if got := f.secret(keySecret); len(got.OwnerReferences) != 0 {
					t.Errorf("the garbage collector would delete the Secret of others: %+v", got.OwnerReferences)
				}
			})
		}
	}
}

// restore makes the cluster as a backup has it: new objects with other UIDs, without a status, and Secrets without owners.
func (f *fixture) restore(change ...func(*v1alpha1.MandrillWebhook)) {
	f.t.Helper()
	webhook := f.get()
	webhook.Finalizers = nil
	if err := f.client.Update(f.t.Context(), webhook); err != nil {
		f.t.Fatal(err)
	}
	if err := f.client.Delete(f.t.Context(), webhook); err != nil {
		f.t.Fatal(err)
	}
	f.update(func(s *corev1.Secret) { s.OwnerReferences, s.ManagedFields = nil, nil })
	f.restart()
	f.apply(append(change, func(o *v1alpha1.MandrillWebhook) { o.UID = "uid-2" })...)
}

// After a restore the operator takes its Secret back, with the earlier keys that are still accepted, if the account
// confirms the key.
func TestRestoredSecretIsTakenBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	webhook := f.mustReconcile()
	if _, err := f.account.ResetKey(webhook.Status.WebhookID); err != nil {
		t.Fatal(err)
	}
	f.hourLater().mustReconcile()
	before := f.secret(keySecret)
	if len(before.Data["previous"]) == 0 {
		t.Fatal("there is no earlier key")
	}
	f.restore()
	restored := f.mustReconcile()
	secret := f.secret(keySecret)
	if !metav1.IsControlledBy(secret, restored) || !maps.EqualFunc(secret.Data, before.Data, slices.Equal) || restored.Status.WebhookID != webhook.Status.WebhookID {
		t.Errorf("the Secret is %+v, the webhook %d", secret, restored.Status.WebhookID)
	}
	if keys := f.routes()[0].Keys; len(keys) != 2 || keys[0] != string(secret.Data["signing-key"]) {
		t.Errorf("the receiver accepts %d keys", len(keys))
	}
	if n := len(f.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

// A key that the account does not have, as of an old backup, is not accepted.
func TestRestoredKeyThatTheAccountDoesNotHaveIsNotAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	webhook := f.mustReconcile()
	old := string(f.secret(keySecret).Data["signing-key"])
	if _, err := f.account.ResetKey(webhook.Status.WebhookID); err != nil {
		t.Fatal(err)
	}
	f.advance(time.Hour)
	if err := f.client.Delete(t.Context(), f.secret(routesSecret)); err != nil {
		t.Fatal(err)
	}
	f.restore()
	restored := f.mustReconcile()
	if secret := f.secret(keySecret); !metav1.IsControlledBy(secret, restored) || string(secret.Data["signing-key"]) == old {
		t.Errorf("the Secret was not taken back: %+v", secret)
	}
	if keys := f.routes()[0].Keys; len(keys) != 1 || keys[0] == old {
		t.Error("the receiver accepts a key that Mandrill has not used since the backup")
	}
}

// In a cluster with another public URL the webhook is found by its key, and moves.
func TestRestoredWebhookMovesToAnotherPublicURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	webhook := f.mustReconcile()
	f.configure(func(o *mandrillwebhook.Options) { o.PublicURL = f.receiver.URL + "/elsewhere" })
	f.restore()
	restored := f.mustReconcile()
	if hooks := f.account.Webhooks(); len(hooks) != 1 || hooks[0].ID != webhook.Status.WebhookID || hooks[0].URL != f.receiver.URL+"/elsewhere/shop/transactional" {
		t.Errorf("Mandrill has %+v", hooks)
	}
	if !metav1.IsControlledBy(f.secret(keySecret), restored) {
		t.Error("the Secret was not taken back")
	}
}

// A Secret of the operator's that is neither for the object's URL nor has a key of its account is another object's.
func TestSecretOfAnotherObjectIsNotTaken(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*fixture){
		"lost by another object": func(f *fixture) {
			f.create(&corev1.Secret{ObjectMeta: ownName("transactional-signing-key"), Data: map[string][]byte{"signing-key": []byte("theirs"), "url": []byte("http://elsewhere.example/")}})
		},
		"of an older object that names it": func(f *fixture) {
			f.create(&v1alpha1.MandrillWebhook{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "older", UID: "uid-0", CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
				Spec:       v1alpha1.MandrillWebhookSpec{URL: "http://older.example/", SigningKeySecretName: "transactional-signing-key"},
			})
			f.create(&corev1.Secret{
				ObjectMeta: ownName("transactional-signing-key"),
				Data:       map[string][]byte{"signing-key": []byte("theirs"), "url": []byte(f.receiver.URL + "/mandrill/shop/transactional")},
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			prepare(f)
			f.apply()
			if _, err := f.reconcile(); err == nil {
				t.Error("a Secret of another object is no error")
			}
			f.assert("Stalled", "True", "SecretConflict", `the Secret "transactional-signing-key" exists`)
			if secret := f.secret(keySecret); len(secret.OwnerReferences) != 0 || string(secret.Data["signing-key"]) != "theirs" {
				t.Errorf("the Secret is now %+v", secret)
			}
			if n := len(f.account.Webhooks()); n != 0 {
				t.Errorf("%d webhooks were made", n)
			}
		})
	}
}

// The routes of a sidecar are recognised by the name of the object.
func TestRestoredSecretOfASidecarIsTakenBack(t *testing.T) {
	t.Parallel()
	f, url, run := newSidecarFixture(t)
	run(true)
	f.apply(asSidecar(url))
	f.mustReconcile()
	secret := f.secret(sidecarSecret)
	secret.OwnerReferences, secret.ManagedFields = nil, nil
	if err := f.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	f.restore(asSidecar(url))
	if restored := f.mustReconcile(); !metav1.IsControlledBy(f.secret(sidecarSecret), restored) {
		t.Error("the Secret was not taken back")
	}
	if n := len(f.account.Webhooks()); n != 1 {
		t.Errorf("Mandrill has %d webhooks", n)
	}
}

// The Secrets with everybody's routes are no object's, although an object of their namespace may name them.
func TestRoutesSecretIsNoSigningKeySecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.RoutesSecret.Namespace = "shop" })
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.SigningKeySecretName = "routes-1" })
	if _, err := f.reconcile(); err == nil {
		t.Error("a routes Secret is no error")
	}
	f.assert("Stalled", "True", "SecretConflict", `the Secret "routes-1" exists and is not this object's`)
}
