package mandrillwebhook_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/metrics"
)

// operator is another operator at the same cluster and the same account.
type operator struct {
	reconciler *mandrillwebhook.Reconciler
	f          *fixture
	api        oddAPI
	writes     int    // of the status
	before     func() // runs before each write of the status, if it is set
}

func (f *fixture) startOperator() *operator {
	o, options := &operator{f: f}, f.options
	options.NewAPI = func(key string) (account.API, error) {
		api, err := f.options.NewAPI(key)
		o.api.API = api
		return &o.api, err
	}
	options.Metrics = metrics.New(prometheus.NewRegistry())
	options.Client = interceptor.NewClient(f.client.(client.WithWatch), interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, object client.Object, p client.Patch, options ...client.SubResourcePatchOption) error {
			if o.writes++; o.before != nil {
				o.before()
			}
			return c.SubResource(sub).Patch(ctx, object, p, options...)
		},
	})
	o.reconciler = mandrillwebhook.New(options)
	return o
}

func (o *operator) reconcile() (ctrl.Result, error) {
	return o.reconciler.Reconcile(o.f.t.Context(), o.f.get())
}

// Two operators that handle the same object and register it at once make two webhooks. One of them stays, and neither operator
// forgets the other's: not when it has stored its key first, and the other has recorded its number.
func TestOperatorsThatRegisterAtOnceEndWithOneWebhook(t *testing.T) {
	t.Parallel()
	for name, storedFirst := range map[string]bool{"the key is stored first": true, "all is written first": false} {
		f := newFixture(t)
		f.apply()
		a, b := f.startOperator(), f.startOperator()
		announced, stored, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		a.api.during = func() { // a has announced its call
			a.api.during = nil
			go func() {
				defer close(done)
				_, _ = b.reconcile()
			}()
			<-announced
			if !storedFirst {
				<-done
			}
		}
		b.api.during = func() {
			b.api.during = nil
			close(announced)
			if storedFirst {
				<-stored
			}
		}
		a.before = func() {
			if a.writes == 2 { // its key is stored
				close(stored)
				<-done
			}
		}
		_, _ = a.reconcile()
		if n := len(f.account.Webhooks()); n != 2 {
			t.Fatalf("%s: %d webhooks were made, want 2", name, n)
		}
		for range 3 {
			for _, o := range []*operator{a, b} {
				if _, err := o.reconcile(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		f.assert("Ready", "True", "Succeeded", "")
		f.assert("URLExclusive", "True", "Succeeded", "")
		webhook, at := f.get(), f.account.Webhooks()
		if len(at) != 1 || at[0].ID != webhook.Status.WebhookID || len(webhook.Status.PendingRegistrations) > 0 {
			t.Errorf("%s: Mandrill has %+v, the status %+v", name, at, webhook.Status)
		}
		if err := f.client.Delete(t.Context(), webhook); err != nil {
			t.Fatal(err)
		}
		for _, o := range []*operator{a, b} {
			if err := f.client.Get(t.Context(), webhookKey, &v1alpha1.MandrillWebhook{}); err == nil {
				_, _ = o.reconcile()
			}
		}
		f.hasIDs()
	}
}

// A change that another operator or a person makes at the same moment is no failure: the step runs again at once.
func TestConflictsAreTriedAgainAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.apply()
	a, b := f.startOperator(), f.startOperator()
	a.api.during = func() {
		a.api.during = nil
		_, _ = b.reconcile()
	}
	result, err := a.reconcile()
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter.Seconds() > 1 {
		t.Errorf("got %v, %v; want another attempt at once", result, err)
	}
	for _, event := range f.events() {
		if event[0] == 'W' {
			t.Errorf("got %q", event)
		}
	}
}
