package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/cli/access"
)

// Pods that look like receivers and are none are named, with what they lack.
func TestPodsThatAreNoReceiversAreNamed(t *testing.T) {
	t.Parallel()
	bare := pod("bare", true)
	bare.Spec.Containers[0].Args = nil
	other := pod("other", true)
	other.Spec.Containers[0].Name = "web"
	for name, test := range map[string]struct {
		pods      []*corev1.Pod
		namespace string
		want      []string
	}{
		"none": {nil, "", []string{"no receivers were found: in the namespaces that you may look into there is no pod with the label app.kubernetes.io/component=receiver " +
			`and a container "receiver" that has --routes-secret or --config. Name the namespace`}},
		"in a namespace":  {nil, "elsewhere", []string{"no receivers were found: in namespace elsewhere there is no pod"}},
		"without a flag":  {[]*corev1.Pod{bare}, "", []string{"; system/bare has neither flag. Name"}},
		"another program": {[]*corev1.Pod{bare, other}, "", []string{"system/bare has neither flag", "system/other has no container of this name"}},
	} {
		_, err := cluster(t, test.pods...).Receivers(t.Context(), &access.Flags{ReceiverNamespace: test.namespace})
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
}

func operator(name string, args ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: name, Labels: map[string]string{"app.kubernetes.io/component": "operator"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "operator", Args: args}}},
	}
}

// The URL that a webhook will have comes from its installation's operator, or it is said why there is none.
func TestPublicURLIsTheOperators(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pods         []*corev1.Pod
		installation string
		url, err     string
	}{
		"an operator":           {[]*corev1.Pod{operator("o", "--public-url=https://h.example/m")}, "", "https://h.example/m", ""},
		"of the installation":   {[]*corev1.Pod{operator("a", "--public-url=https://a.example"), operator("b", "--public-url=https://b.example", "--installation=blue")}, "blue", "https://b.example", ""},
		"without a public URL":  {[]*corev1.Pod{operator("o")}, "", "", "the operator system/o runs without --public-url"},
		"of other ones only":    {[]*corev1.Pod{operator("o", "--public-url=https://h.example")}, "blue", "", `other installations than "blue": system/o`},
		"no operator in reach":  {nil, "", "", "no pod of an operator was found in the namespaces that you may look into, by the label app.kubernetes.io/component=operator"},
		"another program there": {[]*corev1.Pod{{ObjectMeta: operator("o").ObjectMeta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x"}}}}}, "", "", "no pod of an operator"},
	} {
		url, pod, err := cluster(t, test.pods...).PublicURL(t.Context(), &access.Flags{}, test.installation)
		if url != test.url || (err == nil) != (test.err == "") || err == nil && !strings.HasPrefix(pod, "system/") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %q of %q, %v", name, url, pod, err)
		}
	}
}

// Of a sink, the host and the port are shown. The rest of its URI may be secret.
func TestSinkAddressHasNoSecret(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"http://consumer.shop.svc/events":                   "consumer.shop.svc:80",
		"https://user:secret@h.example/secret?token=secret": "h.example:443",
		"http://[fd00::1]:8080/":                            "[fd00::1]:8080",
		"":                                                  "",
		"://secret":                                         "",
		"https://h.example:8443/secret#secret?secret=secret": "h.example:8443",
	} {
		webhook := &v1alpha1.MandrillWebhook{Spec: v1alpha1.MandrillWebhookSpec{Sink: v1alpha1.Destination{URI: uri}}}
		if got := access.SinkAddress(webhook); got != want {
			t.Errorf("%s: got %q, want %q", uri, got, want)
		}
		webhook.Status.SinkURI = "http://resolved.example/"
		if got := access.SinkAddress(webhook); got != "resolved.example:80" {
			t.Errorf("%s, resolved: got %q", uri, got)
		}
	}
	for _, test := range [][3]string{
		{"The sink refuses", "h:80", "The sink h:80 refuses"}, {"The sink refuses", "", "The sink refuses"}, {"No receiver reports", "h:80", "No receiver reports"},
	} {
		if got := access.NameSink(test[0], test[1]); got != test[2] {
			t.Errorf("got %q, want %q", got, test[2])
		}
	}
}

// metricsPods answers metrics by a function.
type metricsPods struct {
	access.Pods
	metrics func(pod string) ([]byte, error)
}

func (m metricsPods) Metrics(_ context.Context, _, pod string, _ int) ([]byte, error) {
	return m.metrics(pod)
}

// The latest time of all receivers counts, and one that does not answer is named without hiding what the others say.
func TestLastReceivedIsOfAllReceivers(t *testing.T) {
	t.Parallel()
	c := cluster(t, pod("a", true), pod("b", true), pod("down", false))
	c.Pods = metricsPods{metrics: func(pod string) ([]byte, error) {
		if pod == "b" {
			return []byte("mandrill_receiver_last_received_timestamp_seconds{webhook=\"shop/x\"} 1.7e+09\nmandrill_receiver_last_received_timestamp_seconds{webhook=\"shop/y\"} junk\n"), nil
		}
		return []byte("# TYPE x gauge\nmandrill_receiver_last_received_timestamp_seconds{webhook=\"shop/x\"} 1.6e+09\nx 1\n"), nil
	}}
	receivers, err := c.Receivers(t.Context(), &access.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	last, err := c.LastReceived(t.Context(), receivers)
	if len(last) != 1 || !last["shop/x"].Equal(time.Unix(1.7e9, 0)) || err == nil || !strings.Contains(err.Error(), "the receiver system/down does not run (it waits: CrashLoopBackOff)") {
		t.Errorf("%v, %v", last, err)
	}
	c.Pods = metricsPods{metrics: func(string) ([]byte, error) { return nil, errors.New("no") }}
	if last, err := c.LastReceived(t.Context(), receivers[:1]); len(last) != 0 || err == nil || !strings.Contains(err.Error(), "the metrics of system/a") {
		t.Errorf("%v, %v", last, err)
	}
}
