package mandrillwebhook_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
)

// otherKey is the key of another account, at a second emulated Mandrill.
const otherKey = "md-other"

func twoAccounts(t *testing.T) (*fixture, *mandrilltest.Server) {
	t.Helper()
	other := mandrilltest.New(mandrilltest.Options{APIKeys: []string{otherKey}, BatchInterval: time.Hour})
	t.Cleanup(other.Close)
	api := httptest.NewServer(other)
	t.Cleanup(api.Close)
	return newFixture(t, func(o *mandrillwebhook.Options) {
		first := o.NewAPI
		o.NewAPI = func(key string) (account.API, error) {
			if key == otherKey {
				return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0"})
			}
			return first(key)
		}
	}), other
}

func (f *fixture) useKey(key string) {
	f.t.Helper()
	secret := f.secret(types.NamespacedName{Namespace: "shop", Name: "mandrill"})
	secret.Data["api-key"] = []byte(key)
	if err := f.client.Update(f.t.Context(), secret); err != nil {
		f.t.Fatal(err)
	}
}

// addWebhook adds a webhook to an account, so that the numbers of the two accounts differ.
func addWebhook(t *testing.T, server *mandrilltest.Server, key, url string) {
	t.Helper()
	response := httptest.NewRecorder()
	body := strings.NewReader(fmt.Sprintf(`{"key":%q,"url":%q,"events":["send"]}`, key, url))
	server.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/webhooks/add", body))
	if response.Code != http.StatusOK {
		t.Fatal(response.Body)
	}
}

// An account that an object leaves keeps nothing, whatever the new account has.
func TestLeftAccountKeepsNothing(t *testing.T) {
	t.Parallel()
	f, other := twoAccounts(t)
	f.apply()
	url := f.mustReconcile().Status.URL
	addWebhook(t, other, otherKey, url)
	f.useKey(otherKey)
	f.mustReconcile()
	if before, after := len(f.account.Webhooks()), len(other.Account(otherKey).Webhooks()); before != 0 || after != 1 {
		t.Errorf("the account before has %d webhooks, the new one %d; want 0 and 1", before, after)
	}
}

// A key of another account is named until that account has sent something: the events of the earlier one do not come any more.
func TestKeyOfAnotherAccountIsNamedUntilItSends(t *testing.T) {
	t.Parallel()
	for _, hasWebhook := range []bool{false, true} {
		f, other := twoAccounts(t)
		f.apply()
		url := f.mustReconcile().Status.URL
		if hasWebhook {
			addWebhook(t, other, otherKey, url)
		}
		f.assert("Delivering", "Unknown", "NothingSentYet", "")
		f.useKey(otherKey)
		f.advance(time.Second)
		f.mustReconcile()
		f.assert("Delivering", "Unknown", "AccountChanged", "is that of another Mandrill account than before: webhook ")
		f.mustReconcile()
		f.assert("Delivering", "Unknown", "AccountChanged", "has not sent anything for it yet")
	}
}

// An object that is deleted before it could move leaves nothing in either account, nor does one whose new key is invalid.
func TestDeletionCoversBothAccounts(t *testing.T) {
	t.Parallel()
	for _, key := range []string{otherKey, "a typo"} {
		f, other := twoAccounts(t)
		f.apply(inbound("help@a.example"))
		f.reconcileUntilDone()
		f.useKey(key)
		f.deleteObject(true)
		if before, after := len(f.account.Webhooks()), len(other.Account(otherKey).Webhooks()); before != 0 || after != 0 {
			t.Errorf("with the key %s the account before has %d webhooks, the new one %d; want none", key, before, after)
		}
		f.wantNoInbound("a.example")
	}
}

func (f *fixture) wantNoInbound(domain string) {
	f.t.Helper()
	if left := f.account.Routes(domain); len(left) > 0 {
		f.t.Errorf("%s has the routes %+v", domain, left)
	}
}

// A failure while an object leaves an account does not stop the rest.
func TestFailuresInTheLeftAccountAreReported(t *testing.T) {
	t.Parallel()
	f, _ := twoAccounts(t)
	f.apply(inbound("help@a.example"))
	f.reconcileUntilDone()
	f.events()
	f.useKey(otherKey)
	f.advance(time.Minute)
	f.emulator.Fail("inbound/domains", mandrilltest.Fault{Status: 502})
	f.reconcileUntilDone()
	if n := len(f.account.Webhooks()); n != 0 {
		t.Errorf("the account before has %d webhooks", n)
	}
	f.assertEvent("Warning Orphaned The API key is another account's")
}

// Another key of the same account changes nothing at Mandrill.
func TestAnotherKeyOfTheAccountChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *mandrillwebhook.Options) {
		first := o.NewAPI
		o.NewAPI = func(string) (account.API, error) { return first(apiKey) }
	})
	f.apply()
	id := f.mustReconcile().Status.WebhookID
	f.useKey("another")
	if f.mustReconcile(); len(f.account.Webhooks()) != 1 || f.account.Webhooks()[0].ID != id {
		t.Errorf("Mandrill has %+v", f.account.Webhooks())
	}
}

// After the next poll objects that were in order report a revoked key.
func TestRevokedKeyIsNoticed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	f.account.Revoke(true)
	if err := f.reconciler.PollOnce(t.Context(), apiKey); err == nil {
		t.Fatal("the poll found nothing")
	}
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("Stalled", "True", "InvalidAPIKey", "")
}
