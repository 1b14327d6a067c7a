package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Pods with the label get the receiver, wait for their webhook, and get their events on localhost, also those that were accepted before
// the pod was deleted, if it has a volume for them.
func TestSidecar(t *testing.T) {
	t.Parallel()
	i := parallel(t, "beside")
	t.Cleanup(func() { // before the operator goes
		cleanUp(t, "kubectl", "delete", "deployments,statefulsets", "--all", "--namespace="+i.objects)
	})
	i.install(t, "sidecarInjection.enabled=true", "receiver.replicas=1")
	apply(t, manifest(t, "testdata/sidecar.yaml", "NAMESPACE", i.objects))
	waiting := i.waitsForSecret(t, "beside")
	for name, mode := range map[string]string{"beside": "Direct", "stored": "Buffered"} {
		apply(t, manifest(t, "testdata/sidecar-webhook.yaml", "NAMESPACE", i.objects, "NAME", name, "INSTALLATION", i.name, "MODE", mode))
	}
	for _, name := range []string{"beside", "stored"} {
		i.cluster.awaitCondition(t, i.objects, name, v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
	if started := i.sidecarPod(t, "beside"); started.UID != waiting.UID {
		t.Errorf("%s started, want %s, which waited", started.Name, waiting.Name)
	}
	i.open(t)
	for _, name := range []string{"beside", "stored"} {
		i.awaitOpen(t, name)
	}
	i.outlivesPod(t)
	i.refusesSharedWebhook(t)
	i.policiesHaveNoWarnings(t)
}

// sidecarPod returns the only pod of a consumer, and fails if it does not have exactly one receiver.
func (i *installation) sidecarPod(t *testing.T, app string) *corev1.Pod {
	t.Helper()
	list := &corev1.PodList{}
	eventually(t, "a pod of "+app, func() error {
		if err := i.cluster.client.List(t.Context(), list, client.InNamespace(i.objects), client.MatchingLabels{"app": app}); err != nil {
			return err
		}
		if len(list.Items) != 1 || list.Items[0].DeletionTimestamp != nil {
			return fmt.Errorf("there are %d pods", len(list.Items))
		}
		return nil
	})
	pod := &list.Items[0]
	if containers := pod.Spec.InitContainers; len(containers) != 1 || containers[0].Name != "mandrill-receiver" {
		t.Fatalf("%s has the init containers %v", pod.Name, containers)
	}
	return pod
}

// waitsForSecret returns a pod that was made before its webhook, after the kubelet has said what is missing.
func (i *installation) waitsForSecret(t *testing.T, app string) *corev1.Pod {
	t.Helper()
	pod := i.sidecarPod(t, app)
	eventually(t, pod.Name+" waits", func() error {
		events := &corev1.EventList{}
		if err := i.cluster.client.List(t.Context(), events, client.InNamespace(i.objects)); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.InvolvedObject.UID == pod.UID && strings.Contains(event.Message, `secret "`+app+`-receiver" not found`) {
				return nil
			}
		}
		return errors.New("no Event names the Secret")
	})
	return pod
}

// open lets Mandrill send an event to each webhook that wants it.
func (i *installation) open(t *testing.T) {
	t.Helper()
	i.mandrill(t, "events", map[string]any{"kinds": []string{"open"}}, &json.RawMessage{})
	i.mandrill(t, "flush", nil, &json.RawMessage{})
}

// awaitOpen waits until a consumer has got an event.
func (i *installation) awaitOpen(t *testing.T, app string) {
	t.Helper()
	eventually(t, "an event at "+app, func() error {
		var counts map[string]int
		if err := i.cluster.call(t, http.MethodGet, i.objects, app+":control", "/events", map[string]string{"path": "/" + app}, nil, &counts); err != nil {
			return err
		}
		for name, count := range counts {
			if strings.Contains(name, "open") && count > 0 {
				return nil
			}
		}
		return fmt.Errorf("it has %v", counts)
	})
}

// outlivesPod deletes both pods while their consumers are down. The next pods are injected too, and what was accepted is on the volume.
func (i *installation) outlivesPod(t *testing.T) {
	t.Helper()
	for _, app := range []string{"beside", "stored"} {
		if err := i.cluster.call(t, http.MethodPost, i.objects, app+":control", "/sink", nil, map[string]any{"closed": true}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
	}
	sent := i.batchesSent(t, "stored")
	i.open(t)
	eventually(t, "a batch is accepted", func() error {
		if now := i.batchesSent(t, "stored"); now == sent {
			return fmt.Errorf("Mandrill has sent %d batches, as before", now)
		}
		return nil
	})
	for _, app := range []string{"beside", "stored"} {
		command(t, "kubectl", "delete", "pod", "--namespace="+i.objects, i.sidecarPod(t, app).Name, "--timeout=2m")
		i.sidecarPod(t, app)
	}
	for _, app := range []string{"stored", "beside"} { // beside gets it again from Mandrill
		i.awaitOpen(t, app)
	}
}

// batchesSent is how many batches for a consumer were accepted, as Mandrill counts them.
func (i *installation) batchesSent(t *testing.T, app string) int {
	t.Helper()
	var webhooks []struct {
		URL         string `json:"url"`
		BatchesSent int    `json:"batches_sent"`
	}
	i.mandrill(t, "webhooks", nil, &webhooks)
	for _, webhook := range webhooks {
		if webhook.URL == "http://"+app+"."+i.objects+"/mandrill" {
			return webhook.BatchesSent
		}
	}
	t.Fatalf("Mandrill has no webhook of %s, only %+v", app, webhooks)
	return 0
}

// A label that names a webhook of the shared receiver is found in an Event, because a ReplicaSet makes the pods.
func (i *installation) refusesSharedWebhook(t *testing.T) {
	t.Helper()
	apply(t, i.sample(t, i.objects))
	command(t, "kubectl", "patch", "deployment", "beside", "--namespace="+i.objects, "--type=merge",
		`--patch={"spec": {"template": {"metadata": {"labels": {"mandrill-operator.io/inject": "transactional"}}}}}`)
	eventually(t, "an Event says what is wrong", func() error {
		events := command(t, "kubectl", "get", "events", "--namespace="+i.objects, "--field-selector=reason=FailedCreate", "--output=jsonpath={.items[*].message}")
		if !strings.Contains(events, "the MandrillWebhook transactional, which the label mandrill-operator.io/inject names, does not have receiver: Sidecar") {
			return errors.New(events)
		}
		return nil
	})
}

// The type check of the API server finds no fault in the expressions.
func (i *installation) policiesHaveNoWarnings(t *testing.T) {
	t.Helper()
	warnings := command(t, "kubectl", "get", "validatingadmissionpolicies", "--selector=app.kubernetes.io/component=sidecar-injection",
		"--output=jsonpath={.items[*].status.typeChecking.expressionWarnings}")
	if strings.TrimSpace(warnings) != "" {
		t.Errorf("the API server warns of %s", warnings)
	}
}
