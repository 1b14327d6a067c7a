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

// otherKey is of another account, which a Mandrill of its own has.
const otherKey = "md-other"

func twoAccounts(t *testing.T) (*world, *mandrilltest.Server) {
	t.Helper()
	other := mandrilltest.New(mandrilltest.Options{APIKeys: []string{otherKey}, BatchInterval: time.Hour})
	t.Cleanup(other.Close)
	api := httptest.NewServer(other)
	t.Cleanup(api.Close)
	return newWorld(t, func(o *mandrillwebhook.Options) {
		first := o.NewAPI
		o.NewAPI = func(key string) (account.API, error) {
			if key == otherKey {
				return mandrill.NewClient(mandrill.ClientOptions{Key: key, BaseURL: api.URL + "/api/1.0"})
			}
			return first(key)
		}
	}), other
}

func (w *world) useKey(key string) {
	w.t.Helper()
	secret := w.secret(types.NamespacedName{Namespace: "shop", Name: "mandrill"})
	secret.Data["api-key"] = []byte(key)
	if err := w.client.Update(w.t.Context(), secret); err != nil {
		w.t.Fatal(err)
	}
}

// give lets an account have a webhook already, so that the numbers of the two differ.
func give(t *testing.T, server *mandrilltest.Server, key, url string) {
	t.Helper()
	response := httptest.NewRecorder()
	body := strings.NewReader(fmt.Sprintf(`{"key":%q,"url":%q,"events":["send"]}`, key, url))
	server.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/1.0/webhooks/add", body))
	if response.Code != http.StatusOK {
		t.Fatal(response.Body)
	}
}

// An account that is left keeps nothing, whatever the new one has.
func TestLeavingAnAccountThatIsAdoptedElsewhere(t *testing.T) {
	t.Parallel()
	w, other := twoAccounts(t)
	w.apply()
	url := w.mustReconcile().Status.URL
	give(t, other, otherKey, url)
	w.useKey(otherKey)
	w.mustReconcile()
	if before, after := len(w.account.Webhooks()), len(other.Account(otherKey).Webhooks()); before != 0 || after != 1 {
		t.Errorf("the account before has %d webhooks, the new one %d; want 0 and 1", before, after)
	}
}

// An object that is deleted before it could move leaves nothing in either account, nor does one whose key is no key.
func TestDeletionAfterTheKeyChanged(t *testing.T) {
	t.Parallel()
	for _, key := range []string{otherKey, "a typo"} {
		w, other := twoAccounts(t)
		w.apply(inbound("help@a.example"))
		w.settle()
		w.useKey(key)
		w.deleteObject(true)
		if before, after := len(w.account.Webhooks()), len(other.Account(otherKey).Webhooks()); before != 0 || after != 0 {
			t.Errorf("with the key %s the account before has %d webhooks, the new one %d; want none", key, before, after)
		}
		w.wantNoInbound("a.example")
	}
}

func (w *world) wantNoInbound(domain string) {
	w.t.Helper()
	if left := w.account.Routes(domain); len(left) > 0 {
		w.t.Errorf("%s has the routes %+v", domain, left)
	}
}

// What fails while an account is left does not keep the rest.
func TestLeavingAnAccountHalfWay(t *testing.T) {
	t.Parallel()
	w, _ := twoAccounts(t)
	w.apply(inbound("help@a.example"))
	w.settle()
	w.events()
	w.useKey(otherKey)
	w.advance(time.Minute)
	w.emulator.Fail("inbound/domains", mandrilltest.Fault{Status: 502})
	w.settle()
	if n := len(w.account.Webhooks()); n != 0 {
		t.Errorf("the account before has %d webhooks", n)
	}
	w.assertEvent("Warning Orphaned The API key is another account's")
}

// Another key of the same account changes nothing at Mandrill.
func TestAnotherKeyOfTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *mandrillwebhook.Options) {
		first := o.NewAPI
		o.NewAPI = func(string) (account.API, error) { return first(apiKey) }
	})
	w.apply()
	id := w.mustReconcile().Status.WebhookID
	w.useKey("another")
	if w.mustReconcile(); len(w.account.Webhooks()) != 1 || w.account.Webhooks()[0].ID != id {
		t.Errorf("Mandrill has %+v", w.account.Webhooks())
	}
}

// A key that is revoked is noticed by objects that are in order, at the next poll.
func TestRevokedKeyIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply()
	w.mustReconcile()
	w.account.Revoke(true)
	if err := w.reconciler.PollOnce(t.Context(), apiKey); err == nil {
		t.Fatal("the poll found nothing")
	}
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.assert("Stalled", "True", "InvalidAPIKey", "")
}
