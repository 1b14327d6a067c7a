package mandrillwebhook_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Batches of another webhook of the account at the object's URL are accepted as long as it exists, and a day longer, because Mandrill
// holds up all others for the URL while it repeats one that is refused. The object says so all the time.
func TestKeysOfOtherWebhooksAtTheURLAreAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url := f.mustReconcile().Status.URL
	f.assert("URLExclusive", "True", "Succeeded", "")
	other := f.addByHand(url)
	if got := f.post(url, other.AuthKey); got != http.StatusForbidden {
		t.Fatalf("before the operator lists the account the batch is answered with %d", got)
	}
	f.hourLater().mustReconcile()
	f.assert("URLExclusive", "False", "OtherWebhooks", "delete 102 in Mandrill")
	f.assert("Ready", "True", "Succeeded", "")
	f.assertEvent("Warning OtherWebhooks")
	if got := f.metric("mandrill_operator_other_webhooks"); got != 1 {
		t.Errorf("the metric is %v", got)
	}
	own := f.account.Webhooks()[0].AuthKey
	for range 10 { // more than two days
		result, err := f.reconcile()
		if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > 6*time.Hour {
			t.Fatalf("got %v, %v; want another look within six hours", result, err)
		}
		if theirs, ours := f.post(url, other.AuthKey), f.post(url, own); theirs != http.StatusOK || ours != http.StatusOK {
			t.Fatalf("the batches are answered with %d and %d", theirs, ours)
		}
		f.advance(result.RequeueAfter)
	}
	if got := f.events(); len(got) != 0 {
		t.Errorf("what was said is said again: %q", got)
	}
	f.restart()
	f.mustReconcile()
	if got := f.post(url, other.AuthKey); got != http.StatusOK {
		t.Errorf("after a restart the batch is answered with %d", got)
	}
	callWithID(t, f, "webhooks/delete", other.ID)
	f.hourLater().mustReconcile()
	f.assert("URLExclusive", "True", "Succeeded", "")
	if got := f.metric("mandrill_operator_other_webhooks"); got != 0 {
		t.Errorf("the metric is %v", got)
	}
	if got := f.post(url, other.AuthKey); got != http.StatusOK {
		t.Errorf("what Mandrill repeats is answered with %d", got)
	}
	f.advance(25 * time.Hour)
	f.mustReconcile()
	if theirs, ours := f.post(url, other.AuthKey), f.post(url, own); theirs != http.StatusForbidden || ours != http.StatusOK {
		t.Errorf("a day after the deletion the batches are answered with %d and %d", theirs, ours)
	}
}

// A multitude of other webhooks does not push out the keys of the object's own, and those that are refused are named.
func TestKeysOfOtherWebhooksAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url := f.mustReconcile().Status.URL
	before := f.account.Webhooks()[0].AuthKey
	for range 6 {
		f.addByHand(url)
	}
	if _, err := f.account.ResetKey(101); err != nil {
		t.Fatal(err)
	}
	f.hourLater().mustReconcile()
	f.assert("URLExclusive", "False", "OtherWebhooks", "delete 102, 103, 104, 105, 106, 107 in Mandrill; batches of 106, 107 are refused")
	for _, key := range []string{before, f.account.Webhooks()[0].AuthKey} {
		if got := f.post(url, key); got != http.StatusOK {
			t.Errorf("a key of the object's own webhook is answered with %d", got)
		}
	}
	f.deleteObject(true)
	if got := len(f.account.Webhooks()); got != 6 {
		t.Errorf("Mandrill has %d webhooks: those of others are deleted with the object", got)
	}
}

// The object that keeps a URL says who waits for it, as the one that waits says who has it, whichever accounts they use.
func TestBothObjectsSayThatTheyShareAURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	url := f.mustReconcile().Status.URL
	younger := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "younger", UID: "uid-2", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: url, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "another-account", Key: "api-key"}, Sink: v1alpha1.Destination{URI: "http://consumer.example"}},
	}
	f.create(younger)
	_, err := f.reconciler.Reconcile(t.Context(), younger)
	if err == nil || !strings.Contains(err.Error(), "the MandrillWebhook shop/transactional has the same URL: change one of them; that one keeps the URL, because it is registered there") {
		t.Errorf("the younger says %v", err)
	}
	f.mustReconcile()
	f.assert("URLExclusive", "False", "URLConflict", "change the URL of shop/younger, or of this one")
	if err := f.client.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "younger"}, younger); err != nil {
		t.Fatal(err)
	}
	younger.Finalizers = nil
	if err := f.client.Update(t.Context(), younger); err != nil {
		t.Fatal(err)
	}
	if err := f.client.Delete(t.Context(), younger); err != nil {
		t.Fatal(err)
	}
	f.mustReconcile()
	f.assert("URLExclusive", "True", "Succeeded", "")
}

// Somebody else who changes the webhook back is given way to, and named; the operator tries again after a pause.
func TestContestedWebhookIsLeftAlone(t *testing.T) {
	t.Parallel()
	o := &oddAPI{}
	f := newOddFixture(t, o)
	f.apply()
	f.mustReconcile()
	rewrite := func() {
		f.account.Edit(101, func(spec *mandrill.WebhookSpec) { spec.Description = "theirs" })
		f.advance(11 * time.Minute)
	}
	rewrite()
	f.mustReconcile()
	rewrite()
	f.events()
	for range 2 {
		result, err := f.reconcile()
		if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > 30*time.Minute {
			t.Errorf("got %v, %v", result, err)
		}
		f.assert("Registered", "False", "Contested", "changes webhook 101 back at Mandrill each time (description)")
		f.assert("Stalled", "True", "Contested", "deleting the other MandrillWebhook with deletionPolicy Retain")
		f.advance(11 * time.Minute)
	}
	if got := f.events(); len(got) != 1 || !strings.Contains(got[0], "Warning Contested") {
		t.Errorf("the Events are %q", got)
	}
	writes := o.writes
	f.restart()
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("Registered", "False", "Contested", "")
	if o.writes != writes {
		t.Errorf("%d writes while contested", o.writes-writes)
	}
	f.advance(31 * time.Minute)
	f.mustReconcile()
	if got := f.account.Webhooks()[0].Description; got != "Shop mail events" {
		t.Errorf("after the pause Mandrill has %q", got)
	}
	rewrite()
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("Registered", "False", "Contested", "")
	f.edit(func(w *v1alpha1.MandrillWebhook) { w.Spec.Description = "theirs" }) // a remedy
	f.mustReconcile()
}

// A contested webhook belongs to somebody else as well, so deleting the object leaves it at Mandrill, with a warning.
func TestContestedWebhookIsNotDeleted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	for range 2 {
		f.account.Edit(101, func(spec *mandrill.WebhookSpec) { spec.Events = []string{"spam"} })
		f.advance(11 * time.Minute)
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	f.assert("Registered", "False", "Contested", "(events)")
	f.events()
	if err := f.client.Delete(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	webhook := f.get()
	webhook.Generation++ // as the API server does
	if _, err := f.reconciler.Reconcile(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	if event := <-f.recorder.Events; !strings.Contains(event, "Warning Retained Left webhook 101 at Mandrill") {
		t.Errorf("the Event is %q", event)
	}
	if got := len(f.account.Webhooks()); got != 1 {
		t.Errorf("Mandrill has %d webhooks", got)
	}
}

// Two operators that handle the same object change its Secret by turns, which a watch tells each of them at once.
func TestContestedSecretIsLeftAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	writes := 0
	for range 50 {
		secret := f.secret(keySecret)
		if string(secret.Data["url"]) != "https://theirs.example/x" {
			writes++
		}
		secret.Data["url"] = []byte("https://theirs.example/x")
		if err := f.client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	f.assert("SigningKeyStored", "False", "Contested", `changes the Secret "transactional-signing-key" back each time`)
	if writes > 6 {
		t.Errorf("the Secret was written %d times", writes)
	}
	f.advance(31 * time.Minute)
	f.mustReconcile()
}

// A webhook that somebody else deletes is made again, and the object says what is lost.
func TestDeletedWebhookIsMadeAgainWithAWarning(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.events()
	callWithID(t, f, "webhooks/delete", 101)
	f.hourLater().mustReconcile()
	f.hasIDs(102)
	f.assertEvent("Warning Recreated Somebody else has deleted webhook 101 at Mandrill, such as another cluster or installation with this URL, and it is made again as 102")
}

// named gives the operator of a fixture the name of an installation.
func named(name string) func(*mandrillwebhook.Options) {
	return func(options *mandrillwebhook.Options) {
		options.Scope = scope.Scope{Installation: name}
		if name != "" {
			options.RoutesSecret = types.NamespacedName{Namespace: "system", Name: "routes-" + name}
		}
	}
}

// An object of another installation is left alone, its status too, and does not count as one of this installation's.
func TestObjectsOfOtherInstallationsAreLeftAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ operator, object string }{{"", "blue"}, {"blue", ""}, {"blue", "green"}} {
		f := newFixture(t, named(test.operator))
		f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.Installation = test.object })
		before := f.get()
		if result, err := f.reconcile(); err != nil || result != (ctrl.Result{}) {
			t.Errorf("got %v, %v", result, err)
		}
		if after := f.get(); after.ResourceVersion != before.ResourceVersion || len(f.account.Webhooks()) != 0 || len(f.events()) != 0 {
			t.Errorf("the object is changed: %+v", after)
		}
		if got := f.metric("mandrill_operator_webhooks", "degraded"); got != 0 {
			t.Errorf("%v objects count as degraded", got)
		}
		if err := f.client.Delete(t.Context(), before); err != nil { // without a finalizer it goes at once
			t.Fatal(err)
		}
	}
}

// An object changes hands without a gap: the webhook stays at Mandrill, the other installation takes it by what is recorded, and
// this one keeps the routes for a day.
func TestObjectMovesToAnotherInstallation(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.ReceiverURL = o.PublicURL })
	f.apply()
	url := f.mustReconcile().Status.URL
	key := f.account.Webhooks()[0].AuthKey
	blue := &fixture{t: t, client: f.client, emulator: f.emulator, account: f.account, recorder: f.recorder, options: f.options, receiver: f.receiver, now: f.now}
	f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.Installation = "blue" })

	generation := f.get().Generation
	if result, err := f.reconcile(); err != nil || result != (ctrl.Result{}) || f.post(url, key) != http.StatusOK {
		t.Fatalf("while nobody has taken the object: %v, %v", result, err)
	}
	f.assertEvent("Normal HandedOver")
	if got := f.get(); got.Status.ObservedGeneration == generation {
		t.Error("the status is written by the installation that has no part in it")
	}
	blue.configure(named("blue")) // the receiver does not read its Secret
	old := f.reconciler
	f.reconciler = blue.reconciler
	f.mustReconcile()
	f.reconciler = old
	f.hasIDs(101)
	if got := f.get().Finalizers; !slices.Equal(got, []string{"mandrill-operator.io/webhook", "mandrill-operator.io/webhook-blue"}) {
		t.Errorf("the finalizers are %q", got)
	}
	result, err := f.reconcile()
	if err != nil || result.RequeueAfter != 24*time.Hour || f.post(url, key) != http.StatusOK {
		t.Fatalf("after the object is taken: %v, %v", result, err)
	}
	f.advance(24 * time.Hour)
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := f.get().Finalizers; !slices.Equal(got, []string{"mandrill-operator.io/webhook-blue"}) || len(f.routes()) != 0 {
		t.Errorf("a day later the finalizers are %q, the routes %v", got, f.routes())
	}
	f.hasIDs(101)
	if _, err := f.reconcile(); err != nil { // it is nobody's of this installation
		t.Fatal(err)
	}
	f.reconciler = blue.reconciler
	f.deleteObject(true)
	f.hasIDs()
}

// An object that no installation has taken is still this one's to delete, and one that another has taken is not.
func TestDeletionWhileAnObjectMoves(t *testing.T) {
	t.Parallel()
	for _, taken := range []bool{false, true} {
		f := newFixture(t)
		f.apply()
		f.mustReconcile()
		f.edit(func(o *v1alpha1.MandrillWebhook) {
			if o.Spec.Installation = "blue"; taken {
				o.Finalizers = append(o.Finalizers, "mandrill-operator.io/webhook-blue")
			}
		})
		if _, err := f.reconcile(); err != nil {
			t.Fatal(err)
		}
		f.deleteObject(!taken)
		if got := len(f.account.Webhooks()); taken != (got == 1) {
			t.Errorf("taken %t: Mandrill has %d webhooks", taken, got)
		}
		var routes corev1.Secret
		if err := f.client.Get(t.Context(), routesSecret, &routes); err != nil || strings.Contains(string(routes.Data["routes.yaml"]), "shop/") {
			t.Errorf("taken %t: the routes are %s, error %v", taken, routes.Data["routes.yaml"], err)
		}
	}
}
