package e2e

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// other installs a release in a namespace of its own and uninstalls it after the test.
func (c *cluster) other(t *testing.T, namespace string, values ...string) {
	t.Helper()
	c.fixtures(t)
	values = append(values, "publicURL=http://mandrill-receiver."+namespace+"/mandrill")
	install(t, namespace, values...)
	t.Cleanup(func() {
		if t.Failed() {
			diagnose(t, namespace)
		}
		for _, args := range [][]string{
			{"kubectl", "delete", "mandrillwebhooks", "--all", "--all-namespaces", "--timeout=60s"},
			{"helm", "uninstall", "mandrill-operator", "--namespace=" + namespace, "--wait"},
			{"kubectl", "delete", "namespace", namespace, "--wait=false"},
		} {
			if output, err := run(context.WithoutCancel(t.Context()), "", args...); err != nil {
				t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, output)
			}
		}
	})
}

// An operator of some namespaces works there, and may read Secrets only there.
func TestWatchedNamespaces(t *testing.T) {
	c := connect(t)
	apply(t, manifest(t, sample, "shop", "watched"))
	c.other(t, "watching", "watchNamespaces={watched}", "receiver.replicas=1")
	apply(t, manifest(t, sample, "shop", "unwatched"))
	c.awaitCondition(t, "watched", "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
	if conditions := c.webhook(t, "unwatched", "transactional").Status.Conditions; len(conditions) > 0 {
		t.Errorf("the operator worked in a namespace that it does not watch: %v", conditions)
	}
	for namespace, want := range map[string]string{"watched": "yes", "unwatched": "no"} {
		args := []string{"kubectl", "auth", "can-i", "list", "secrets", "--namespace=" + namespace, "--as=system:serviceaccount:watching:mandrill-operator"}
		if output, _ := run(t.Context(), "", args...); strings.TrimSpace(output) != want { // "no" is an exit code, too
			t.Errorf("may the operator list Secrets in %s? %s, want %s", namespace, output, want)
		}
	}
}

// Two of three members of a clustered buffer go on without the third.
func TestClusteredBuffer(t *testing.T) {
	c := connect(t)
	c.other(t, "clustered", "receiver.buffer.mode=Cluster", "receiver.buffer.cluster.tls=None")
	apply(t, manifest(t, sample))
	apply(t, manifest(t, "testdata/load.yaml", "NAMESPACE", "shop"))
	c.awaitCondition(t, "shop", "load", v1alpha1.ConditionReady, metav1.ConditionTrue)
	load := c.startLoad(t, "shop", "mandrill-receiver.clustered", nil)
	command(t, "kubectl", "delete", "pod", "--namespace=clustered", c.pods(t, "clustered", "receiver")[0].Name)
	c.awaitReady(t, "clustered", "receiver", 3)
	load.awaitProgress(t, 100)
	load.finish(t)
}
