package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/controllers/reports"
)

var (
	start    = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	shopX    = types.NamespacedName{Namespace: "shop", Name: "x"}
	shared   = reports.Reporter{Namespace: "system", ServiceAccount: "mandrill-receiver", Pod: "r-0"}
	shared1  = reports.Reporter{Namespace: "system", ServiceAccount: "mandrill-receiver", Pod: "r-1"}
	stranger = reports.Reporter{Namespace: "crm", ServiceAccount: "default", Pod: "crm-0"}
)

// fixture is a cluster in which only statuses are written, and its operator.
type fixture struct {
	t         *testing.T
	objects   *delivery.Objects
	store     *delivery.Store
	writer    *delivery.Writer
	recorder  *events.FakeRecorder
	registry  *prometheus.Registry
	hints     []string
	alerts    delivery.Alerts
	sequences map[string]uint64
	instances map[string]string

	mu     sync.Mutex
	now    time.Time
	writes int
	fault  error
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, now: start, sequences: map[string]uint64{}, instances: map[string]string{}, recorder: events.NewFakeRecorder(20000)}
	f.objects = &delivery.Objects{}
	f.restart()
	f.add("shop", "x", nil)
	return f
}

// restart starts another operator on the same cluster.
func (f *fixture) restart() {
	f.registry = prometheus.NewRegistry()
	elected := make(chan struct{})
	close(elected)
	d := delivery.New(delivery.Options{
		Client: cluster{f: f}, Recorder: f.recorder, Registerer: f.registry, Elected: elected, Resync: 5 * time.Minute, Alerts: f.alerts,
		Handles:         func(o *v1alpha1.MandrillWebhook) bool { return o.Spec.Installation == "" },
		SharedReceivers: []string{"system/mandrill-receiver"},
		BadSignature:    func(object types.NamespacedName) { f.hints = append(f.hints, object.String()) },
		Now:             func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.now },
	})
	for _, object := range f.objects.All() {
		d.Objects.Set(object)
	}
	f.objects, f.store, f.writer = d.Objects, d.Store, d.Writer
}

func (f *fixture) add(namespace, name string, change func(*v1alpha1.MandrillWebhook)) {
	webhook := &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(namespace + name), Generation: 1, CreationTimestamp: metav1.NewTime(start.Add(-240 * time.Hour)),
	}}
	webhook.Spec.Receiver = v1alpha1.ReceiverShared
	if change != nil {
		change(webhook)
	}
	f.objects.Set(webhook)
}

// edit changes an object in the cluster.
func (f *fixture) edit(change func(*v1alpha1.MandrillWebhook)) {
	webhook := f.get().DeepCopy()
	change(webhook)
	f.objects.Set(webhook)
}

func (f *fixture) get() *v1alpha1.MandrillWebhook { return f.objects.Get(shopX) }

func (f *fixture) delivery() v1alpha1.DeliveryStatus {
	f.t.Helper()
	if f.get().Status.Delivery == nil {
		f.t.Fatal("the object has no status.delivery")
	}
	return *f.get().Status.Delivery
}

// cluster is a client that applies statuses as the API server does: conditions are merged by their type.
type cluster struct {
	client.Client

	f *fixture
}

func (c cluster) Status() client.SubResourceWriter { return statusWriter{f: c.f} }

type statusWriter struct {
	client.SubResourceWriter

	f *fixture
}

func (w statusWriter) Apply(_ context.Context, body runtime.ApplyConfiguration, _ ...client.SubResourceApplyOption) error {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if w.f.writes++; w.f.fault != nil {
		return w.f.fault
	}
	fields := body.(interface{ UnstructuredContent() map[string]any }).UnstructuredContent()
	applied := &v1alpha1.MandrillWebhook{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, applied); err != nil {
		return err
	}
	object := w.f.objects.Get(client.ObjectKeyFromObject(applied)).DeepCopy()
	if object.UID != applied.UID {
		return fmt.Errorf("another UID: %s", applied.UID)
	}
	object.Status.Conditions = slices.DeleteFunc(object.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionDelivered || c.Type == v1alpha1.ConditionReceiving || c.Type == v1alpha1.ConditionAlertSinkReady
	})
	object.Status.Conditions = append(object.Status.Conditions, applied.Status.Conditions...)
	object.Status.Delivery = applied.Status.Delivery
	w.f.objects.Set(object)
	return nil
}

// advance lets time pass. The operator looks at its objects all the while; the receivers do not report.
func (f *fixture) advance(d time.Duration) {
	f.t.Helper()
	f.mu.Lock()
	until := f.now.Add(d)
	f.mu.Unlock()
	for {
		f.mu.Lock()
		f.now = f.now.Add(min(5*time.Second, until.Sub(f.now)))
		done := !f.now.Before(until)
		f.mu.Unlock()
		f.writer.Pass(f.t.Context())
		if done {
			return
		}
	}
}

// send sends a report about webhooks.
func (f *fixture) send(from reports.Reporter, change func(*form.Report), webhooks ...form.Webhook) error {
	f.sequences[from.Pod]++
	instance := f.instances[from.Pod]
	report := &form.Report{Version: 1, Receiver: from.Pod, Instance: from.Pod + "-" + instance, Sequence: f.sequences[from.Pod], Webhooks: webhooks}
	if change != nil {
		change(report)
	}
	return f.store.Take(from, report)
}

// keepReporting lets time pass while a receiver reports every interval, with ages that grow.
func (f *fixture) keepReporting(d time.Duration, from reports.Reporter, change func(*form.Report), webhook form.Webhook) {
	f.t.Helper()
	begun := f.now
	for f.now.Before(begun.Add(d)) {
		if err := f.send(from, change, older(webhook, f.now.Sub(begun))); err != nil {
			f.t.Fatal(err)
		}
		f.advance(min(30*time.Second, begun.Add(d).Sub(f.now)))
	}
	if err := f.send(from, change, older(webhook, f.now.Sub(begun))); err != nil {
		f.t.Fatal(err)
	}
	f.writer.Pass(f.t.Context())
}

// older is a webhook some time later, if nothing happens to it.
func older(webhook form.Webhook, by time.Duration) form.Webhook {
	for _, age := range []**float64{
		&webhook.OldestWaitingAge, &webhook.LastReceivedAge, &webhook.LastDeliveredAge, &webhook.FailingFor, &webhook.LastBadSignatureAge,
	} {
		if *age != nil {
			*age = seconds(**age + by.Seconds())
		}
	}
	if webhook.Failure != nil {
		failure := *webhook.Failure
		failure.Age += by.Seconds()
		webhook.Failure = &failure
	}
	return webhook
}

func seconds(value float64) *float64 { return &value }

func working() form.Webhook {
	return form.Webhook{Name: "shop/x", LastReceivedAge: seconds(3), LastDeliveredAge: seconds(2)}
}

// failing is a webhook whose sink has failed for so long.
func failing(since float64) form.Webhook {
	return form.Webhook{
		Name: "shop/x", LastReceivedAge: seconds(since), LastDeliveredAge: seconds(since + 60), WaitingEvents: 7, OldestWaitingAge: seconds(since),
		Failure: &form.Failure{Reason: form.ReasonStatus, Status: 500, Age: 1}, FailingFor: seconds(since),
	}
}

func (f *fixture) assert(condition, status, reason, inMessage string) {
	f.t.Helper()
	got := meta.FindStatusCondition(f.get().Status.Conditions, condition)
	if got == nil {
		if status != "" {
			f.t.Fatalf("there is no condition %s, want %s %s", condition, status, reason)
		}
		return
	}
	if string(got.Status) != status || got.Reason != reason || !strings.Contains(got.Message, inMessage) || got.Message == "" {
		f.t.Fatalf("at %s: %s is %s %s %q, want %s %s with %q", f.now.Sub(start), condition, got.Status, got.Reason, got.Message, status, reason, inMessage)
	}
}

// events returns the Events since the last call.
func (f *fixture) events() []string {
	var list []string
	for {
		select {
		case event := <-f.recorder.Events:
			list = append(list, event)
		default:
			return list
		}
	}
}

func (f *fixture) wantEvents(want ...string) {
	f.t.Helper()
	got := f.events()
	if len(got) != len(want) {
		f.t.Fatalf("got the Events %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			f.t.Errorf("got the Event %q, want %q", got[i], want[i])
		}
	}
}
