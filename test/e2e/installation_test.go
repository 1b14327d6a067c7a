package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

const (
	system = "mandrill-operator-system"
	sample = "../../config/samples/transactional.yaml"
)

// TestInstallation installs the chart as its users do, does to it what happens to installations, and uninstalls it.
func TestInstallation(t *testing.T) {
	c := connect(t)
	c.fixtures(t)
	install(t, system)
	apply(t, manifest(t, sample))
	apply(t, manifest(t, "testdata/load.yaml", "NAMESPACE", "shop"))
	for _, name := range []string{"transactional", "load"} {
		c.awaitCondition(t, "shop", name, v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"BatchBecomesCloudEvents", batchBecomesCloudEvents},
		{"RollingRestartFailsNoPost", rollingRestart},
		{"DeletedReceiver", deletedReceiver},
		{"EvictedReceivers", evictedReceivers},
		{"KilledReceiver", killedReceiver},
		{"RestartedOperator", restartedOperator},
		{"SinkIsDown", sinkIsDown},
		{"NoReceivers", noReceivers},
		{"FrozenAPIServer", frozenAPIServer},
		{"ScaledIn", scaledIn},
		{"Uninstalled", uninstalled},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, c) }) {
			diagnose(t, system)
		}
	}
}

// fixtures starts the emulated Mandrill and the consumer.
func (c *cluster) fixtures(t *testing.T) {
	t.Helper()
	apply(t, manifest(t, "testdata/fixtures.yaml"))
	command(t, "kubectl", "rollout", "status", "--namespace=e2e", "deployment/mandrill", "--timeout=2m")
	command(t, "kubectl", "rollout", "status", "--namespace=shop", "deployment/traffic", "--timeout=2m")
}

// restricted is a namespace that enforces the restricted Pod Security standard.
func restricted(namespace string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": %q, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`, namespace)
}

// install makes a namespace and installs the chart there. Values are of the form a.b=c.
func install(t *testing.T, namespace string, values ...string) {
	t.Helper()
	apply(t, restricted(namespace))
	begin := time.Now()
	upgrade(t, namespace, values...)
	t.Logf("helm install --wait took %v", time.Since(begin).Round(100*time.Millisecond))
}

// upgrade installs the chart, or changes the values of the release.
func upgrade(t *testing.T, namespace string, values ...string) {
	t.Helper()
	args := []string{
		"upgrade", "--install", "mandrill-operator", "../../charts/mandrill-operator", "--namespace=" + namespace, "--wait", "--timeout=3m",
		"--values=testdata/values.yaml", "--set=image.registry=" + registry(), "--set=image.tag=" + tag(),
	}
	for _, value := range values {
		args = append(args, "--set="+value)
	}
	command(t, "helm", args...)
}

// diagnose logs what a reader needs after a failure.
func diagnose(t *testing.T, namespace string) {
	t.Helper()
	show := func(args ...string) {
		output, err := run(context.WithoutCancel(t.Context()), "", args...) // also in cleanups
		t.Log(output, err)
	}
	show("kubectl", "get", "pods,mandrillwebhooks,events", "--all-namespaces")
	for _, component := range []string{"operator", "receiver"} {
		show("kubectl", "logs", "--namespace="+namespace, "--selector=app.kubernetes.io/component="+component, "--tail=40", "--prefix", "--ignore-errors")
	}
}

// Every type of event that the status announces reaches the consumer.
func batchBecomesCloudEvents(t *testing.T, c *cluster) {
	announced := c.webhook(t, "shop", "transactional").Status.CloudEventAttributes
	if len(announced) < 10 {
		t.Fatalf("the status announces %v", announced)
	}
	if err := c.call(t, http.MethodPost, "e2e", "mandrill:api", "/emulator/events", nil, struct{}{}, &json.RawMessage{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "events arrive", func() error {
		var counts map[string]int
		if err := c.call(t, http.MethodGet, "shop", "traffic:control", "/events", map[string]string{"path": "/events"}, nil, &counts); err != nil {
			return err
		}
		for _, attributes := range announced {
			if counts[attributes.Type] == 0 {
				return fmt.Errorf("no %s has arrived, only %v", attributes.Type, counts)
			}
		}
		return nil
	})
}

// Of an installation that is removed nothing stays except what holds data (volumes, and the CRD with its objects), and what the operator
// made itself: the Secret with the routes, without any, and its Lease.
func uninstalled(t *testing.T, c *cluster) {
	command(t, "kubectl", "delete", "mandrillwebhooks", "--all", "--all-namespaces", "--timeout=60s")
	for _, url := range c.mandrillWebhooks(t) {
		if !strings.Contains(url, "/deserted/") { // which were given up
			t.Errorf("Mandrill still has %s", url)
		}
	}
	command(t, "helm", "uninstall", "mandrill-operator", "--namespace="+system, "--wait", "--timeout=2m")
	eventually(t, "objects are deleted", func() error {
		if left := leftBehind(t, system); len(left) > 0 {
			return errors.New("left behind: " + strings.Join(left, " "))
		}
		return nil
	})
	t.Log("stays:", command(t, "kubectl", "get", "persistentvolumeclaims,secrets,leases", "--namespace="+system, "--output=name"))
	command(t, "kubectl", "get", "customresourcedefinition", "mandrillwebhooks.mandrill-operator.io")
	deleteDefinition(t)
}

// leftBehind returns objects of the namespace, and objects of the cluster with its name, that hold no data.
func leftBehind(t *testing.T, namespace string) []string {
	t.Helper()
	kinds := "deployments,statefulsets,jobs,pods,services,configmaps,roles,rolebindings,serviceaccounts,poddisruptionbudgets,networkpolicies"
	names := strings.Fields(command(t, "kubectl", "get", kinds, "--namespace="+namespace, "--output=name"))
	for _, name := range strings.Fields(command(t, "kubectl", "get", "clusterroles,clusterrolebindings", "--output=name")) {
		if strings.Contains(name, "mandrill") {
			names = append(names, name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return name == "configmap/kube-root-ca.crt" || name == "serviceaccount/default"
	})
}
