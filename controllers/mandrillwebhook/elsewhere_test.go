package mandrillwebhook_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
)

// anotherCluster has an object of the same name and URL, and its receiver.
func (f *fixture) anotherCluster(change ...func(*v1alpha1.MandrillWebhook)) *fixture {
	f.t.Helper()
	other := newFixture(f.t)
	other.emulator, other.account = f.emulator, f.account
	api := f.options.NewAPI
	other.configure(func(o *mandrillwebhook.Options) {
		o.NewAPI, o.PublicURL, o.ReceiverURL = api, f.options.PublicURL, other.receiver.URL
	})
	other.apply(append(change, func(o *v1alpha1.MandrillWebhook) { o.UID = "of-the-other-cluster" })...)
	return other
}

// hang does not answer.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // or it is not seen that the client has gone
	<-r.Context().Done()
}

// A webhook on which another cluster relies stays when an object is deleted: the receiver of that cluster answers at the URL, and
// accepts the webhook's batches. This cluster's own receiver, one that cannot be reached, and servers that accept or refuse
// everything are no such receiver.
func TestWebhookThatAnotherClusterServesIsNotDeleted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		at   func(f, other *fixture) http.HandlerFunc
		left bool
	}{
		"the other receiver":      {func(_, other *fixture) http.HandlerFunc { return other.serveReceiver }, true},
		"this receiver":           {func(f, _ *fixture) http.HandlerFunc { return f.serveReceiver }, false},
		"a page":                  {func(*fixture, *fixture) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) {} }, false},
		"nothing":                 {func(*fixture, *fixture) http.HandlerFunc { return http.NotFound }, false},
		"a connection that hangs": {func(*fixture, *fixture) http.HandlerFunc { return hang }, false},
	} {
		f := newFixture(t)
		f.apply(func(o *v1alpha1.MandrillWebhook) { o.UID = "of-this-cluster" })
		f.mustReconcile()
		other := f.anotherCluster()
		other.mustReconcile()
		f.receiver.Config.Handler = test.at(f, other)
		f.deleteObject(true)
		if left := len(f.account.Webhooks()) == 1; left != test.left {
			t.Errorf("%s: the webhook is left: %t, want %t", name, left, test.left)
		}
		if test.left {
			if events := strings.Join(f.recorded(), "\n"); !strings.Contains(events, "Warning Retained Left webhook 101 and its inbound routes at Mandrill, because its URL leads to the receiver of another installation or cluster") {
				t.Errorf("Events are %s", events)
			}
			other.hourLater().mustReconcile()
			other.assert("URLExclusive", "True", "Succeeded", "")
		}
	}
}

// An object that takes over a webhook says that the URL leads to another cluster's receiver, which has the webhook too, once that has
// lasted, and until it is over.
func TestSharedWebhookIsReported(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.UID = "of-this-cluster" })
	f.mustReconcile()
	other := f.anotherCluster()
	other.mustReconcileWithin(time.Minute)
	other.assert("Ready", "True", "Succeeded", "")
	other.assert("URLExclusive", "True", "Succeeded", "")
	other.advance(time.Minute)
	other.mustReconcileWithin(5 * time.Minute)
	other.assert("URLExclusive", "False", "OtherReceiver", "The URL leads to the receiver of another installation or cluster, which has webhook 101 too")
	other.assertEvent("Warning OtherReceiver")
	other.advance(5 * time.Minute)
	_, _ = other.reconcile()
	if events := strings.Join(other.events(), "\n"); strings.Contains(events, "OtherReceiver") {
		t.Errorf("it is said twice: %s", events)
	}
	f.receiver.Config.Handler = http.HandlerFunc(other.serveReceiver) // the URL leads here now
	other.advance(5 * time.Minute)
	other.mustReconcile()
	other.assert("URLExclusive", "True", "Succeeded", "")
}

// mustReconcileWithin expects another look within a time.
func (f *fixture) mustReconcileWithin(pause time.Duration) {
	f.t.Helper()
	if result, err := f.reconcile(); err != nil || result.RequeueAfter == 0 || result.RequeueAfter > pause {
		f.t.Errorf("got %v, %v; want another look within %v", result, err, pause)
	}
}

// Receivers read a Secret some seconds after it was written: until then they answer for an earlier object with the same name.
func TestReceiverOfAnEarlierObjectIsNotReported(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply(func(o *v1alpha1.MandrillWebhook) { o.UID = "of-the-earlier-object" })
	f.mustReconcile()
	again := f.anotherCluster()
	again.mustReconcileWithin(time.Minute)
	f.receiver.Config.Handler = http.HandlerFunc(again.serveReceiver) // it has read the Secret
	again.advance(time.Minute)
	again.mustReconcile()
	again.assert("URLExclusive", "True", "Succeeded", "")
	if events := strings.Join(again.recorded(), "\n"); strings.Contains(events, "OtherReceiver") {
		t.Errorf("Events are %s", events)
	}
}
