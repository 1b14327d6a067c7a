package mandrillwebhook_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
)

const bufferMissing = "(it answered HEAD with status 503): delivery.mode Buffered needs a receiver with a buffer: run it with --buffer, or leave delivery.mode out or write Direct; if it has one, check that "

func withMode(mode v1alpha1.DeliveryMode) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) { o.Spec.Delivery = &v1alpha1.Delivery{Mode: mode} }
}

// answering puts something in front of the receiver that answers everything with the status, if there is one.
func (w *world) answering(status int32) *atomic.Int32 {
	var answer atomic.Int32
	answer.Store(status)
	served := w.receiver.Config.Handler
	w.receiver.Config.Handler = http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if status := answer.Load(); status != 0 {
			response.WriteHeader(int(status))
			return
		}
		served.ServeHTTP(response, request)
	})
	return &answer
}

// Nothing is registered while the receiver has no buffer for what is to be buffered, and the user is told what to do.
func TestNoBuffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := w.answering(http.StatusServiceUnavailable)
	w.apply(withMode(v1alpha1.ModeBuffered), func(o *v1alpha1.MandrillWebhook) { o.Spec.Delivery.BackoffDelay = "PT10M" })
	result, err := w.reconcile()
	w.assert("ReceiverReady", "False", "RouteNotServed", bufferMissing+"it runs, that it reads the Secret system/routes")
	w.assert("Ready", "False", "RouteNotServed", bufferMissing)
	w.assertClass(waits, "RouteNotServed", result, err)
	if calls := w.emulator.Calls(); len(calls) > 0 {
		t.Errorf("calls to Mandrill: %v", calls)
	}
	if diff := cmp.Diff(routes.Delivery{Mode: routes.ModeBuffered, BackoffDelay: "PT10M"}, w.routes()[0].Delivery); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}

	answer.Store(http.StatusOK) // it has been given a buffer, and the object is as it was
	w.mustReconcile()
}

// The mode can be changed back and forth; what is registered stays as it is meanwhile.
func TestChangeOfMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := w.answering(0)
	w.apply()
	w.mustReconcile()
	if got := w.routes()[0].Delivery.Mode; got != "" {
		t.Errorf("the mode is %q: the receiver is to decide", got)
	}
	registered := w.account.Webhooks()

	w.edit(withMode(v1alpha1.ModeBuffered))
	answer.Store(http.StatusServiceUnavailable)
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.assert("ReceiverReady", "False", "RouteNotServed", bufferMissing)
	if diff := cmp.Diff(registered, w.account.Webhooks()); diff != "" {
		t.Errorf("webhooks at Mandrill (-before +after):\n%s", diff)
	}

	w.edit(withMode(v1alpha1.ModeDirect))
	answer.Store(0)
	w.mustReconcile()
	if got := w.routes()[0].Delivery.Mode; got != routes.ModeDirect {
		t.Errorf("the mode is %q, want Direct", got)
	}
}

func TestNoBufferInSidecar(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
		response.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	w := newWorld(t, func(o *mandrillwebhook.Options) { o.AllowSinkHosts = []string{"127.0.0.1"} })
	w.apply(asSidecar(server.URL+"/hook"), withMode(v1alpha1.ModeBuffered))
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.assert("ReceiverReady", "False", "RouteNotServed", bufferMissing+"its pod mounts the Secret transactional-receiver")
}

// Where nothing is to be buffered, or somebody else answers, a buffer is no remedy.
func TestOtherAnswersAreNotForWantOfABuffer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int32
		change func(*v1alpha1.MandrillWebhook)
	}{
		"no delivery":      {http.StatusServiceUnavailable, unchanged},
		"no mode":          {http.StatusServiceUnavailable, withMode("")},
		"direct":           {http.StatusServiceUnavailable, withMode(v1alpha1.ModeDirect)},
		"buffered and 404": {http.StatusNotFound, withMode(v1alpha1.ModeBuffered)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.answering(test.status)
			w.apply(test.change)
			if _, err := w.reconcile(); err != nil {
				t.Fatal(err)
			}
			w.assert("ReceiverReady", "False", "RouteNotServed", fmt.Sprintf("(it answered HEAD with status %d): check that it runs", test.status))
		})
	}
}

// A batch gets 503 also while its key is on the way.
func TestBufferWithoutKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.receiver.Config.Handler = http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost {
			response.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	w.apply(withMode(v1alpha1.ModeBuffered))
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.assert("SigningKeyStored", "False", "RouteNotServed", "(it answered POST with status 503): check that it runs")
}
