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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

func TestCreatedObjectIsRegistered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	webhook := f.mustReconcile()
	remote := f.account.Webhooks()
	url := f.receiver.URL + "/mandrill/shop/transactional"
	if len(remote) != 1 || remote[0].URL != url || remote[0].Description != "Shop mail events" || !slices.Equal(remote[0].Events, []string{"open", "blacklist", "whitelist"}) {
		t.Fatalf("Mandrill has %+v", remote)
	}
	status := webhook.Status
	if status.URL != url || status.WebhookID != remote[0].ID || status.SinkURI != "http://consumer.shop.svc.cluster.local" ||
		status.SigningKeySecretName != "transactional-signing-key" || !slices.Equal(status.Events, []string{"open", "denylist", "allowlist"}) || status.Upstream.CreatedAt == nil {
		t.Errorf("status is %+v", status)
	}
	secret := f.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"})
	if string(secret.Data["signing-key"]) != remote[0].AuthKey || string(secret.Data["url"]) != url || !metav1.IsControlledBy(secret, webhook) || len(secret.Data) != 2 {
		t.Errorf("the signing key's Secret is %+v", secret)
	}
	got := f.routes()
	if len(got) != 1 || got[0].Name != "shop/transactional" || got[0].URL != url || !slices.Equal(got[0].Keys, []string{remote[0].AuthKey}) ||
		got[0].Sink.URI != status.SinkURI || got[0].Source != "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional" {
		t.Errorf("routes are %+v", got)
	}
	for _, condition := range []string{"SinkProvided", "ReceiverReady", "Registered", "SigningKeyStored"} {
		f.assert(condition, "True", "Succeeded", "")
	}
	f.assert("Delivering", "Unknown", "NothingSentYet", "")
	f.assertEvent("Normal Registered Created webhook")
}

// Every type that the status announces is one that the receiver makes.
func TestStatusAnnouncesTypesOfTheTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Events = []v1alpha1.EventName{"send", "delivered", "deferral", "hard_bounce", "soft_bounce", "open", "click", "spam", "unsub", "reject", "allowlist", "denylist"}
	})
	announced := f.mustReconcile().Status.CloudEventAttributes
	types := map[string]bool{}
	for _, row := range eventtypes.Table {
		types[row.Type] = true
	}
	for _, attributes := range announced {
		if !types[attributes.Type] || attributes.Source != "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional" {
			t.Errorf("%+v is not among the receiver's types", attributes)
		}
	}
	if len(announced) != 15 {
		t.Errorf("%d types for 12 events, of which the lists make 5", len(announced))
	}
}

// Once everything agrees, a reconcile makes no call of its own to Mandrill, because the account is listed for all objects,
// and writes nothing.
func TestSteadyStateMakesNoWrites(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	before := f.get().ResourceVersion
	calls := len(f.emulator.Calls())
	f.events()
	f.fault = func(verb string, object client.Object) error {
		if verb != "get" {
			return fmt.Errorf("unexpected %s of %T", verb, object)
		}
		return nil
	}
	f.mustReconcile()
	if made := f.emulator.Calls()[calls:]; len(made) != 0 {
		t.Errorf("calls are %v, want none", made)
	}
	f.hourLater().mustReconcile()
	if made := f.emulator.Calls()[calls:]; !slices.Equal(made, []string{"webhooks/list"}) {
		t.Errorf("calls are %v, want one list", made)
	}
	if after := f.get().ResourceVersion; after != before {
		t.Error("the status was written")
	}
	if events := f.events(); len(events) != 0 {
		t.Errorf("Events are %v", events)
	}
}

func TestChangesReachMandrillAndTheReceiver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	first := f.account.Webhooks()[0]
	certs := certificate(t)
	f.edit(func(o *v1alpha1.MandrillWebhook) {
		o.Spec.URL = f.receiver.URL + "/elsewhere?a=b"
		o.Spec.Description = "other"
		o.Spec.Events = []v1alpha1.EventName{"click"}
		o.Spec.Sink = v1alpha1.Destination{URI: "https://sink.example/x", CACerts: certs}
		o.Spec.CloudEventOverrides = &v1alpha1.CloudEventOverrides{Extensions: map[string]v1alpha1.ExtensionValue{"env": "prod"}}
		o.Spec.Delivery = &v1alpha1.Delivery{Mode: v1alpha1.ModeDirect, Timeout: "PT3S"}
	})
	f.mustReconcile()
	second := f.account.Webhooks()
	if len(second) != 1 || second[0].ID != first.ID || second[0].URL != f.receiver.URL+"/elsewhere?a=b" || second[0].Description != "other" || !slices.Equal(second[0].Events, []string{"click"}) {
		t.Errorf("Mandrill has %+v", second)
	}
	got := f.routes()[0]
	if got.URL != second[0].URL || got.Sink.URI != "https://sink.example/x" || got.Sink.CACerts != certs || got.CEOverrides.Extensions["env"] != "prod" || got.Delivery.Timeout != "PT3S" {
		t.Errorf("the route is %+v", got)
	}
	if secret := f.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"}); string(secret.Data["url"]) != second[0].URL {
		t.Errorf("the Secret has the URL %s", secret.Data["url"])
	}
	f.assertEvent("Updated webhook 101 at Mandrill: url, description, events differed")
}

func TestDriftAndKeyResetAreRepaired(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	id := f.account.Webhooks()[0].ID
	f.account.Edit(id, func(spec *mandrill.WebhookSpec) { spec.Events = nil })
	newKey, err := f.account.ResetKey(id)
	if err != nil {
		t.Fatal(err)
	}
	f.hourLater().mustReconcile()
	if got := f.account.Webhooks()[0]; len(got.Events) != 3 {
		t.Errorf("the emptied events were not put back: %v", got.Events)
	}
	if got := f.routes()[0].Keys; len(got) != 2 || got[0] != newKey {
		t.Errorf("the route has keys %v, want the new one and, for a while, the old one", got)
	}
	f.assertEvent("Normal SigningKeyChanged")
	// deleted at Mandrill: made again
	callWithID(t, f, "webhooks/delete", id)
	f.hourLater().mustReconcile()
	if got := f.account.Webhooks(); len(got) != 1 || got[0].ID == id {
		t.Errorf("the deleted webhook was not made again: %+v", got)
	}
	// the Secret edited and deleted by hand
	for _, spoil := range []func(*corev1.Secret) error{
		func(s *corev1.Secret) error {
			s.Data["signing-key"] = []byte("edited")
			return f.client.Update(t.Context(), s)
		},
		func(s *corev1.Secret) error { // what no route may have must not keep the Secret from being put right
			s.Data = map[string][]byte{"signing-key": []byte(mandrill.TestKey), "url": []byte("https://h.example/")}
			return f.client.Update(t.Context(), s)
		},
		func(s *corev1.Secret) error {
			s.Data["url"] = []byte("nonsense")
			s.Data["previous"] = []byte(`[{"url":"nonsense","key":"k","until":"2099-01-01T00:00:00Z"},{"url":"https://h.example/","key":"test-webhook","until":"2099-01-01T00:00:00Z"}]`)
			return f.client.Update(t.Context(), s)
		},
		func(s *corev1.Secret) error { return f.client.Delete(t.Context(), s) },
	} {
		if err := spoil(f.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"})); err != nil {
			t.Fatal(err)
		}
		f.mustReconcile()
		want := f.account.Webhooks()[0].AuthKey
		if secret := f.secret(types.NamespacedName{Namespace: "shop", Name: "transactional-signing-key"}); string(secret.Data["signing-key"]) != want || f.routes()[0].Keys[0] != want {
			t.Error("the Secret was not put right")
		}
	}
}

func TestWebhookAtTheExactURLIsAdopted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url := f.receiver.URL + "/mandrill/shop/transactional"
	for _, other := range []string{url + "/", url} { // only the exact URL is ours
		body := strings.NewReader(fmt.Sprintf(`{"key":%q,"url":%q,"events":["send"]}`, apiKey, other))
		f.account.Revoke(false)
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/webhooks/add", body)
		response := httptest.NewRecorder()
		f.withoutProbe(func() { f.emulator.ServeHTTP(response, request) })
		if response.Code != http.StatusOK {
			t.Fatal(response.Body)
		}
	}
	webhook := f.mustReconcile()
	remote := f.account.Webhooks()
	if len(remote) != 2 || webhook.Status.WebhookID != remote[1].ID || remote[0].Description != "" || remote[1].Description != "Shop mail events" || len(remote[1].Events) != 3 {
		t.Errorf("Mandrill has %+v, the status names %d", remote, webhook.Status.WebhookID)
	}
	f.assertEvent("Normal Adopted Took over webhook")
}

func TestDeletionFollowsDeletionPolicy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		policy  v1alpha1.DeletionPolicy
		prepare func(*fixture)
		remain  int
		event   string
	}{
		{"delete", v1alpha1.DeletionDelete, func(*fixture) {}, 0, "Normal Deleted"},
		{"retain", v1alpha1.DeletionRetain, func(*fixture) {}, 1, "Normal Retained"},
		{"retain with a revoked key", v1alpha1.DeletionRetain, func(f *fixture) { f.account.Revoke(true) }, 1, "Normal Retained"},
		{"gone already", v1alpha1.DeletionDelete, func(f *fixture) { callWithID(f.t, f, "webhooks/delete", 101) }, 0, ""},
		{"status lost", v1alpha1.DeletionDelete, func(f *fixture) {
			webhook := f.get()
			webhook.Status = v1alpha1.MandrillWebhookStatus{}
			if err := f.client.Status().Update(f.t.Context(), webhook); err != nil {
				f.t.Fatal(err)
			}
		}, 0, "Normal Deleted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.DeletionPolicy = test.policy })
			f.mustReconcile()
			test.prepare(f)
			f.deleteObject(true)
			if got := f.account.Webhooks(); len(got) != test.remain {
				t.Errorf("Mandrill has %d webhooks, want %d", len(got), test.remain)
			}
			if got := f.routes(); len(got) != 0 {
				t.Errorf("routes are %v", got)
			}
			var text []string
			for len(f.recorder.Events) > 0 {
				text = append(text, <-f.recorder.Events)
			}
			if !strings.Contains(strings.Join(text, "\n"), test.event) {
				t.Errorf("no Event %q in %q", test.event, text)
			}
		})
	}
}

// When a namespace is deleted its Secrets go in any order: the operator still knows a key that it has used.
func TestDeletionWorksWithoutTheKeysSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.deleteKey()
	f.deleteObject(true)
	if got := f.account.Webhooks(); len(got) != 0 {
		t.Errorf("Mandrill still has %+v", got)
	}
}

// A missing or revoked key delays a deletion for ten minutes and not longer.
func TestDeletionGivesUpAfterTenMinutes(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(*fixture){
		"key revoked": func(f *fixture) { f.account.Revoke(true) },
		"Secret gone": func(f *fixture) {
			f.deleteKey()
			f.restart()
		},
		"Mandrill down": func(f *fixture) {
			f.emulator.Fail("*", mandrilltest.Fault{Status: 503}, mandrilltest.Fault{Status: 503})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.apply()
			f.mustReconcile()
			breakIt(f)
			if err := f.client.Delete(t.Context(), f.get()); err != nil {
				t.Fatal(err)
			}
			result, err := f.reconcile()
			if err != nil || result.RequeueAfter == 0 {
				t.Fatalf("got %v, %v; want another try soon", result, err)
			}
			f.assert("Ready", "False", "Deleting", "deleting the webhook at Mandrill, which is tried for 10 minutes")
			f.assert("Reconciling", "True", "Deleting", "")
			f.events()
			f.mu.Lock()
			f.now = time.Now().Add(11 * time.Minute) // the fake cluster stamps deletions with the real time
			f.mu.Unlock()
			if _, err := f.reconcile(); err != nil {
				t.Fatal(err)
			}
			if err := f.client.Get(t.Context(), webhookKey, &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
				t.Errorf("the object is still there: %v", err)
			}
			if event := <-f.recorder.Events; !strings.Contains(event, "Warning Orphaned") {
				t.Errorf("Event is %q", event)
			}
		})
	}
}

// Userinfo is registered, required of requests and stored, and shown nowhere.
func TestUserinfoIsShownNowhere(t *testing.T) {
	t.Parallel()
	for _, userinfo := range []string{"robot:s3ntinel", "ana@shop.example:s3ntinel", "robot:s3ntinel%21", "s3ntinel"} {
		f := newFixture(t)
		url := strings.Replace(f.receiver.URL, "://", "://"+userinfo+"@", 1) + "/hook?x=1"
		f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url })
		// Mandrill may quote the URL in a way of its own
		escaped := strings.ReplaceAll(strings.ReplaceAll(url, "/", `\/`), "%21", "!")
		f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 400, Name: "ValidationError", Code: -2, Message: `Validation error: {"url":"Could not verify ` + escaped + `"}`})
		if _, err := f.reconcile(); err == nil || strings.Contains(err.Error(), "s3ntinel") {
			t.Errorf("%s: error is %v", userinfo, err)
		}
		f.events()
		webhook := f.mustReconcile()
		if got := f.account.Webhooks(); len(got) != 1 || got[0].URL != url || f.routes()[0].URL != url {
			t.Errorf("%s: Mandrill has %+v", userinfo, got)
		}
		if want := strings.Replace(url, userinfo, "hidden", 1); webhook.Status.URL != want {
			t.Errorf("the status shows %s, want %s", webhook.Status.URL, want)
		}
		f.events()
	}
}

func TestSuspendReachesTheRoute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = true })
	f.mustReconcile()
	if got := f.routes(); !got[0].Suspend || len(got[0].Keys) != 1 {
		t.Errorf("the route is %+v", got[0])
	}
	f.assert("Ready", "True", "Suspended", "as spec.suspend says")
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Suspend = false })
	f.mustReconcile()
	f.assert("Ready", "True", "Succeeded", "")
	if f.routes()[0].Suspend {
		t.Error("the route stayed suspended")
	}
}

// Mandrill's last error may be over: batches sent since then mean that it is.
func TestDeliveringFollowsNewBatches(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	handler := f.receiver.Config.Handler
	emit := func(status int) {
		t.Helper()
		if status != http.StatusOK {
			f.receiver.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })
		} else {
			f.receiver.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		}
		if _, err := f.account.Emit("open"); err != nil {
			t.Fatal(err)
		}
		if err := f.emulator.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.receiver.Config.Handler = handler
		f.hourLater().mustReconcile()
	}
	emit(200)
	f.assert("Delivering", "True", "Delivered", "")
	emit(503)
	f.assert("Delivering", "False", "LastAttemptFailed", "503")
	f.mustReconcile()
	f.assert("Delivering", "False", "LastAttemptFailed", "503")
	emit(200)
	f.assert("Delivering", "True", "Delivered", "")
	f.mustReconcile()
	f.assert("Delivering", "True", "Delivered", "")
}
