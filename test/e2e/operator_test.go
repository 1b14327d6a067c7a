package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Receivers do not need the operator, and it continues where it was.
func restartedOperator(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	command(t, "kubectl", "rollout", "restart", "--namespace="+i.release, "deployment/mandrill-operator")
	apply(t, i.sample(t, "restarted"))
	command(t, "kubectl", "rollout", "status", "--namespace="+i.release, "deployment/mandrill-operator", "--timeout=2m")
	i.cluster.awaitCondition(t, "restarted", "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
	command(t, "kubectl", "delete", "namespace", "restarted", "--timeout=60s")
}

// A sink that refuses connections for a minute costs nothing, neither events nor their order. Batches go to one receiver, because each
// keeps the order of what it accepted itself. Deletions need no sink, and run meanwhile.
func sinkIsDown(t *testing.T, i *installation) {
	pod := i.cluster.pods(t, i.release, "receiver")[0]
	load := i.startLoad(t, map[string]any{"target": "http://" + pod.Status.PodIP + ":8080", "intervalMs": 400})
	i.setSink(t, true, 0)
	defer i.setSink(t, false, 0)
	minute := time.After(time.Minute)
	t.Run("SampleIsDeletedTenTimes", func(t *testing.T) { sampleIsDeleted(t, i) })
	t.Run("NamespaceIsDeleted", func(t *testing.T) { namespaceIsDeleted(t, i) })
	t.Run("NamespaceIsDeletedWithoutOperator", func(t *testing.T) { namespaceIsDeletedWithoutOperator(t, i) })
	<-minute
	i.setSink(t, false, 0)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
	if r.Unordered > 0 {
		t.Errorf("%d events arrived after a later one of their message", r.Unordered)
	}
}

// kubectl delete --filename of the sample deletes namespace, Secret, Service and webhook at the same time.
func sampleIsDeleted(t *testing.T, i *installation) {
	const count = 10
	var manifests []string
	for number := range count {
		manifests = append(manifests, i.sample(t, fmt.Sprintf("sample-%d", number)))
	}
	apply(t, strings.Join(manifests, "\n---\n"))
	for number := range count {
		i.cluster.awaitCondition(t, fmt.Sprintf("sample-%d", number), "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
	begin := time.Now()
	var deletions sync.WaitGroup
	for number, manifest := range manifests {
		deletions.Go(func() {
			if output, err := run(t.Context(), manifest, "kubectl", "delete", "--filename=-", "--timeout=60s"); err != nil {
				t.Errorf("deletion %d: %v\n%s", number, err, output)
			}
		})
	}
	deletions.Wait()
	t.Logf("%d deletions took %v", count, time.Since(begin).Round(time.Second))
	i.cluster.noWebhookOf(t, "sample-")
}

// doomed makes a namespace with three webhooks.
func (i *installation) doomed(t *testing.T, namespace string) {
	t.Helper()
	objects := []string{i.sample(t, namespace)}
	for _, name := range []string{"second", "third"} {
		objects = append(objects, i.sample(t, namespace, "transactional", name))
	}
	apply(t, strings.Join(objects, "\n---\n"))
	for _, name := range []string{"transactional", "second", "third"} {
		i.cluster.awaitCondition(t, namespace, name, v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
}

func namespaceIsDeleted(t *testing.T, i *installation) {
	i.doomed(t, "doomed")
	begin := time.Now()
	command(t, "kubectl", "delete", "namespace", "doomed", "--timeout=90s")
	t.Logf("the namespace was gone after %v", time.Since(begin).Round(100*time.Millisecond))
	i.cluster.noWebhookOf(t, "doomed/")
}

// Without the operator, the Secret with the API key is gone when it comes back. The objects then say that they wait for the key, which
// nobody can put there any more, and the user who gives the webhooks up by deletionPolicy waits no longer.
func namespaceIsDeletedWithoutOperator(t *testing.T, i *installation) {
	i.doomed(t, "deserted")
	scale := func(replicas int) {
		command(t, "kubectl", "scale", "--namespace="+i.release, "deployment/mandrill-operator", fmt.Sprintf("--replicas=%d", replicas))
		i.cluster.awaitReady(t, i.release, "operator", replicas)
	}
	t.Run("Away", func(t *testing.T) { // a subtest, so that the operator comes back if it fails
		scale(0)
		command(t, "kubectl", "delete", "namespace", "deserted", "--wait=false")
		eventually(t, "the Secret is deleted", func() error {
			_, err := i.cluster.clientset.CoreV1().Secrets("deserted").Get(t.Context(), "mandrill", metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
	})
	scale(1)
	eventually(t, "the object says what it waits for", func() error {
		text := command(t, "kubectl", "get", "mandrillwebhook", "transactional", "--namespace=deserted", "--output=jsonpath={.status.conditions}")
		if !strings.Contains(text, v1alpha1.ReasonDeleting) || !strings.Contains(text, "mandrill") {
			return errors.New(text)
		}
		return nil
	})
	for _, name := range []string{"transactional", "second", "third"} {
		command(t, "kubectl", "patch", "mandrillwebhook", name, "--namespace=deserted", "--type=merge", `--patch={"spec": {"deletionPolicy": "Retain"}}`)
	}
	command(t, "kubectl", "wait", "--for=delete", "namespace/deserted", "--timeout=90s")
}

// noWebhookOf fails the test if Mandrill has a webhook of a namespace that begins with a prefix.
func (c *cluster) noWebhookOf(t *testing.T, prefix string) {
	t.Helper()
	left := slices.DeleteFunc(c.mandrillWebhooks(t), func(url string) bool { return !strings.Contains(url, "/mandrill/"+prefix) })
	if len(left) > 0 {
		t.Errorf("Mandrill still has %v", left)
	}
}
