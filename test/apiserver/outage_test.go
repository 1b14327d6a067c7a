package apiserver_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/poll"
	"github.com/mandrill-operator/mandrill-operator/test/programs"
)

// receiverProgram is the receiver as it runs in a pod.
type receiverProgram struct {
	program string
	metrics string // address
	buffer  string // folder
	log     *logbuffer.Buffer
}

// startReceiverProgram runs the receiver as a pod does, with a buffer and a token for reports.
func startReceiverProgram(t *testing.T, listen, operatorURL string) receiverProgram {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "receiver")
	if err := programs.Build(folder, "receiver"); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := addUser(t, envtest.User{Name: "system:serviceaccount:" + routesSecret.Namespace + ":mandrill-receiver"}).KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	token := podToken(t, routesSecret.Namespace, "mandrill-receiver", "mandrill-receiver-0", reports.Audience)
	for name, data := range map[string][]byte{"kubeconfig": kubeconfig, "token": []byte(token)} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	metrics, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	buffer := filepath.Join(folder, "buffer")
	process := exec.Command(program, "--listen", listen, "--metrics-listen", metrics, "--shutdown-delay=0s", "--allow-sink-hosts=127.0.0.1",
		"--routes-secret", routesSecret.String(), "--kubeconfig", filepath.Join(folder, "kubeconfig"),
		"--operator-url", operatorURL, "--report-token-file", filepath.Join(folder, "token"),
		"--buffer=embedded", "--buffer-dir", buffer, "--buffer-max-bytes=64Mi")
	log := &logbuffer.Buffer{}
	process.Stderr = log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		if err := process.Wait(); err != nil || t.Failed() {
			t.Errorf("the receiver ended with %v\n%s", err, log)
		}
	})
	return receiverProgram{program, metrics, buffer, log}
}

// outage is an installation of the programs whose consumer answers as the test says.
type outage struct {
	*testing.T

	installation *installation
	operator     *operating
	status       atomic.Int64 // of the consumer's answers
	receiver     receiverProgram
	alertSink    *consumer
	webhook      *v1alpha1.MandrillWebhook
	docs         printed // where the output of commands is
}

func startOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{T: t, installation: &installation{}}
	o.status.Store(http.StatusOK)
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(o.status.Load())) }))
	t.Cleanup(sink.Close)
	i := o.installation
	i.consumer = &consumer{Server: sink}
	i.emulator = mandrilltest.New(mandrilltest.Options{APIKeys: []string{lifecycleKey}, BatchInterval: time.Hour})
	t.Cleanup(i.emulator.Close)
	i.account = i.emulator.Account(lifecycleKey)
	api := httptest.NewServer(i.emulator)
	t.Cleanup(api.Close)
	listen, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The time that a sink must fail is that of the programs; writes follow each other sooner.
	timing := delivery.Timing{Pass: 200 * time.Millisecond, Spacing: 500 * time.Millisecond, Soon: time.Second, Lazy: 2 * time.Second, Recent: 20 * time.Second}
	o.operator = startOperatorWith(t, timing, api.URL+"/api/1.0", "http://"+listen+"/mandrill")
	o.receiver = startReceiverProgram(t, listen, o.operator.reportsURL)
	o.alertSink = startAlertSink(t)
	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	createKey(t, "shop", lifecycleKey)
	o.webhook = o.create("transactional", sink.URL)
	o.docs = "../../docs/delivery.md"
	return o
}

// create makes a webhook in the namespace that the documents have.
func (o *outage) create(name, sink string) *v1alpha1.MandrillWebhook {
	o.Helper()
	webhook := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: v1alpha1.MandrillWebhookSpec{
			Events: []v1alpha1.EventName{"open"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"}, Sink: v1alpha1.Destination{URI: sink},
			AlertSink: &v1alpha1.Destination{URI: o.alertSink.URL}, Delivery: &v1alpha1.Delivery{Mode: v1alpha1.ModeBuffered},
		},
	}
	create(o.T, webhook)
	return webhook
}

// send makes Mandrill send events.
func (o *outage) send(kinds ...string) {
	o.Helper()
	if _, err := o.installation.account.Emit(kinds...); err != nil {
		o.Fatal(err)
	}
	if err := o.installation.emulator.Flush(o.Context()); err != nil {
		o.Fatal(err)
	}
}

func (o *outage) delivered(status metav1.ConditionStatus, reasons ...string) metav1.Condition {
	o.Helper()
	var got metav1.Condition
	eventually(o.T, "Delivered="+string(status), func() error {
		if err := admin.Get(o.Context(), client.ObjectKeyFromObject(o.webhook), o.webhook); err != nil {
			return err
		}
		if got = condition(o.webhook, "Delivered"); got.Status != status || !strings.Contains(strings.Join(reasons, " "), got.Reason) {
			return fmt.Errorf("Delivered is %+v, status.delivery %+v", got, o.webhook.Status.Delivery)
		}
		return nil
	})
	return got
}

// receiverMetrics returns what the receiver serves at /metrics.
func (o *outage) receiverMetrics() string {
	o.Helper()
	return string(fetch(o.T, loopback.Client, "http://"+o.receiver.metrics+"/metrics", "*/*"))
}

// table is what kubectl get prints of the webhook.
func (o *outage) table() string {
	o.Helper()
	return kubectlGet(o.T, "/apis/mandrill-operator.io/v1alpha1/namespaces/"+o.webhook.Namespace+"/mandrillwebhooks")
}

// events is what kubectl get events prints of the Events with a reason.
func (o *outage) events(reason string) string {
	o.Helper()
	return kubectlGet(o.T, "/api/v1/namespaces/"+o.webhook.Namespace+"/events?fieldSelector=reason%3D"+reason)
}

// deadLetters is what the receiver's command lists.
func (o *outage) deadLetters() string {
	o.Helper()
	output, err := exec.CommandContext(o.Context(), o.receiver.program, "dead-letters", "list", "--buffer-dir", o.receiver.buffer).CombinedOutput()
	if err != nil {
		o.Fatalf("%v\n%s", err, output)
	}
	return string(output)
}

// metricValue returns a metric of the receiver about the webhook, or nothing.
func (o *outage) metricValue(name string) string {
	o.Helper()
	line := lines(o.receiverMetrics(), name+"{", o.webhook.Namespace)
	return line[strings.LastIndex(line, " ")+1:]
}

const (
	getWebhooks = "kubectl get mandrillwebhooks -n shop"
	getEvents   = "kubectl get events -n shop --field-selector reason="
	getLogs     = "kubectl logs -n mandrill-operator-system mandrill-receiver-0"
	getMetrics  = "kubectl get --raw /api/v1/namespaces/mandrill-operator-system/pods/mandrill-receiver-0:9090/proxy/metrics"
	getStatus   = "kubectl get mandrillwebhook transactional -n shop -o jsonpath="
	message     = `{.status.conditions[?(@.type=="Delivered")].message}`
	statusPath  = "{.status.delivery}"
)

// The programs together, with a real API server: a sink is down for three minutes, which the object, Events, alerts, the log and metrics
// say once it has lasted a minute; it recovers; it refuses events, which become dead letters; and another webhook gets no events.
// docs/delivery.md shows what the commands of this test print.
func TestAnOutageIsVisibleFromBeginningToEnd(t *testing.T) {
	o := startOutage(t)
	await(t, o.webhook, "Ready", "True", "Succeeded")
	o.delivered(metav1.ConditionUnknown, v1alpha1.ReasonNothingSent)
	o.send("open")
	o.delivered(metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if got := o.webhook.Status.Delivery; got.LastReceivedAt == nil || got.LastDeliveredAt == nil || len(got.Receivers) != 1 || got.Receivers[0].Name != "mandrill-receiver-0" {
		t.Errorf("status.delivery is %+v", got)
	}
	printed("../../README.md").shows(t, "get", commands{{getWebhooks, o.table()}})
	o.docs.shows(t, "delivered", commands{{getWebhooks, o.table()}})
	o.alertSink.alerted(t, o.webhook)

	o.down()
	o.up()
	o.refuse()
	o.silent()
}

// down takes the sink down for three minutes.
func (o *outage) down() {
	t := o.T
	t.Helper()
	o.status.Store(http.StatusInternalServerError)
	began := time.Now()
	o.send("open", "open")
	failed := o.delivered(metav1.ConditionFalse, v1alpha1.ReasonSinkFailing, v1alpha1.ReasonCircuitOpen)
	if took := time.Since(began); took < time.Minute {
		t.Errorf("the failure is shown after %s", took)
	}
	if !strings.Contains(failed.Message, "it answers with status 500") {
		t.Errorf("the message is %q", failed.Message)
	}
	assertNote(t, o.webhook.Namespace, "SinkFailing", "it answers with status 500")
	o.alertSink.alerted(t, o.webhook, "sink_failing")

	poll.True(t, patience, "three minutes", func() bool { return time.Since(began) > 3*time.Minute })
	o.delivered(metav1.ConditionFalse, v1alpha1.ReasonCircuitOpen)
	if got := o.webhook.Status.Delivery; got.WaitingEvents != 2 || got.OldestWaitingAt == nil || got.LastFailure.Status != 500 {
		t.Errorf("status.delivery is %+v", got)
	}
	if ready := condition(o.webhook, "Ready"); ready.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %+v", ready)
	}
	name := o.webhook.Namespace + "/" + o.webhook.Name
	if got := o.operator.value(t, "mandrill_operator_webhook_condition", map[string]string{"webhook": name, "condition": "Delivered"}); got != 0 {
		t.Errorf("mandrill_operator_webhook_condition is %v", got)
	}
	if o.metricValue("mandrill_receiver_failing_since_timestamp_seconds") == "" || o.metricValue("mandrill_receiver_circuit_open") != "1" ||
		o.metricValue("mandrill_receiver_backlog_events") != "2" {
		t.Errorf("the receiver's metrics do not say that the sink fails:\n%s", lines(o.receiverMetrics(), name))
	}
	started := lines(o.receiver.log.String(), "A sink", name)
	if strings.Count(started, "\n") != 0 || !strings.Contains(started, `"level":"WARN"`) {
		t.Errorf("the log has %q", started)
	}
	o.alertSink.alerted(t, o.webhook, "sink_failing") // and no second one
	metrics := o.receiverMetrics()
	o.docs.shows(t, "down", commands{
		{getWebhooks, o.table()},
		{getStatus + "'" + message + "'", kubectlJSONPath(t, o.webhook, message)},
		{getStatus + "'" + statusPath + "'", kubectlJSONPath(t, o.webhook, statusPath)},
		{getEvents + "SinkFailing", o.events("SinkFailing")},
		{getLogs + " | grep 'A sink.*shop/transactional'", started},
		{getMetrics + " |\n  grep -E '^mandrill_receiver_(failing_since|circuit_open|backlog_events|backlog_oldest).*shop/transactional'", strings.Join([]string{
			lines(metrics, "mandrill_receiver_backlog_events{", name), lines(metrics, "mandrill_receiver_backlog_oldest_age_seconds{", name),
			lines(metrics, "mandrill_receiver_circuit_open{", name), lines(metrics, "mandrill_receiver_failing_since_timestamp_seconds{", name),
		}, "\n")},
	})
}

// up lets the sink accept events again.
func (o *outage) up() {
	t := o.T
	t.Helper()
	o.status.Store(http.StatusOK)
	o.delivered(metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	assertNote(t, o.webhook.Namespace, "SinkRecovered", "The sink accepts events again")
	o.alertSink.alerted(t, o.webhook, "sink_failing", "sink_recovered")
	eventually(t, "nothing waits", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o.webhook), o.webhook); err != nil {
			return err
		}
		if got := o.webhook.Status.Delivery; got.WaitingEvents != 0 {
			return fmt.Errorf("status.delivery is %+v", got)
		}
		return nil
	})
	recovered := lines(o.receiver.log.String(), "A sink recovered", o.webhook.Namespace+"/"+o.webhook.Name)
	if strings.Count(recovered, "\n") != 0 || !strings.Contains(recovered, `"level":"INFO"`) {
		t.Errorf("the log has %q", recovered)
	}
	if got := o.metricValue("mandrill_receiver_failing_since_timestamp_seconds"); got != "" {
		t.Errorf("mandrill_receiver_failing_since_timestamp_seconds is %s", got)
	}
	o.docs.shows(t, "up", commands{
		{getWebhooks, o.table()},
		{getEvents + "SinkRecovered", o.events("SinkRecovered")},
		{getLogs + " | grep 'A sink recovered.*shop/transactional'", recovered},
	})
}

// refuse lets the sink refuse an event for good.
func (o *outage) refuse() {
	t := o.T
	t.Helper()
	o.status.Store(http.StatusBadRequest)
	o.send("open")
	o.delivered(metav1.ConditionFalse, v1alpha1.ReasonDeadLettering, v1alpha1.ReasonSinkRefusing)
	table := o.table()
	assertNote(t, o.webhook.Namespace, "DeadLettered", "1 event was given up")
	o.alertSink.alerted(t, o.webhook, "sink_failing", "sink_recovered", "dead_lettered")
	if got := o.metricValue("mandrill_receiver_dead_letters"); got != "1" {
		t.Errorf("mandrill_receiver_dead_letters is %q", got)
	}
	o.docs.shows(t, "refused", commands{
		{getWebhooks, table},
		{getEvents + "DeadLettered", o.events("DeadLettered")},
		{"kubectl exec -n mandrill-operator-system mandrill-receiver-0 -- receiver dead-letters list --buffer-dir /buffer", o.deadLetters()},
	})
	o.status.Store(http.StatusOK)
	o.send("open")
	o.delivered(metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if got := o.webhook.Status.Delivery; got.DeadLetters == 0 {
		t.Errorf("status.delivery is %+v", got)
	}
}

// silent is about a webhook that expects events and gets none. Ten minutes is the shortest time that can be expected, so the clock of
// what shows delivery is set forward.
func (o *outage) silent() {
	t := o.T
	t.Helper()
	o.webhook = o.create("newsletter", o.webhook.Spec.Sink.URI)
	edit(t, o.webhook, func() { o.webhook.Spec.ExpectEvents = &v1alpha1.ExpectEvents{Within: "PT10M"} })
	await(t, o.webhook, "Ready", "True", "Succeeded")
	await(t, o.webhook, "Receiving", "Unknown", v1alpha1.ReasonNothingReceived)
	o.operator.ahead.Store(int64(11 * time.Minute))
	await(t, o.webhook, "Receiving", "False", v1alpha1.ReasonSilent)
	assertNote(t, o.webhook.Namespace, "Silent", "which is longer than PT10M")
	o.alertSink.alerted(t, o.webhook, "silent")
	const receiving = `{.status.conditions[?(@.type=="Receiving")].message}`
	o.docs.shows(t, "silent", commands{
		{strings.Replace(getStatus, "transactional", "newsletter", 1) + "'" + receiving + "'", kubectlJSONPath(t, o.webhook, receiving)},
		{getEvents + "Silent", o.events("Silent")},
	})
	o.send("open")
	await(t, o.webhook, "Receiving", "True", v1alpha1.ReasonSucceeded)
	assertNote(t, o.webhook.Namespace, v1alpha1.ReasonEventsResumed, "Events arrive again")
}
