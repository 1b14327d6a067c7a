package mandrillwebhook_test

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// secondKey is another API key of the account of apiKey.
const secondKey = "md-s3ntinel-second"

func withSecondKey(o *mandrillwebhook.Options) {
	first := o.NewAPI
	o.NewAPI = func(key string) (account.API, error) {
		if key == secondKey {
			key = apiKey
		}
		return first(key)
	}
}

var errRefused = errors.New("refused")

func condition(webhook *v1alpha1.MandrillWebhook, name string) metav1.Condition {
	if found := meta.FindStatusCondition(webhook.Status.Conditions, name); found != nil {
		return *found
	}
	return metav1.Condition{}
}

// atSharedURL gives an object a URL that does not follow from its name.
func (f *fixture) atSharedURL(o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/shared" }

// createHeir creates a second object in a namespace and returns its name.
func (f *fixture) createHeir(namespace string, change ...func(*v1alpha1.MandrillWebhook)) types.NamespacedName {
	f.t.Helper()
	key := types.NamespacedName{Namespace: namespace, Name: "renamed"}
	heir := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: "uid-heir", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(time.Hour))},
		Spec: v1alpha1.MandrillWebhookSpec{
			URL: f.receiver.URL + "/shared", Description: "Shop mail events", Events: []v1alpha1.EventName{"open", "denylist", "allowlist"},
			APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill", Key: "api-key"},
			Sink:            v1alpha1.Destination{URI: "http://consumer.example"}, Receiver: v1alpha1.ReceiverShared, DeletionPolicy: v1alpha1.DeletionDelete,
		},
	}
	for _, c := range change {
		c(heir)
	}
	f.create(heir)
	return key
}

func (f *fixture) createAPIKey(namespace, name, key string) {
	f.t.Helper()
	f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"api-key": []byte(key)}})
}

// object returns an object, nil if it is gone.
func (f *fixture) object(key types.NamespacedName) *v1alpha1.MandrillWebhook {
	f.t.Helper()
	var webhook v1alpha1.MandrillWebhook
	if err := f.client.Get(f.t.Context(), key, &webhook); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		f.t.Fatal(err)
	}
	return &webhook
}

// reconcileObject reconciles an object by its name, if it is there.
func (f *fixture) reconcileObject(key types.NamespacedName) (ctrl.Result, error) {
	f.t.Helper()
	if webhook := f.object(key); webhook != nil {
		return f.reconciler.Reconcile(f.t.Context(), webhook)
	}
	return ctrl.Result{}, nil
}

// settle reconciles objects as long as any of them has something to do within a minute.
func (f *fixture) settle(keys ...types.NamespacedName) {
	f.t.Helper()
	for range 20 {
		busy := false
		for _, key := range keys {
			result, err := f.reconcileObject(key)
			if result.RequeueAfter > 0 && result.RequeueAfter < time.Minute {
				f.advance(result.RequeueAfter)
				busy = true
			}
			busy = busy || err != nil
		}
		if !busy {
			return
		}
	}
	f.t.Fatalf("no end: %+v", f.object(keys[0]))
}

func (f *fixture) delete(key types.NamespacedName) {
	f.t.Helper()
	if err := f.client.Delete(f.t.Context(), f.object(key)); err != nil {
		f.t.Fatal(err)
	}
}

// wantHeir asserts that one object is left, which has the webhook that there was.
func (f *fixture) wantHeir(key types.NamespacedName, was mandrill.Webhook) {
	f.t.Helper()
	remote, heir := f.account.Webhooks(), f.object(key)
	if f.object(webhookKey) != nil || heir == nil {
		f.t.Fatalf("the objects are %v and %v", f.object(webhookKey), heir)
	}
	if len(remote) != 1 || remote[0].ID != was.ID || remote[0].AuthKey != was.AuthKey || heir.Status.WebhookID != was.ID {
		f.t.Errorf("Mandrill has %+v, want %d; the status has %d", remote, was.ID, heir.Status.WebhookID)
	}
	if !meta.IsStatusConditionTrue(heir.Status.Conditions, "Ready") {
		f.t.Errorf("the heir is not Ready: %+v", heir.Status.Conditions)
	}
	secret := f.secret(types.NamespacedName{Namespace: key.Namespace, Name: heir.Status.SigningKeySecretName})
	if string(secret.Data["signing-key"]) != was.AuthKey || !metav1.IsControlledBy(secret, heir) || len(secret.OwnerReferences) != 1 {
		f.t.Errorf("the Secret is %+v", secret)
	}
	for _, route := range f.routes() {
		if !strings.HasPrefix(route.Name, key.String()) {
			f.t.Errorf("there is a route %s", route.Name)
		}
	}
	if got := f.post(was.URL, was.AuthKey); got != http.StatusOK {
		f.t.Errorf("a batch gets %d", got)
	}
}

// An object with another name or namespace and the same URL takes over the webhook of the one that is deleted, in whatever order
// they are created and deleted. Neither the webhook nor its key changes, so nothing that waits at Mandrill is lost.
func TestRenamedObjectKeepsTheWebhook(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		namespace string
		object    func(*v1alpha1.MandrillWebhook)
		heir      func(*v1alpha1.MandrillWebhook)
		prepare   func(*fixture)
	}{
		"renamed":           {},
		"another namespace": {namespace: "mail", prepare: func(f *fixture) { f.createAPIKey("mail", "mandrill", apiKey) }},
		"namespace gone": {namespace: "mail", prepare: func(f *fixture) {
			f.createAPIKey("mail", "mandrill", apiKey)
			f.deleteKey()
			f.restart()
		}},
		"retained":         {object: func(o *v1alpha1.MandrillWebhook) { o.Spec.DeletionPolicy = v1alpha1.DeletionRetain }},
		"refuses adoption": {heir: func(o *v1alpha1.MandrillWebhook) { o.Spec.AdoptionPolicy = v1alpha1.AdoptionRefuse }},
		"other events":     {heir: func(o *v1alpha1.MandrillWebhook) { o.Spec.Events = []v1alpha1.EventName{"click"} }},
		"same Secret": {
			object: func(o *v1alpha1.MandrillWebhook) { o.Spec.SigningKeySecretName = "signing" },
			heir:   func(o *v1alpha1.MandrillWebhook) { o.Spec.SigningKeySecretName = "signing" },
		},
		"another key of the account": {
			prepare: func(f *fixture) { f.createAPIKey("shop", "second", secondKey) },
			heir:    func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "second" },
		},
		"a secret in the URL": {
			prepare: func(f *fixture) { f.createURLSecret("other-hook", "token") },
			object:  urlSecret("hook"), heir: urlSecret("other-hook"),
		},
	} {
		for _, deletedFirst := range []bool{false, true} {
			for _, restarted := range []bool{false, true} {
				f := newFixture(t, withSecondKey, func(o *mandrillwebhook.Options) { o.RenameWindow = 5 * time.Second })
				f.createURLSecret("hook", "token")
				f.apply(f.atSharedURL, func(o *v1alpha1.MandrillWebhook) {
					if test.object != nil {
						test.object(o)
					}
				})
				f.mustReconcile()
				was := f.account.Webhooks()[0]
				if test.prepare != nil {
					test.prepare(f)
				}
				namespace := test.namespace
				if namespace == "" {
					namespace = "shop"
				}
				create := func() types.NamespacedName {
					return f.createHeir(namespace, func(o *v1alpha1.MandrillWebhook) {
						if test.heir != nil {
							test.heir(o)
						}
					})
				}
				var heir types.NamespacedName
				if deletedFirst {
					f.mu.Lock()
					f.now = time.Now() // the fake cluster stamps deletions with the real time
					f.mu.Unlock()
					f.delete(webhookKey)
					if name != "retained" {
						if result, err := f.reconcile(); err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > 5*time.Second {
							t.Fatalf("%s: the deletion does not wait for an heir: %v, %v", name, result, err)
						}
					}
					f.advance(4 * time.Second)
					heir = create()
				} else {
					heir = create()
					_, _ = f.reconcileObject(heir)
					f.hasIDs(was.ID)
					f.delete(webhookKey)
				}
				if restarted {
					f.restart()
				}
				f.settle(webhookKey, heir)
				f.settle(heir)
				f.wantHeir(heir, was)
				if calls := f.emulator.Calls(); slices.Contains(calls, "webhooks/delete") || strings.Count(strings.Join(calls, " "), "webhooks/add") != 1 {
					t.Errorf("calls are %v", calls)
				}
				events := strings.Join(f.recorded(), "\n")
				for _, want := range []string{ // an object that leaves its webhook hands nothing over once it is gone
					"Normal PassedOn Left webhook 101 to the MandrillWebhook " + heir.String() + ", which has the same URL",
					"Normal Adopted Took over webhook 101 of the MandrillWebhook shop/transactional",
				} {
					if handed := name != "retained" || !deletedFirst; handed && !strings.Contains(events, want) {
						t.Errorf("no Event %q in\n%s", want, events)
					}
				}
				if strings.Contains(events, "Orphaned") {
					t.Errorf("Events are\n%s", events)
				}
				f.delete(heir) // and the webhook is the heir's, to the end
				f.advance(time.Minute)
				f.settle(heir)
				f.hasIDs()
				if t.Failed() {
					t.Fatalf("%s, deleted first %t, restarted %t", name, deletedFirst, restarted)
				}
			}
		}
	}
}

// Identities that were replaced shortly before a rename stay accepted: Mandrill may have signed waiting batches with them.
func TestRenamedObjectAcceptsEarlierKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(f.atSharedURL)
	f.mustReconcile()
	first := f.account.Webhooks()[0]
	if _, err := f.account.ResetKey(first.ID); err != nil {
		t.Fatal(err)
	}
	f.hourLater().mustReconcile()
	heir := f.createHeir("shop")
	f.delete(webhookKey)
	f.settle(webhookKey, heir)
	f.settle(heir)
	f.wantHeir(heir, f.account.Webhooks()[0])
	if got := f.post(first.URL, first.AuthKey); got != http.StatusOK {
		t.Errorf("a batch that was signed before the key was reset gets %d", got)
	}
	f.advance(25 * time.Hour)
	f.settle(heir)
	if got := f.post(first.URL, first.AuthKey); got == http.StatusOK {
		t.Error("the earlier key is accepted for longer than a day")
	}
}

// Inbound routes stay at Mandrill while their webhook is handed over. Those that the heir does not want go then.
func TestRenamedObjectKeepsInboundRoutes(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		f := newFixture(t)
		theirs := f.addForeignRoute("sales@a.example")
		f.apply(f.atSharedURL, inbound("help@a.example", "old@a.example"))
		f.reconcileUntilDone()
		f.validMX("a.example")
		f.mustReconcile()
		was := f.account.Webhooks()[0]
		heir := f.createHeir("shop", func(o *v1alpha1.MandrillWebhook) {
			if kept {
				inbound("help@a.example")(o)
			}
		})
		f.delete(webhookKey)
		before := f.account.Routes("a.example")
		if _, err := f.reconcileObject(webhookKey); err != nil {
			t.Fatal(err)
		}
		if got := f.account.Routes("a.example"); !slices.Equal(got, before) {
			t.Errorf("the routes are %+v, were %+v", got, before)
		}
		f.restart()
		f.settle(heir)
		f.wantHeir(heir, was)
		if want := []string{"sales " + theirs, "help " + was.URL}; kept {
			f.wantInboundAt("a.example", want...)
		} else {
			f.wantInboundAt("a.example", want[0])
		}
	}
}

// wantInboundAt is wantInbound for tests whose first object is gone.
func (f *fixture) wantInboundAt(domain string, want ...string) {
	f.t.Helper()
	var got []string
	for _, route := range f.account.Routes(domain) {
		got = append(got, route.Pattern+" "+route.URL)
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		f.t.Errorf("%s has the routes %q, want %q", domain, got, want)
	}
}

// A webhook is handed over only to an object that may have it: one with the same URL and account, which has none.
func TestOnlyAnHeirTakesTheWebhookOver(t *testing.T) {
	t.Parallel()
	for name, heir := range map[string]func(*fixture, *v1alpha1.MandrillWebhook){
		"another URL":           func(f *fixture, o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/elsewhere" },
		"another account":       func(_ *fixture, o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "other" },
		"the URL's secret":      func(_ *fixture, o *v1alpha1.MandrillWebhook) { urlSecret("hook")(o) },
		"a webhook of its own":  func(_ *fixture, o *v1alpha1.MandrillWebhook) { o.Status.WebhookID = 7 },
		"another path's object": func(f *fixture, o *v1alpha1.MandrillWebhook) { o.Spec.URL = f.receiver.URL + "/shared/" },
		"another installation":  func(_ *fixture, o *v1alpha1.MandrillWebhook) { o.Spec.Installation = "blue" },
		"being deleted":         nil,
	} {
		f, _ := twoAccounts(t)
		f.createAPIKey("shop", "other", otherKey)
		f.createURLSecret("hook", "token")
		f.apply(f.atSharedURL)
		f.mustReconcile()
		key := f.createHeir("shop", func(o *v1alpha1.MandrillWebhook) {
			if heir == nil {
				o.Finalizers = []string{"example.com/other"}
				return
			}
			heir(f, o)
		})
		if heir == nil {
			f.delete(key)
		}
		f.delete(webhookKey)
		if _, err := f.reconcileObject(webhookKey); err != nil {
			t.Fatal(err)
		}
		if f.object(webhookKey) != nil || len(f.account.Webhooks()) != 0 {
			t.Errorf("%s: the object is %v, Mandrill has %+v", name, f.object(webhookKey), f.account.Webhooks())
		}
	}
}

// Below the public URL an object of another namespace is no heir: the place is not its own.
func TestHeirOfAnotherNamespaceNeedsTheRightToTheURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.createAPIKey("mail", "mandrill", apiKey)
	f.apply()
	url := f.mustReconcile().Status.URL
	heir := f.createHeir("mail", func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = url })
	f.delete(webhookKey)
	f.settle(webhookKey)
	_, _ = f.reconcileObject(heir)
	if got := f.account.Webhooks(); len(got) != 0 {
		t.Errorf("Mandrill has %+v", got)
	}
}

// A stranger's webhook at the URL is not handed over with the object's own: the heir reports it.
func TestHandoverLeavesStrangers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(f.atSharedURL)
	was := f.mustReconcile()
	stranger := f.addByHand(was.Spec.URL)
	heir := f.createHeir("shop")
	f.delete(webhookKey)
	f.settle(webhookKey, heir)
	f.settle(heir)
	f.hasIDs(was.Status.WebhookID, stranger.ID)
	if got := f.object(heir).Status.WebhookID; got != was.Status.WebhookID {
		t.Errorf("the heir has webhook %d", got)
	}
	f.delete(heir)
	f.settle(heir)
	f.hasIDs(stranger.ID)
}

// While the API key of an object with the same URL cannot be read, the deletion waits for a minute, and then it goes on.
func TestDeletionWaitsForAnHeirThatIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, arrives := range []bool{true, false} {
		f := newFixture(t)
		f.apply(f.atSharedURL)
		f.mustReconcile()
		was := f.account.Webhooks()[0]
		heir := f.createHeir("shop", func(o *v1alpha1.MandrillWebhook) { o.Spec.APIKeySecretRef.Name = "late" })
		f.delete(webhookKey)
		if _, err := f.reconcileObject(webhookKey); err != nil {
			t.Fatal(err)
		}
		f.assert("Ready", "False", "Deleting", "the MandrillWebhook shop/renamed has the same URL, and whether it takes over the webhook is not known yet")
		f.hasIDs(was.ID)
		if arrives {
			f.createAPIKey("shop", "late", apiKey)
		} else {
			f.mu.Lock()
			f.now = time.Now().Add(time.Minute) // the fake cluster stamps conditions with the real time
			f.mu.Unlock()
		}
		f.settle(webhookKey)
		if !arrives {
			f.hasIDs()
			continue
		}
		f.settle(heir)
		f.wantHeir(heir, was)
	}
}

// The object that takes the webhook over leaves the URL to the one that is being deleted, until that is gone.
func TestHeirWaitsUntilTheOtherIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(f.atSharedURL)
	f.mustReconcile()
	was := f.account.Webhooks()[0]
	heir := f.createHeir("shop")
	_, _ = f.reconcileObject(heir)
	if got := condition(f.object(heir), "ReceiverReady"); got.Reason != "URLConflict" || !strings.Contains(got.Message, "or, if this one is to replace it, delete that one") {
		t.Errorf("the condition is %+v", got)
	}
	f.delete(webhookKey)
	f.failOnce("patch", apierrors.NewInternalError(errRefused)) // removing the finalizer
	if _, err := f.reconcileObject(webhookKey); err == nil {
		t.Fatal("the finalizer was removed")
	}
	for range 2 { // its record stays although both have it
		_, _ = f.reconcileObject(heir)
		if got := condition(f.object(heir), "ReceiverReady"); got.Reason != "URLConflict" || !strings.Contains(got.Message, "is being deleted: wait until it is gone") {
			t.Errorf("the condition is %+v", got)
		}
		if f.object(heir).Status.WebhookID != was.ID || meta.IsStatusConditionTrue(f.object(heir).Status.Conditions, "Stalled") {
			t.Errorf("the status is %+v", f.object(heir).Status)
		}
	}
	f.settle(webhookKey, heir)
	f.settle(heir)
	f.wantHeir(heir, was)
}

// An object that another installation has not let go yet is still there for those that wait for its URL.
func TestHeirWaitsForOtherInstallations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(f.atSharedURL, func(o *v1alpha1.MandrillWebhook) { o.Finalizers = []string{"mandrill-operator.io/webhook-blue"} })
	f.mustReconcile()
	was := f.account.Webhooks()[0]
	heir := f.createHeir("shop")
	f.delete(webhookKey)
	f.settle(webhookKey)
	if _, err := f.reconcileObject(heir); err != nil {
		t.Fatal(err)
	}
	registered := condition(f.object(heir), "Ready")
	if !strings.Contains(registered.Message, "is being deleted: wait until it is gone") {
		t.Errorf("the heir says %+v", registered)
	}
	f.hasIDs(was.ID)
}

// A webhook that the heir writes in another form than the one before is not contested.
func TestRenamesAreNoContest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(f.atSharedURL)
	f.mustReconcile()
	from := webhookKey
	for i, description := range []string{"one", "two", "one", "two", "one"} {
		heir := f.createHeir("shop", func(o *v1alpha1.MandrillWebhook) {
			o.Name, o.UID, o.Spec.Description = "renamed-"+strconv.Itoa(i), types.UID("uid-heir-"+strconv.Itoa(i)), description
		})
		heir.Name = "renamed-" + strconv.Itoa(i)
		f.delete(from)
		f.settle(from, heir)
		f.settle(heir)
		if ready := condition(f.object(heir), "Ready"); ready.Status != metav1.ConditionTrue {
			t.Fatalf("rename %d: %+v", i, ready)
		}
		from = heir
	}
	if got := f.account.Webhooks(); len(got) != 1 || got[0].Description != "one" {
		t.Errorf("Mandrill has %+v", got)
	}
}

// A finalizer of somebody else on the deleted object does not hold the heir up.
func TestFinalizersOfOthersDoNotHoldTheHeirUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(f.atSharedURL, func(o *v1alpha1.MandrillWebhook) { o.Finalizers = []string{"example.com/other"} })
	f.mustReconcile()
	was := f.account.Webhooks()[0]
	heir := f.createHeir("shop")
	f.delete(webhookKey)
	f.settle(webhookKey, heir)
	f.settle(heir)
	if object := f.object(heir); f.object(webhookKey) == nil || object.Status.WebhookID != was.ID || !meta.IsStatusConditionTrue(object.Status.Conditions, "Ready") {
		t.Errorf("the heir is %+v", object.Status)
	}
	f.hasIDs(was.ID)
}

// A heir that changes while the webhook is handed over is looked at again at once, and one that is deleted by then gets nothing.
func TestHandoverMeetsChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(f.atSharedURL)
	f.mustReconcile()
	was := f.account.Webhooks()[0]
	heir := f.createHeir("shop")
	f.delete(webhookKey)
	f.failOnce("patch status", apierrors.NewConflict(schema.GroupResource{}, "", nil))
	result, err := f.reconcileObject(webhookKey)
	if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > time.Second {
		t.Fatalf("after a conflict: %v, %v; want another try at once", result, err)
	}
	f.hasIDs(was.ID)
	f.delete(heir)
	f.settle(webhookKey, heir)
	f.hasIDs()
}

// Without an heir the webhook goes once the time for a rename is over, and at once if there is nothing to wait for.
func TestDeletionWaitsForARenameOnlyWhereItMayHelp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		object func(*v1alpha1.MandrillWebhook)
		away   time.Duration // of the operator, after the deletion
		waits  bool
	}{
		"spec.url":          {waits: true},
		"default URL":       {object: func(o *v1alpha1.MandrillWebhook) { o.Spec.URL = "" }},
		"retained":          {object: func(o *v1alpha1.MandrillWebhook) { o.Spec.DeletionPolicy = v1alpha1.DeletionRetain }},
		"operator was away": {away: time.Minute},
	} {
		f := newFixture(t, func(o *mandrillwebhook.Options) { o.RenameWindow = 5 * time.Second })
		f.apply(f.atSharedURL, func(o *v1alpha1.MandrillWebhook) {
			if test.object != nil {
				test.object(o)
			}
		})
		f.mustReconcile()
		f.mu.Lock()
		f.now = time.Now().Add(test.away)
		f.mu.Unlock()
		f.delete(webhookKey)
		for f.object(webhookKey) != nil && test.waits {
			result, err := f.reconcileObject(webhookKey)
			if err != nil || result.RequeueAfter > 5*time.Second {
				t.Fatalf("%s: %v, %v", name, result, err)
			}
			if result.RequeueAfter > 0 {
				f.hasIDs(101)
			}
			f.advance(max(result.RequeueAfter, time.Second))
		}
		if _, err := f.reconcileObject(webhookKey); err != nil || f.object(webhookKey) != nil {
			t.Errorf("%s: the object is still there, or error %v", name, err)
		}
		if name != "retained" {
			f.hasIDs()
		}
	}
}

// With Refuse a webhook that somebody else made is neither changed nor deleted, and the object is stalled until it is gone or may
// be taken over.
func TestAdoptionCanBeRefused(t *testing.T) {
	t.Parallel()
	refuse := func(o *v1alpha1.MandrillWebhook) { o.Spec.AdoptionPolicy = v1alpha1.AdoptionRefuse }
	for name, remedy := range map[string]func(*fixture, mandrill.Webhook){
		"deleted at Mandrill": func(f *fixture, theirs mandrill.Webhook) { callWithID(f.t, f, "webhooks/delete", theirs.ID) },
		"adopted": func(f *fixture, _ mandrill.Webhook) {
			f.edit(func(o *v1alpha1.MandrillWebhook) { o.Spec.AdoptionPolicy = v1alpha1.AdoptionAdopt })
		},
	} {
		f := newFixture(t)
		theirs := f.addByHand(f.receiver.URL + "/mandrill/shop/transactional")
		f.apply(refuse)
		for range 3 {
			result, err := f.reconcile()
			if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > 5*time.Minute {
				t.Errorf("%s: got %v, %v; want another look within the resync interval", name, result, err)
			}
			f.assert("Registered", "False", "AdoptionRefused", "the account has webhook 101 at this URL, which no object here made, and spec.adoptionPolicy is Refuse: delete it in Mandrill, or write Adopt")
			f.assert("Stalled", "True", "AdoptionRefused", "")
			f.advance(result.RequeueAfter)
		}
		if got := f.account.Webhooks(); len(got) != 1 || !slices.Equal(got[0].Events, theirs.Events) || got[0].Description != theirs.Description {
			t.Errorf("%s: Mandrill has %+v", name, got)
		}
		remedy(f, theirs)
		f.advance(10 * time.Minute)
		f.mustReconcile()
		if n := len(f.account.Webhooks()); n != 1 {
			t.Errorf("%s: Mandrill has %d webhooks", name, n)
		}
	}
	f := newFixture(t)
	theirs := f.addByHand(f.receiver.URL + "/mandrill/shop/transactional")
	f.apply(refuse)
	_, _ = f.reconcile()
	f.deleteObject(true)
	f.hasIDs(theirs.ID)
}

// With Refuse an object goes on with a webhook that is provably its own.
func TestRefusedAdoptionIsNotForOwnWebhooks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.Spec.AdoptionPolicy = v1alpha1.AdoptionRefuse })
	f.emulator.Fail("webhooks/add", mandrilltest.Fault{Status: 502, After: true}) // made, and nobody gets the answer
	_, _ = f.reconcile()
	f.restart()
	f.mustReconcile()
	f.restore(func(o *v1alpha1.MandrillWebhook) { o.Spec.AdoptionPolicy = v1alpha1.AdoptionRefuse })
	f.mustReconcile()
	f.hasIDs(101)
}

// The Event about an adoption says what the webhook was before, because the spec replaces it.
func TestAdoptionSaysWhatWasThere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.withoutProbe(func() {
		f.callAPI("webhooks/add", `"url":"`+f.receiver.URL+`/mandrill/shop/transactional","events":["send","blacklist"],"description":"billing, do not touch"`)
	})
	f.apply()
	f.mustReconcile()
	f.assertEvent(`Normal Adopted Took over webhook 101, which existed at this URL with the events send, denylist and the description "billing, do not touch"; it is deleted with this object, unless deletionPolicy is Retain`)
}
