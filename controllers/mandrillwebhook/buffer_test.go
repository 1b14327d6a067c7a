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

// overrideAnswer puts a proxy in front of the receiver that answers everything with the status, unless that is 0.
func (f *fixture) overrideAnswer(status int32) *atomic.Int32 {
	var answer atomic.Int32
	answer.Store(status)
	served := f.receiver.Config.Handler
	f.receiver.Config.Handler = http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if status := answer.Load(); status != 0 {
			response.WriteHeader(int(status))
			return
		}
		served.ServeHTTP(response, request)
	})
	return &answer
}

// Nothing is registered while a Buffered object's receiver has no buffer, and the message says what to do.
func TestBufferedWithoutABufferIsNotRegistered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answer := f.overrideAnswer(http.StatusServiceUnavailable)
	f.apply(withMode(v1alpha1.ModeBuffered), func(o *v1alpha1.MandrillWebhook) { o.Spec.Delivery.BackoffDelay = "PT10M" })
	result, err := f.reconcile()
	f.assert("ReceiverReady", "False", "RouteNotServed", bufferMissing+"it runs, that it reads the Secret system/routes")
	f.assert("Ready", "False", "RouteNotServed", bufferMissing)
	f.assertClass(waits, "RouteNotServed", result, err)
	if calls := f.emulator.Calls(); len(calls) > 0 {
		t.Errorf("calls to Mandrill: %v", calls)
	}
	if diff := cmp.Diff(routes.Delivery{Mode: routes.ModeBuffered, BackoffDelay: "PT10M"}, f.routes()[0].Delivery); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}

	answer.Store(http.StatusOK) // it has been given a buffer, and the object is as it was
	f.mustReconcile()
}

// The mode can be changed back and forth, and the registration stays as it is.
func TestModeCanBeChanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answer := f.overrideAnswer(0)
	f.apply()
	f.mustReconcile()
	if got := f.routes()[0].Delivery.Mode; got != "" {
		t.Errorf("the mode is %q: the receiver is to decide", got)
	}
	registered := f.account.Webhooks()

	f.edit(withMode(v1alpha1.ModeBuffered))
	answer.Store(http.StatusServiceUnavailable)
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("ReceiverReady", "False", "RouteNotServed", bufferMissing)
	if diff := cmp.Diff(registered, f.account.Webhooks()); diff != "" {
		t.Errorf("webhooks at Mandrill (-before +after):\n%s", diff)
	}

	f.edit(withMode(v1alpha1.ModeDirect))
	answer.Store(0)
	f.mustReconcile()
	if got := f.routes()[0].Delivery.Mode; got != routes.ModeDirect {
		t.Errorf("the mode is %q, want Direct", got)
	}
}

func TestSidecarWithoutABufferIsReported(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
		response.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	f := newFixture(t, func(o *mandrillwebhook.Options) { o.AllowSinkHosts = []string{"127.0.0.1"} })
	f.apply(asSidecar(server.URL+"/hook"), withMode(v1alpha1.ModeBuffered))
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("ReceiverReady", "False", "RouteNotServed", bufferMissing+"its pod mounts the Secret transactional-receiver")
}

// The message does not mention a buffer in Direct mode, or if a proxy answered.
func TestOtherAnswersDoNotMentionABuffer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int32
		change func(*v1alpha1.MandrillWebhook)
		first  string
	}{
		"no delivery":      {http.StatusServiceUnavailable, unchanged, ""},
		"no mode":          {http.StatusServiceUnavailable, withMode(""), ""},
		"direct":           {http.StatusServiceUnavailable, withMode(v1alpha1.ModeDirect), ""},
		"buffered and 404": {http.StatusNotFound, withMode(v1alpha1.ModeBuffered), "look whether the ingress strips or rewrites the path; otherwise "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.overrideAnswer(test.status)
			f.apply(test.change)
			if _, err := f.reconcile(); err != nil {
				t.Fatal(err)
			}
			f.assert("ReceiverReady", "False", "RouteNotServed", fmt.Sprintf("(it answered HEAD with status %d): %scheck that it runs", test.status, test.first))
		})
	}
}

// A batch gets 503 too while the receiver does not have its key yet.
func TestMissingKeyDoesNotMentionABuffer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.receiver.Config.Handler = http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPost {
			response.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	f.apply(withMode(v1alpha1.ModeBuffered))
	if _, err := f.reconcile(); err != nil {
		t.Fatal(err)
	}
	f.assert("SigningKeyStored", "False", "RouteNotServed", "(it answered POST with status 503): check that it runs")
}
