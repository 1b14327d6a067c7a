package e2e

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// An operator of some namespaces works there, and may read Secrets only there.
func TestWatchedNamespaces(t *testing.T) {
	t.Parallel()
	i := parallel(t, "watching") // whose namespace for objects exists before the installation, and holds rights of the operator
	i.install(t, "watchNamespaces={"+i.objects+"}", "receiver.replicas=1")
	t.Cleanup(func() {
		cleanUp(t, "kubectl", "delete", "mandrillwebhooks", "--all", "--namespace=unwatched", "--ignore-not-found", "--timeout=60s")
		deleteNamespaces(t, "unwatched")
	})
	apply(t, i.sample(t, "unwatched"))
	apply(t, i.sample(t, i.objects))
	i.cluster.awaitCondition(t, i.objects, "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
	if conditions := i.cluster.webhook(t, "unwatched", "transactional").Status.Conditions; len(conditions) > 0 {
		t.Errorf("the operator worked in a namespace that it does not watch: %v", conditions)
	}
	for namespace, want := range map[string]string{i.objects: "yes", "unwatched": "no"} {
		args := []string{"kubectl", "auth", "can-i", "list", "secrets", "--namespace=" + namespace, "--as=system:serviceaccount:watching:mandrill-operator"}
		if output, _ := run(t.Context(), "", args...); strings.TrimSpace(output) != want { // "no" is an exit code, too
			t.Errorf("may the operator list Secrets in %s? %s, want %s", namespace, output, want)
		}
	}
	// Kubernetes deletes the operator's Role there before its objects.
	command(t, "kubectl", "delete", "namespace", i.objects, "--timeout=3m")
	i.noWebhookOf(t, i.objects+"/")
}

// Two of three members of a clustered buffer go on without the third, whether it is deleted, killed, or starts with an empty volume.
func TestClusteredBuffer(t *testing.T) { //nolint:tparallel // its parts follow each other
	t.Parallel()
	i := parallel(t, "clustered")
	i.install(t, "receiver.buffer.mode=Cluster", "receiver.buffer.cluster.tls=None")
	i.webhooks(t)
	load := i.startLoad(t, nil)
	pods := i.cluster.pods(t, i.release, "receiver")
	command(t, "kubectl", "delete", "pod", "--namespace="+i.release, pods[0].Name)
	i.cluster.awaitReady(t, i.release, "receiver", 3)
	load.awaitProgress(t, 100)

	command(t, "kubectl", "delete", "persistentvolumeclaim", "buffer-"+pods[1].Name, "--namespace="+i.release, "--wait=false")
	command(t, "kubectl", "delete", "pod", pods[1].Name, "--namespace="+i.release, "--grace-period=0", "--force")
	i.cluster.awaitReady(t, i.release, "receiver", 3)
	load.awaitProgress(t, 100)
	t.Run("Killed", func(t *testing.T) {
		pod := &i.cluster.pods(t, i.release, "receiver")[2]
		kill(t, pod)
		i.cluster.awaitRestart(t, pod)
	})
	load.awaitProgress(t, 100)
	load.finish(t)
}

// Two installations share a cluster and an account of Mandrill. Each handles its own objects.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	plain, blue := parallel(t, "plain"), parallel(t, "blue")
	plain.name = ""
	plain.install(t, "receiver.replicas=1")
	blue.install(t, "receiver.replicas=1")
	for _, i := range []*installation{plain, blue} {
		apply(t, i.sample(t, i.objects))
		i.cluster.awaitCondition(t, i.objects, "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
		if url := i.cluster.webhook(t, i.objects, "transactional").Status.URL; !strings.HasPrefix(url, i.publicURL()+"/") {
			t.Errorf("the webhook of %s has the URL %s, want one below %s", i.objects, url, i.publicURL())
		}
	}
	command(t, "kubectl", "delete", "namespace", blue.objects, "--timeout=2m")
	urls := strings.Join(plain.mandrillWebhooks(t), " ")
	if strings.Contains(urls, blue.publicURL()) || !strings.Contains(urls, plain.publicURL()) {
		t.Errorf("Mandrill has %s, want the webhook of the other installation only", urls)
	}
}
