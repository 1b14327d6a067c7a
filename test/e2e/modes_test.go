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
	t.Cleanup(func() {
		if t.Failed() {
			diagnose(t, namespace)
		}
		cleanUp(t, "kubectl", "delete", "mandrillwebhooks", "--all", "--all-namespaces", "--timeout=60s")
		cleanUp(t, "helm", "uninstall", "mandrill-operator", "--namespace="+namespace, "--wait")
		// Not waited for: Kubernetes looks at a namespace again when half the time is over that its last pods may take to end.
		cleanUp(t, "kubectl", "delete", "namespace", namespace, "--wait=false")
	})
	install(t, namespace, append(values, "publicURL=http://mandrill-receiver."+namespace+"/mandrill")...)
}

// cleanUp is command for cleanups, which run to their end.
func cleanUp(t *testing.T, args ...string) {
	t.Helper()
	if output, err := run(context.WithoutCancel(t.Context()), "", args...); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func deleteNamespaces(t *testing.T, names ...string) {
	t.Helper()
	cleanUp(t, append([]string{"kubectl", "delete", "namespace", "--ignore-not-found", "--timeout=2m"}, names...)...)
}

// deleteDefinition lets the next release install its own CRD. That of a release that is gone stays, and other releases leave it alone.
func deleteDefinition(t *testing.T) {
	t.Helper()
	cleanUp(t, "kubectl", "delete", "customresourcedefinition", "mandrillwebhooks.mandrill-operator.io", "--ignore-not-found", "--timeout=60s")
}

// An operator of some namespaces works there, and may read Secrets only there.
func TestWatchedNamespaces(t *testing.T) {
	c := connect(t)
	// The watched namespace exists before the installation, and is deleted after it, because it holds the rights of the operator.
	apply(t, restricted("watched"))
	t.Cleanup(func() { deleteDefinition(t) })
	t.Cleanup(func() { deleteNamespaces(t, "watched", "unwatched") })
	c.other(t, "watching", "watchNamespaces={watched}", "receiver.replicas=1")
	for _, namespace := range []string{"watched", "unwatched"} {
		apply(t, manifest(t, sample, "shop", namespace))
	}
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
	t.Cleanup(func() { deleteDefinition(t) })
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

// Two installations share a cluster and an account of Mandrill. Each handles its own objects.
func TestTwoInstallations(t *testing.T) {
	c := connect(t)
	t.Cleanup(func() { deleteDefinition(t) })
	c.other(t, "plain", "receiver.replicas=1")
	c.other(t, "blue", "receiver.replicas=1", "installation=blue")
	apply(t, manifest(t, sample))
	apply(t, manifest(t, sample, "shop", "azure", "\nspec:\n  description", "\nspec:\n  installation: blue\n  description"))
	for namespace, release := range map[string]string{"shop": "plain", "azure": "blue"} {
		c.awaitCondition(t, namespace, "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
		if url := c.webhook(t, namespace, "transactional").Status.URL; !strings.HasPrefix(url, "http://mandrill-receiver."+release+"/") {
			t.Errorf("the webhook of %s has the URL %s, want one of the installation %s", namespace, url, release)
		}
	}
	command(t, "kubectl", "delete", "namespace", "azure", "--timeout=90s")
	urls := strings.Join(c.mandrillWebhooks(t), " ")
	if strings.Contains(urls, "mandrill-receiver.blue/") || !strings.Contains(urls, "mandrill-receiver.plain/") {
		t.Errorf("Mandrill has %s, want the webhook of the other installation only", urls)
	}
}
