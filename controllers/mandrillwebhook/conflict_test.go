package mandrillwebhook_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Of two objects with one URL the older keeps it; the younger does not register and, when it is deleted, deletes nothing.
func TestOlderObjectKeepsTheURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(&v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "older", UID: "uid-0", Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: f.receiver.URL + "/mandrill/shop/transactional"},
	})
	f.apply()
	result, err := f.reconcile()
	f.assert("ReceiverReady", "False", "URLConflict", "the MandrillWebhook shop/older has the same URL: change one of them")
	f.assertClass(stalls, "URLConflict", result, err)
	f.withoutProbe(func() { // the older one's webhook
		add := `{"key":"` + apiKey + `","url":"` + f.receiver.URL + `/mandrill/shop/transactional","events":["send"]}`
		request, requestErr := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/api/1.0/webhooks/add", strings.NewReader(add))
		if requestErr != nil {
			t.Fatal(requestErr)
		}
		f.emulator.ServeHTTP(discardResponse{}, request)
	})
	if err := f.client.Delete(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := f.account.Webhooks(); len(got) != 1 {
		t.Errorf("Mandrill has %d webhooks, want the older one's", len(got))
	}
}

type discardResponse struct{}

func (discardResponse) Header() http.Header         { return http.Header{} }
func (discardResponse) Write(p []byte) (int, error) { return len(p), nil }
func (discardResponse) WriteHeader(int)             {}

// Of two objects of the same second the registered one keeps the URL, and only one keeps a webhook that both recorded.
func TestRegisteredObjectKeepsTheURLWithinASecond(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	f.mustReconcile()
	twin := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a-twin", UID: "uid-0", Generation: 1, CreationTimestamp: metav1.NewTime(start)},
		Spec:       v1alpha1.MandrillWebhookSpec{URL: f.get().Status.URL},
	}
	f.create(twin)
	f.mustReconcile()
	twin.Status.WebhookID, twin.Status.URL = f.get().Status.WebhookID, f.get().Status.URL
	if err := f.client.Status().Update(t.Context(), twin); err != nil {
		t.Fatal(err)
	}
	result, err := f.reconcile()
	f.assert("ReceiverReady", "False", "URLConflict", "shop/a-twin")
	if f.get().Status.WebhookID != 0 {
		t.Error("the webhook is still claimed by both")
	}
	f.assert("Stalled", "True", "URLConflict", "")
	if err == nil || result.RequeueAfter != 0 {
		t.Errorf("got %v, %v", result, err)
	}
	if err := f.client.Delete(t.Context(), f.get()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := f.account.Webhooks(); len(got) != 1 {
		t.Errorf("Mandrill has %d webhooks, want the twin's", len(got))
	}
}
