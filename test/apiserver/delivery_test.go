package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
)

// quick is a Timing in which minutes are seconds.
var quick = delivery.Timing{
	Interval: 2 * time.Second, Late: 3 * time.Second, Hysteresis: 2 * time.Second, Pass: 100 * time.Millisecond, Spacing: 200 * time.Millisecond,
	Soon: 400 * time.Millisecond, Lazy: time.Second, Recent: 10 * time.Second, Refresh: time.Second,
}

// podToken returns a token of a ServiceAccount, bound to a pod of this name, which is made.
func podToken(t *testing.T, namespace, account, pod string, audiences ...string) string {
	t.Helper()
	no, yes := false, true
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod}, Spec: corev1.PodSpec{
		ServiceAccountName: account, AutomountServiceAccountToken: &no,
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		Containers: []corev1.Container{{Name: "receiver", Image: "receiver", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}}
	create(t, object)
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), object); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: object.UID},
	}}
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := admin.SubResource("token").Create(t.Context(), owner, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// reporting is a receiver that only reports.
type reporting struct {
	operator *operating
	token    string
	sequence uint64

	mu      sync.Mutex
	webhook reports.Webhook
	since   time.Time // of which the ages are
}

// report sends one report, and returns the status of the answer.
func (r *reporting) report(ctx context.Context) (int, error) {
	r.mu.Lock()
	r.sequence++
	report := reports.Report{Version: 1, Receiver: "claimed", Instance: "a", Sequence: r.sequence, Webhooks: []reports.Webhook{r.webhook}}
	passed := time.Since(r.since).Seconds()
	webhook := &report.Webhooks[0]
	for _, age := range []**float64{&webhook.OldestWaitingAge, &webhook.LastReceivedAge, &webhook.LastDeliveredAge, &webhook.FailingFor} {
		if *age != nil {
			older := **age + passed
			*age = &older
		}
	}
	if webhook.Failure != nil {
		failure := *webhook.Failure
		failure.Age += passed
		webhook.Failure = &failure
	}
	body, err := json.Marshal(report)
	r.mu.Unlock()
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.operator.reportsURL+reports.Path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	response, err := loopback.Client.Do(request)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Body.Close()
}

// set is what is reported from now on.
func (r *reporting) set(webhook reports.Webhook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.webhook, r.since = webhook, time.Now()
}

// run reports again and again.
func (r *reporting) run(ctx context.Context) error {
	for {
		if _, err := r.report(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func ago(seconds float64) *float64 { return &seconds }

// installVisible is an installation whose operator shows things soon, without a receiver that reports.
func installVisible(t *testing.T) (*installation, *operating) {
	t.Helper()
	i, apiURL := installWithoutOperator(t)
	return i, startOperatorWith(t, quick, apiURL, i.publicURL)
}

// What receivers report is in the object: the whole course of an outage, with real tokens, as kubectl shows it.
func TestDeliveryIsVisible(t *testing.T) {
	i, operator := installVisible(t)
	webhook := i.create(t, true, nil)
	name := webhook.Namespace + "/" + webhook.Name
	await(t, webhook, "Ready", "True", "Succeeded")
	await(t, webhook, "Delivered", "Unknown", v1alpha1.ReasonNoReports)

	receiver := &reporting{operator: operator, token: podToken(t, routesSecret.Namespace, "mandrill-receiver", "mandrill-receiver-0", reports.Audience)}
	receiver.set(reports.Webhook{Name: name})
	background(t, "receiver that reports", receiver.run)
	await(t, webhook, "Delivered", "Unknown", v1alpha1.ReasonNothingSent)
	receiver.set(reports.Webhook{Name: name, LastReceivedAge: ago(0), LastDeliveredAge: ago(0)})
	await(t, webhook, "Delivered", "True", "Succeeded")
	if got := webhook.Status.Delivery; got == nil || len(got.Receivers) != 1 || got.Receivers[0].Name != "mandrill-receiver-0" || got.LastDeliveredAt == nil {
		t.Errorf("status.delivery is %+v", got)
	}
	reconciles := operator.sum(t, "mandrill_operator_reconciles_total")

	receiver.set(reports.Webhook{
		Name: name, LastReceivedAge: ago(1), LastDeliveredAge: ago(2), WaitingEvents: 12, OldestWaitingAge: ago(600), CircuitOpen: true,
		Failure: &reports.Failure{Reason: reports.ReasonUnreachable}, FailingFor: ago(0),
	})
	await(t, webhook, "Delivered", "False", v1alpha1.ReasonCircuitOpen)
	if got := webhook.Status.Delivery; got.WaitingEvents != 12 || got.LastFailure == nil || got.LastFailure.Reason != "Unreachable" {
		t.Errorf("status.delivery is %+v", got)
	}
	if got := condition(webhook, "Ready"); got.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %+v", got)
	}
	i.assertTable(t, webhook)
	assertNote(t, webhook.Namespace, "SinkFailing", "there is no connection")
	isFalse := map[string]string{"webhook": name, "condition": "Delivered", "reason": "CircuitOpen"}
	eventually(t, "mandrill_operator_webhook_condition says so", func() error { // when the operator has seen what it wrote
		if got, found := operator.find(t, "mandrill_operator_webhook_condition", isFalse); !found || got != 0 {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})

	receiver.set(reports.Webhook{Name: name, LastReceivedAge: ago(0), LastDeliveredAge: ago(0), DeadLetters: 3})
	await(t, webhook, "Delivered", "False", v1alpha1.ReasonDeadLettering)
	assertNote(t, webhook.Namespace, "DeadLettered", "3 events were given up")
	await(t, webhook, "Delivered", "True", "Succeeded")
	receiver.set(reports.Webhook{Name: name, LastReceivedAge: ago(0), LastDeliveredAge: ago(0), DeadLetters: 3, LostMessages: 2})
	assertNote(t, webhook.Namespace, "MessagesLost", "2 stored batches vanished")
	receiver.set(reports.Webhook{Name: name, LastReceivedAge: ago(0), LastDeliveredAge: ago(0), DeadLetters: 3, LostMessages: 5})
	assertNote(t, webhook.Namespace, "MessagesLost", "3 stored batches vanished") // another text, so another Event
	assertOwners(t, webhook)
	if got := operator.sum(t, "mandrill_operator_reconciles_total"); got != reconciles {
		t.Errorf("writes of the status caused %v reconciles", got-reconciles)
	}
}

// Changes of the object and of its delivery at the same time do not undo each other.
func TestReconcilesAndReportsWriteBesideEachOther(t *testing.T) {
	i, operator := installVisible(t)
	webhook := i.create(t, true, nil)
	name := webhook.Namespace + "/" + webhook.Name
	await(t, webhook, "Ready", "True", "Succeeded")
	receiver := &reporting{operator: operator, token: podToken(t, routesSecret.Namespace, "mandrill-receiver", "mandrill-receiver-0", reports.Audience)}
	receiver.set(reports.Webhook{Name: name, LastReceivedAge: ago(0), LastDeliveredAge: ago(0)})
	background(t, "receiver that reports", receiver.run)
	for round := range 6 {
		suspend := round%2 == 0
		receiver.set(reports.Webhook{Name: name, LastReceivedAge: ago(0), LastDeliveredAge: ago(0), DeadLetters: int64(round)})
		edit(t, webhook, func() {
			webhook.Spec.Suspend = suspend
			webhook.Spec.Sink.URI = i.consumer.URL + fmt.Sprint("/", round)
		})
		if suspend {
			await(t, webhook, "Delivered", "Unknown", v1alpha1.ReasonSuspended)
			await(t, webhook, "Ready", "True", v1alpha1.ReasonSuspended)
		} else {
			await(t, webhook, "Delivered", "True", "Succeeded")
			await(t, webhook, "Ready", "True", "Succeeded")
		}
		seen := map[string]bool{}
		for _, condition := range webhook.Status.Conditions {
			if seen[condition.Type] || condition.Message == "" {
				t.Errorf("round %d: %+v", round, webhook.Status.Conditions)
			}
			seen[condition.Type] = true
		}
	}
}

// Who reports is what the API server says: tokens for something else, and accounts that are no receivers, change nothing.
func TestOnlyReceiversAreBelieved(t *testing.T) {
	i, operator := installVisible(t)
	webhook := i.create(t, true, nil)
	sidecar := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Receiver, o.Spec.URL = v1alpha1.ReceiverSidecar, "http://sidecar.invalid/"+o.Namespace
	})
	for _, namespace := range []string{webhook.Namespace, sidecar.Namespace} {
		create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "consumer"}})
	}
	about := func(o *v1alpha1.MandrillWebhook) reports.Webhook {
		return reports.Webhook{Name: o.Namespace + "/" + o.Name, LastReceivedAge: ago(0), LastDeliveredAge: ago(0)}
	}
	for what, test := range map[string]struct {
		token  string
		about  reports.Webhook
		status int
	}{
		"no token":                {"", about(webhook), http.StatusUnauthorized},
		"a forged token":          {"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.x", about(webhook), http.StatusUnauthorized},
		"another audience":        {podToken(t, routesSecret.Namespace, "mandrill-receiver", "other-audience", "https://other"), about(webhook), http.StatusUnauthorized},
		"a token for the API":     {podToken(t, routesSecret.Namespace, "mandrill-receiver", "no-audience"), about(webhook), http.StatusUnauthorized},
		"another account":         {podToken(t, webhook.Namespace, "consumer", "consumer-0", reports.Audience), about(webhook), http.StatusAccepted},
		"a sidecar of another":    {podToken(t, webhook.Namespace, "consumer", "consumer-1", reports.Audience), about(sidecar), http.StatusAccepted},
		"the operator's account":  {podToken(t, routesSecret.Namespace, "mandrill-operator", "operator-0", reports.Audience), about(webhook), http.StatusAccepted},
		"a shared receiver of it": {podToken(t, routesSecret.Namespace, "mandrill-receiver", "shared-0", reports.Audience), about(sidecar), http.StatusAccepted},
	} {
		receiver := &reporting{operator: operator, token: test.token}
		receiver.set(test.about)
		eventually(t, what, func() error { // the operator becomes the leader
			status, err := receiver.report(t.Context())
			if err == nil && status != test.status {
				err = fmt.Errorf("status %d, want %d", status, test.status)
			}
			return err
		})
	}
	genuine := &reporting{operator: operator, token: podToken(t, sidecar.Namespace, "consumer", "consumer-0", reports.Audience)}
	genuine.set(about(sidecar))
	background(t, "sidecar", genuine.run)
	eventually(t, "the sidecar is believed", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(sidecar), sidecar); err != nil {
			return err
		}
		if got := condition(sidecar, "Delivered"); got.Status != metav1.ConditionTrue {
			return fmt.Errorf("Delivered is %+v", got)
		}
		return nil
	})
	await(t, webhook, "Delivered", "Unknown", v1alpha1.ReasonNoReports)
	if webhook.Status.Delivery != nil {
		t.Errorf("somebody was believed: %+v", webhook.Status.Delivery)
	}
}

// assertTable fetches the object as kubectl does, and checks the columns and their width.
func (i *installation) assertTable(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
	t.Helper()
	config := rest.CopyConfig(environment.Config)
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	path := "/apis/mandrill-operator.io/v1alpha1/namespaces/" + webhook.Namespace + "/mandrillwebhooks"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(config.Host, "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	response, err := transport.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var table metav1.Table
	if err := json.NewDecoder(response.Body).Decode(&table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("%d rows, error %v", len(table.Rows), err)
	}
	var names, cells []string
	width := 0
	for n, column := range table.ColumnDefinitions {
		if column.Priority > 0 {
			continue
		}
		cell := fmt.Sprint(table.Rows[0].Cells[n])
		names, cells = append(names, column.Name), append(cells, cell)
		width += 3 + max(len(column.Name), len(cell), map[string]int{"Name": 40, "Reason": 24}[column.Name]) // as wide as they get
	}
	if want := []string{"Name", "Ready", "Reason", "Delivered", "Waiting", "Last event", "Age"}; !slices.Equal(names, want) {
		t.Errorf("the columns are %q, want %q", names, want)
	}
	if want := []string{"transactional", "True", "Succeeded", "False", "12"}; !slices.Equal(cells[:5], want) || !strings.HasSuffix(cells[5], "s") {
		t.Errorf("the cells are %q", cells)
	}
	if width-3 > 120 {
		t.Errorf("a line has %d characters", width-3)
	}
}

// assertNote waits for an Event with a reason and a text.
func assertNote(t *testing.T, namespace, reason, text string) {
	t.Helper()
	eventually(t, "Event "+reason, func() error {
		var list eventsv1.EventList
		if err := admin.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, event := range list.Items {
			if event.Reason == reason && strings.Contains(event.Note, text) {
				return nil
			}
		}
		return errors.New("not among the Events")
	})
}

// assertOwners checks that the writer owns its part of the status and the reconciler the rest.
func assertOwners(t *testing.T, webhook *v1alpha1.MandrillWebhook) {
	t.Helper()
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, managed := range webhook.ManagedFields {
		text := managed.FieldsV1.GetRawString()
		delivers := strings.Contains(text, `"f:delivery"`) || strings.Contains(text, `{\"type\":\"Delivered\"}`)
		if owns := managed.Manager == string(delivery.FieldOwner); owns != delivers {
			t.Errorf("%s owns %s", managed.Manager, text)
		} else if owns {
			found = true
			if managed.Operation != metav1.ManagedFieldsOperationApply || strings.Contains(text, "Ready") {
				t.Errorf("%s %s owns %s", managed.Manager, managed.Operation, text)
			}
		}
	}
	if !found {
		t.Errorf("the fields are managed by %+v", webhook.ManagedFields)
	}
}

// value returns the value of a metric with these labels, and fails the test if there is none.
func (o *operating) value(t *testing.T, name string, labels map[string]string) float64 {
	t.Helper()
	value, found := o.find(t, name, labels)
	if !found {
		t.Fatalf("no metric %s with %v", name, labels)
	}
	return value
}

func (o *operating) find(t *testing.T, name string, labels map[string]string) (value float64, found bool) {
	t.Helper()
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			matches := family.GetName() == name
			for _, label := range metric.GetLabel() {
				if want, ok := labels[label.GetName()]; ok && want != label.GetValue() {
					matches = false
				}
			}
			if matches {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

// sum returns the sum of a metric.
func (o *operating) sum(t *testing.T, name string) (sum float64) {
	t.Helper()
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}
