package alerts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubeevents "k8s.io/client-go/tools/events"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/alerts"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/events"
	"github.com/mandrill-operator/mandrill-operator/schemas"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

const patience = time.Minute

// consumer is an HTTP endpoint for alerts.
type consumer struct {
	*httptest.Server

	mu     sync.Mutex
	status int // of its answers; 0: 202
	got    []cloudevents.Event
	asked  int
}

func newConsumer(t *testing.T) *consumer {
	t.Helper()
	c := &consumer{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *consumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cehttp.NewEventFromHTTPRequest(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if err != nil || event.Validate() != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	c.got = append(c.got, *event)
	w.WriteHeader(http.StatusAccepted)
}

func (c *consumer) answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

// names returns the last parts of the types of the alerts that were accepted.
func (c *consumer) names() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, event := range c.got {
		names = append(names, event.Subject()+" "+strings.TrimPrefix(event.Type(), events.PrefixAlert))
	}
	return names
}

func (c *consumer) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// fixture is an alerter that runs, and its objects.
type fixture struct {
	t        *testing.T
	objects  delivery.Objects
	alerter  *alerts.Alerter
	recorder kubeevents.EventRecorder
	registry *prometheus.Registry
	events   *kubeevents.FakeRecorder
	stop     func()

	mu      sync.Mutex
	offset  time.Duration // of the clock
	resolve func(*v1alpha1.MandrillWebhook) (*sinks.Sink, error)
}

// start runs an alerter. Unless change says otherwise, it may connect to this machine.
func start(t *testing.T, change func(*alerts.Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, registry: prometheus.NewRegistry(), events: kubeevents.NewFakeRecorder(1000)}
	options := alerts.Options{
		Get: f.objects.Get, Registerer: f.registry, Refuse: func(netip.Addr) bool { return false },
		Now: func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return time.Now().Add(f.offset) },
		Resolve: func(_ context.Context, object *v1alpha1.MandrillWebhook) (*sinks.Sink, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.resolve != nil {
				return f.resolve(object)
			}
			return &sinks.Sink{URI: object.Spec.AlertSink.URI, CACerts: object.Spec.AlertSink.CACerts}, nil
		},
	}
	if change != nil {
		change(&options)
	}
	f.alerter = alerts.New(options)
	f.recorder = f.alerter.Recorder(f.events)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.alerter.Start(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) advance(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset += by
}

func (f *fixture) object(namespace, name, uri string) *v1alpha1.MandrillWebhook {
	object := &v1alpha1.MandrillWebhook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name)}}
	if uri != "" {
		object.Spec.AlertSink = &v1alpha1.Destination{URI: uri}
	}
	f.objects.Set(object)
	return object
}

// record records an Event, as the writer and the reconciler do.
func (f *fixture) record(object *v1alpha1.MandrillWebhook, reason string) {
	f.recorder.Eventf(object, nil, corev1.EventTypeWarning, reason, "Deliver", "%s", "It is "+reason)
}

// counted waits until so many alerts have an outcome.
func (f *fixture) counted(outcome string, want float64) {
	f.t.Helper()
	poll.NoError(f.t, patience, outcome, func() error {
		families, err := f.registry.Gather()
		if err != nil {
			return err
		}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if len(metric.GetLabel()) == 1 && metric.GetLabel()[0].GetValue() == outcome && metric.GetCounter().GetValue() != want {
					return fmt.Errorf("%v, want %v", metric.GetCounter().GetValue(), want)
				}
			}
		}
		return nil
	})
}

// condition waits until an object's alert sink is said to be so.
func (f *fixture) condition(object *v1alpha1.MandrillWebhook, want metav1.ConditionStatus, reason, text string) {
	f.t.Helper()
	poll.NoError(f.t, patience, "the condition", func() error {
		status, gotReason, message := f.alerter.Condition(object)
		if status != want || gotReason != reason || !strings.Contains(message, text) {
			return fmt.Errorf("%s, %s: %q", status, gotReason, message)
		}
		return nil
	})
}

func sent(t *testing.T, c *consumer, want ...string) {
	t.Helper()
	poll.NoError(t, patience, "alerts", func() error {
		if got := c.names(); !slices.Equal(got, want) {
			return fmt.Errorf("the sink got %q, want %q", got, want)
		}
		return nil
	})
}

// The reasons of Kubernetes Events that have an alert, with what a consumer reads. Others have none, nor has an object without a sink.
func TestEventsBecomeAlerts(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	f := start(t, nil)
	object := f.object("shop", "transactional", c.URL)
	at := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	object.Status.WebhookID = 42
	object.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionFalse, Reason: "CircuitOpen", LastTransitionTime: at}}
	object.Status.Delivery = &v1alpha1.DeliveryStatus{
		WaitingEvents: 12, OldestWaitingAt: &at, DeadLetters: 7, LastReceivedAt: &at, LastFailure: &v1alpha1.DeliveryFailure{Reason: "Status", Status: 503, At: at},
	}
	common := func(reason string) events.Alert {
		return events.Alert{Namespace: "shop", Name: "transactional", Reason: reason, Message: "It is " + reason}
	}
	const noon = "2026-01-01T12:00:00Z"
	for _, test := range []struct {
		reason, ceType string
		want           any
	}{
		{"SinkFailing", events.TypeSinkFailing, &events.SinkFailing{
			Alert: common("SinkFailing"), Condition: "CircuitOpen", Since: noon, WaitingEvents: 12, OldestWaitingAt: noon,
			LastFailure: &events.SinkFailure{Reason: "Status", Status: 503, At: noon},
		}},
		{"SinkRecovered", events.TypeSinkRecovered, &events.SinkRecovered{Alert: common("SinkRecovered"), WaitingEvents: 12}},
		{"DeadLettered", events.TypeDeadLettered, &events.DeadLettered{Alert: common("DeadLettered"), DeadLetters: 7}},
		{"WebhookDisabled", events.TypeDisabled, &events.WebhookDisabled{Alert: common("WebhookDisabled"), WebhookID: 42}},
		{"Silent", events.TypeSilent, &events.WebhookSilent{Alert: common("Silent"), LastReceivedAt: noon}},
		{"NotArriving", events.TypeSilent, &events.WebhookSilent{Alert: common("NotArriving"), LastReceivedAt: noon}},
	} {
		before := len(c.names())
		f.record(object, test.reason)
		poll.True(t, patience, test.reason, func() bool { return len(c.names()) > before })
		got := c.got[before]
		if got.Type() != test.ceType || got.Source() != "/apis/mandrill-operator.io/namespaces/shop/mandrillwebhooks/transactional" ||
			got.Subject() != "shop/transactional" || got.Extensions()["partitionkey"] != "shop/transactional" || time.Since(got.Time()) > patience {
			t.Errorf("%s: %s", test.reason, got)
		}
		data, err := events.Parse(got)
		if diff := cmp.Diff(test.want, data); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", test.reason, err, diff)
		}
		checkSchema(t, got)
	}
	if len(f.events.Events) != 6 {
		t.Errorf("%d Events were recorded", len(f.events.Events))
	}
	f.record(object, "Registered")
	f.record(object, v1alpha1.ReasonAlertsFailing)
	f.record(f.object("shop", "other", ""), "SinkFailing")
	f.record(object, "SinkFailing")
	poll.True(t, patience, "the next alert", func() bool { return len(c.names()) > 6 })
	if got := c.names(); len(got) != 7 {
		t.Errorf("the sink got %q", got)
	}
}

// checkSchema validates the data of an alert.
func checkSchema(t *testing.T, event cloudevents.Event) {
	t.Helper()
	path, ok := strings.CutPrefix(event.DataSchema(), "https://mandrill-operator.io/schemas/")
	file, err := schemas.Files.ReadFile(path)
	if !ok || err != nil {
		t.Fatalf("dataschema is %s: %v", event.DataSchema(), err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(event.DataSchema(), document); err != nil {
		t.Fatal(err)
	}
	data, err := jsonschema.UnmarshalJSON(bytes.NewReader(event.Data()))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler.MustCompile(event.DataSchema()).Validate(data); err != nil {
		t.Errorf("%s: %v", event.Data(), err)
	}
}

// What happened while the alert sink was down arrives afterwards, in order, and of several alerts of a type about an object the last.
func TestAlertsWaitForASinkThatIsDown(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	c.answer(http.StatusServiceUnavailable)
	f := start(t, nil)
	object, other := f.object("shop", "a", c.URL), f.object("shop", "b", c.URL)
	f.condition(object, metav1.ConditionTrue, "Succeeded", "")
	f.record(object, "SinkFailing")
	poll.True(t, patience, "a request", func() bool { return c.requests() > 0 })
	f.record(other, "DeadLettered")
	f.record(object, "SinkRecovered")
	f.record(object, "SinkFailing")
	f.counted("replaced", 1)
	f.advance(2 * time.Minute)
	poll.True(t, patience, "another request", func() bool { return c.requests() > 1 })
	f.condition(object, metav1.ConditionFalse, v1alpha1.ReasonAlertsFailing, "it answers with status 503")
	f.condition(other, metav1.ConditionFalse, v1alpha1.ReasonAlertsFailing, "") // the same sink
	c.answer(0)
	f.advance(10 * time.Minute)
	sent(t, c, "shop/b dead_lettered", "shop/a sink_recovered", "shop/a sink_failing")
	f.condition(object, metav1.ConditionTrue, "Succeeded", "")
	f.counted("accepted", 3)
}

// Alerts that cannot be sent for a day are given up.
func TestAlertsExpire(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	c.answer(http.StatusServiceUnavailable)
	f := start(t, nil)
	object := f.object("shop", "a", c.URL)
	f.record(object, "SinkFailing")
	poll.True(t, patience, "a request", func() bool { return c.requests() > 0 })
	f.advance(25 * time.Hour)
	f.counted("expired", 1)
	f.condition(object, metav1.ConditionTrue, "Succeeded", "")
}

// A sink that hangs holds up neither who records an Event nor the alerts of another namespace.
func TestASinkThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	var ended atomic.Int32
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended.Add(1)
	}))
	t.Cleanup(hanging.Close)
	c := newConsumer(t)
	f := start(t, nil)
	for i := range 200 {
		f.record(f.object("evil", fmt.Sprint("x", i), fmt.Sprint(hanging.URL, "/", i)), "SinkFailing")
	}
	if ended.Load() > 0 {
		t.Error("recording 200 Events took as long as a request that gets no answer")
	}
	f.record(f.object("shop", "a", c.URL), "SinkFailing")
	sent(t, c, "shop/a sink_failing")
	if ended.Load() > 0 {
		t.Error("the alert of another namespace waited for a request that gets no answer")
	}
	f.counted("failed", 4) // as many as a namespace may occupy, after the timeout
}

// The operator connects to no address of its own machine, whatever a name resolves to.
func TestAddressesOfTheMachineAreRefused(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	named := strings.Replace(c.URL, "127.0.0.1", "localhost", 1) // the resolver of addresses refuses this name, the dialer what it resolves to
	for what, refuse := range map[string]func(*alerts.Options){
		"refused": func(o *alerts.Options) { o.Refuse = nil },
		"allowed": func(o *alerts.Options) { o.Refuse, o.AllowHosts = nil, []string{"localhost"} },
	} {
		before := c.requests()
		f := start(t, refuse)
		object := f.object("shop", "a", named)
		f.record(object, "SinkFailing")
		if what == "allowed" {
			sent(t, c, "shop/a sink_failing")
			continue
		}
		f.counted("failed", 1)
		f.advance(2 * time.Minute)
		f.condition(object, metav1.ConditionFalse, v1alpha1.ReasonAlertsFailing, "resolves to the operator's machine")
		if c.requests() != before {
			t.Errorf("%s: the sink got a request", what)
		}
		f.stop()
	}
}

// A sink without an address gets nothing until it has one, and the object says what to do.
func TestAnAlertSinkWithoutAnAddressIsShown(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	f := start(t, nil)
	f.resolve = func(*v1alpha1.MandrillWebhook) (*sinks.Sink, error) {
		return nil, controllers.Waiting(v1alpha1.ReasonSinkNotFound, time.Minute, errors.New("there is no Service"))
	}
	object := f.object("shop", "a", c.URL)
	if status, _, _ := f.alerter.Condition(object); status != "" {
		t.Errorf("the condition is %s before the address was looked for", status)
	}
	f.condition(object, metav1.ConditionFalse, v1alpha1.ReasonSinkNotFound, "spec.alertSink: there is no Service")
	f.record(object, "SinkFailing")
	f.mu.Lock()
	f.resolve = nil
	f.mu.Unlock()
	f.advance(2 * time.Minute)
	f.condition(object, metav1.ConditionTrue, "Succeeded", "")
	sent(t, c, "shop/a sink_failing")
}

// An alert sink that is the receiver itself, or leads elsewhere, refuses alerts. They are given up, and cause no others.
func TestAlertsDoNotLoop(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	elsewhere := newConsumer(t)
	redirect := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirect.Close)
	for uri, status := range map[string]int{c.URL: http.StatusUnauthorized, redirect.URL: http.StatusTemporaryRedirect} {
		c.answer(status)
		f := start(t, nil)
		object := f.object("shop", "a", uri)
		f.record(object, "SinkFailing")
		f.counted("refused", 1)
		f.advance(2 * time.Minute)
		f.condition(object, metav1.ConditionFalse, v1alpha1.ReasonAlertsFailing, fmt.Sprintf("it refuses alerts with status %d", status))
		f.record(object, v1alpha1.ReasonAlertsFailing) // as the writer does
		f.counted("refused", 1)
		f.stop()
	}
	if c.requests() != 1 || elsewhere.requests() != 0 {
		t.Errorf("%d and %d requests", c.requests(), elsewhere.requests())
	}
}

// Alerts go where the object says now.
func TestAlertsFollowTheObject(t *testing.T) {
	t.Parallel()
	down, c := newConsumer(t), newConsumer(t)
	down.answer(http.StatusServiceUnavailable)
	f := start(t, nil)
	moved, deleted := f.object("shop", "moved", down.URL), f.object("shop", "deleted", down.URL)
	f.record(moved, "SinkFailing")
	f.record(deleted, "SinkFailing")
	poll.True(t, patience, "a request", func() bool { return down.requests() > 0 })
	f.object("shop", "moved", c.URL)
	f.object("shop", "deleted", "")
	f.advance(10 * time.Minute)
	sent(t, c, "shop/moved sink_failing")
	f.counted("unwanted", 1)
}

// A stop of the operator loses no alert that could be sent.
func TestAStopSendsWhatWaits(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	f := start(t, nil)
	var want []string
	for i := range 40 {
		name := fmt.Sprint("x", i)
		f.record(f.object("shop", name, c.URL), "SinkFailing")
		want = append(want, "shop/"+name+" sink_failing")
	}
	f.stop()
	if got := c.names(); !slices.Equal(got, want) {
		t.Errorf("the sink got %d alerts, want %d in order: %q", len(got), len(want), got)
	}
}

// When a sink of many objects fails, their alerts are sent over some time.
func TestAlertsAreLimitedInRate(t *testing.T) {
	t.Parallel()
	c := newConsumer(t)
	f := start(t, nil)
	began := time.Now()
	for i := range 120 {
		f.record(f.object("shop", fmt.Sprint("x", i), c.URL), "SinkFailing")
	}
	f.counted("accepted", 120)
	if took := time.Since(began); took < time.Second {
		t.Errorf("120 alerts took %s, want 50 a second after the first 50", took)
	}
}
