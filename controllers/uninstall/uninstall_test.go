package uninstall_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/uninstall"
)

const finalizer = "mandrill-operator.io/webhook"

// run is a run against a fake cluster, in which a function of the test plays the operator once a second.
type run struct {
	options uninstall.Options
	output  strings.Builder
	now     time.Time
}

func newRun(t *testing.T, operator func(client.WithWatch), objects ...*v1alpha1.MandrillWebhook) *run {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, object := range objects {
		builder = builder.WithObjects(object)
	}
	cluster := builder.Build()
	r := &run{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	r.options = uninstall.Options{
		Client: cluster, Finalizer: finalizer, Output: &r.output, Timeout: time.Minute,
		Now: func() time.Time { return r.now },
		After: func(d time.Duration) <-chan time.Time {
			r.now = r.now.Add(d)
			if operator != nil {
				operator(cluster)
			}
			c := make(chan time.Time, 1)
			c <- r.now
			return c
		},
	}
	return r
}

func object(namespace, name string, change ...func(*v1alpha1.MandrillWebhook)) *v1alpha1.MandrillWebhook {
	webhook := &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: "uid-" + "1", Finalizers: []string{finalizer},
	}}
	webhook.Status.WebhookID, webhook.Status.URL = 101, "https://hooks.example.com/"+name
	for _, c := range change {
		c(webhook)
	}
	return webhook
}

func deleting(message string) func(*v1alpha1.MandrillWebhook) {
	return func(o *v1alpha1.MandrillWebhook) {
		for _, name := range []string{"Ready", "Reconciling"} {
			meta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{Type: name, Status: "True", Reason: v1alpha1.ReasonDeleting, Message: message})
		}
	}
}

func left(t *testing.T, r *run) (list v1alpha1.MandrillWebhookList) {
	t.Helper()
	if err := r.options.Client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// finalizeOne is an operator that finalizes one object a second.
func finalizeOne(t *testing.T) func(client.WithWatch) {
	t.Helper()
	return func(cluster client.WithWatch) {
		var list v1alpha1.MandrillWebhookList
		if err := cluster.List(context.Background(), &list); err != nil {
			t.Error(err)
		}
		for _, webhook := range list.Items {
			if !webhook.DeletionTimestamp.IsZero() {
				webhook.Finalizers = nil
				if err := cluster.Update(context.Background(), &webhook); err != nil {
					t.Error(err)
				}
				return
			}
		}
	}
}

func TestAllObjectsAreDeletedAndWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRun(t, finalizeOne(t), object("a", "x"), object("a", "y"), object("b", "z"))
	if err := uninstall.Run(t.Context(), r.options); err != nil {
		t.Fatal(err)
	}
	if n := len(left(t, r).Items); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	const want = `3 of 3 MandrillWebhooks are left, after 0s of 1m0s
2 of 3 MandrillWebhooks are left, after 1s of 1m0s
1 of 3 MandrillWebhooks are left, after 2s of 1m0s
All MandrillWebhooks are gone
`
	if got := r.output.String(); got != want {
		t.Errorf("the output is\n%s\nwant\n%s", got, want)
	}
}

func TestOnlyTheNamespacesNamedAreTouched(t *testing.T) {
	t.Parallel()
	r := newRun(t, finalizeOne(t), object("a", "x"), object("b", "z"))
	r.options.Namespaces = []string{"a"}
	if err := uninstall.Run(t.Context(), r.options); err != nil {
		t.Fatal(err)
	}
	if list := left(t, r).Items; len(list) != 1 || list[0].Namespace != "b" || !list[0].DeletionTimestamp.IsZero() {
		t.Errorf("left are %+v", list)
	}
}

// The objects are told to leave their webhooks at Mandrill before they are deleted.
func TestWebhooksCanBeKept(t *testing.T) {
	t.Parallel()
	var policies []v1alpha1.DeletionPolicy
	r := newRun(t, nil, object("a", "x"), object("a", "y"))
	r.options.KeepWebhooks, r.options.Timeout = true, 0
	r.options.Client = interceptor.NewClient(r.options.Client.(client.WithWatch), interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			var now v1alpha1.MandrillWebhook
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), &now); err != nil {
				return err
			}
			policies = append(policies, now.Spec.DeletionPolicy)
			return c.Delete(ctx, o, options...)
		},
	})
	if err := uninstall.Run(t.Context(), r.options); err == nil {
		t.Fatal("nobody has finalized them")
	}
	if fmt.Sprint(policies) != "[Retain Retain]" {
		t.Errorf("policies are %v", policies)
	}
}

// After the time-out the error says of each object what holds it, and what to do.
func TestTimeoutSaysWhatHangs(t *testing.T) {
	t.Parallel()
	r := newRun(t, nil,
		object("a", "busy", deleting("deleting the webhook at Mandrill, which is tried for 10 minutes: no answer in time")),
		object("a", "other", func(o *v1alpha1.MandrillWebhook) { o.Finalizers = []string{"example.com/x"} }),
		object("b", "silent"))
	err := uninstall.Run(t.Context(), r.options)
	const want = `3 MandrillWebhooks are still there after 1m0s:
  a/busy: deleting the webhook at Mandrill, which is tried for 10 minutes: no answer in time
  a/other: it waits for the finalizers example.com/x, which are not the operator's
  b/silent: the operator has not deleted its webhook, and does not say why: look whether it runs, and at its log
Mend what these lines name, or start the operator, and run this again. To give up the webhooks at Mandrill, run it with --abandon`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// Without a sign of an operator, the progress asks for it.
func TestMissingOperatorIsNoticed(t *testing.T) {
	t.Parallel()
	for text, change := range map[string]func(*v1alpha1.MandrillWebhook){
		"":                             deleting("busy"),
		"Nothing has happened for 30s": func(*v1alpha1.MandrillWebhook) {},
	} {
		r := newRun(t, nil, object("a", "x", change))
		if err := uninstall.Run(t.Context(), r.options); err == nil {
			t.Error("it did not time out")
		}
		if n := strings.Count(r.output.String(), "Nothing has happened"); n != min(1, len(text)) {
			t.Errorf("said %d times:\n%s", n, r.output.String())
		}
		if n := strings.Count(r.output.String(), "1 of 1"); n != 6 {
			t.Errorf("the progress was printed %d times, want every 10 s:\n%s", n, r.output.String())
		}
	}
}

// Abandoned objects go, and what they leave at Mandrill is printed.
func TestAbandonedWebhooksAreListed(t *testing.T) {
	t.Parallel()
	r := newRun(t, nil, object("a", "x"), object("b", "new", func(o *v1alpha1.MandrillWebhook) { o.Status.WebhookID = 0 }),
		object("b", "lost", func(o *v1alpha1.MandrillWebhook) {
			o.Status.WebhookID, o.Status.PendingRegistrations = 0, []v1alpha1.PendingRegistration{{URL: "https://hooks.example.com/lost"}}
		}))
	r.options.Abandon = true
	if err := uninstall.Run(t.Context(), r.options); err != nil {
		t.Fatal(err)
	}
	if n := len(left(t, r).Items); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	for _, want := range []string{
		"Delete these webhooks, and inbound routes to their URLs, in Mandrill:",
		"  a/x: webhook 101 at https://hooks.example.com/x\n", "  b/new: none was registered\n", "  b/lost: perhaps a webhook at https://hooks.example.com/lost\n",
	} {
		if !strings.Contains(r.output.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, r.output.String())
		}
	}
}

// Without the CRD there is nothing to do. Any other error ends the run.
func TestClusterWithoutTheKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   error
		fails bool
	}{
		{&meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "MandrillWebhook"}}, false},
		{errors.New("forbidden"), true},
	} {
		r := newRun(t, nil)
		r.options.Client = interceptor.NewClient(r.options.Client.(client.WithWatch), interceptor.Funcs{
			List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
				return test.err
			},
		})
		if err := uninstall.Run(t.Context(), r.options); (err != nil) != test.fails {
			t.Errorf("%v: got %v", test.err, err)
		}
	}
}
