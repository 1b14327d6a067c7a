package apiserver_test

import (
	"fmt"
	"io"
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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/mandrill/mandrilltest"
	"github.com/mandrill-operator/mandrill-operator/test/logbuffer"
	"github.com/mandrill-operator/mandrill-operator/test/loopback"
	"github.com/mandrill-operator/mandrill-operator/test/programs"
)

// startReceiverProgram runs the receiver as a pod does, with a buffer and a token for reports, and returns the address of its metrics.
func startReceiverProgram(t *testing.T, listen, operatorURL string) (metrics string) {
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
	if metrics, err = loopback.Address(t.Context()); err != nil {
		t.Fatal(err)
	}
	process := exec.Command(program, "--listen", listen, "--metrics-listen", metrics, "--shutdown-delay=0s", "--allow-sink-hosts=127.0.0.1",
		"--routes-secret", routesSecret.String(), "--kubeconfig", filepath.Join(folder, "kubeconfig"),
		"--operator-url", operatorURL, "--report-token-file", filepath.Join(folder, "token"),
		"--buffer=embedded", "--buffer-dir", filepath.Join(folder, "buffer"), "--buffer-max-bytes=64Mi")
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
	return metrics
}

// outage is an installation of the programs whose consumer answers as the test says.
type outage struct {
	*testing.T

	installation *installation
	operator     *operating
	status       atomic.Int64 // of the consumer's answers
	metrics      string       // address of the receiver's
	webhook      *v1alpha1.MandrillWebhook
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
	timing := delivery.Timing{Pass: 200 * time.Millisecond, Spacing: 500 * time.Millisecond, Soon: time.Second, Lazy: 2 * time.Second, Recent: 5 * time.Second}
	o.operator = startOperatorWith(t, timing, api.URL+"/api/1.0", "http://"+listen+"/mandrill")
	o.metrics = startReceiverProgram(t, listen, o.operator.reportsURL)
	o.webhook = i.create(t, true, func(webhook *v1alpha1.MandrillWebhook) {
		webhook.Spec.Sink = v1alpha1.Destination{URI: sink.URL}
		webhook.Spec.Delivery = &v1alpha1.Delivery{Mode: v1alpha1.ModeBuffered}
	})
	return o
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
	request, err := http.NewRequestWithContext(o.Context(), http.MethodGet, "http://"+o.metrics+"/metrics", nil)
	if err != nil {
		o.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		o.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		o.Fatal(err)
	}
	return string(body)
}

// The programs together, with a real API server: a sink fails, is shown after a minute, and recovers; then it refuses events.
func TestAnOutageIsVisibleFromBeginningToEnd(t *testing.T) {
	o := startOutage(t)
	await(t, o.webhook, "Ready", "True", "Succeeded")
	o.delivered(metav1.ConditionUnknown, v1alpha1.ReasonNothingSent)
	o.send("open")
	o.delivered(metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if got := o.webhook.Status.Delivery; got.LastReceivedAt == nil || got.LastDeliveredAt == nil || len(got.Receivers) != 1 || got.Receivers[0].Name != "mandrill-receiver-0" {
		t.Errorf("status.delivery is %+v", got)
	}

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
	if got := o.webhook.Status.Delivery; got.WaitingEvents != 2 || got.OldestWaitingAt == nil || got.LastFailure.Status != 500 {
		t.Errorf("status.delivery is %+v", got)
	}
	if ready := condition(o.webhook, "Ready"); ready.Status != metav1.ConditionTrue {
		t.Errorf("Ready is %+v", ready)
	}
	assertNote(t, o.webhook.Namespace, "SinkFailing", "it answers with status 500")
	name := o.webhook.Namespace + "/" + o.webhook.Name
	if got := o.operator.value(t, "mandrill_operator_webhook_condition", map[string]string{"webhook": name, "condition": "Delivered"}); got != 0 {
		t.Errorf("mandrill_operator_webhook_condition is %v", got)
	}

	if text := o.receiverMetrics(); !strings.Contains(text, `mandrill_receiver_failing_since_timestamp_seconds{webhook="`+name+`"}`) {
		t.Errorf("the receiver's metrics do not say that the sink fails:\n%s", text)
	}

	o.status.Store(http.StatusOK)
	o.delivered(metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	assertNote(t, o.webhook.Namespace, "SinkRecovered", "The sink accepts events again")
	eventually(t, "nothing waits", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o.webhook), o.webhook); err != nil {
			return err
		}
		if got := o.webhook.Status.Delivery; got.WaitingEvents != 0 {
			return fmt.Errorf("status.delivery is %+v", got)
		}
		return nil
	})

	o.status.Store(http.StatusBadRequest)
	o.send("open")
	o.delivered(metav1.ConditionFalse, v1alpha1.ReasonDeadLettering, v1alpha1.ReasonSinkRefusing)
	assertNote(t, o.webhook.Namespace, "DeadLettered", "were given up")
	o.status.Store(http.StatusOK)
	o.send("open")
	o.delivered(metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if got := o.webhook.Status.Delivery; got.DeadLetters == 0 {
		t.Errorf("status.delivery is %+v", got)
	}
}
