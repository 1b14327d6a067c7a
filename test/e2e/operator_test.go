package e2e

import (
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
func restartedOperator(t *testing.T, c *cluster) {
	load := c.startLoad(t, "shop", receiver, nil)
	command(t, "kubectl", "rollout", "restart", "--namespace="+system, "deployment/mandrill-operator")
	apply(t, manifest(t, sample, "shop", "restarted"))
	command(t, "kubectl", "rollout", "status", "--namespace="+system, "deployment/mandrill-operator", "--timeout=2m")
	c.awaitCondition(t, "restarted", "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
	command(t, "kubectl", "delete", "namespace", "restarted", "--timeout=60s")
}

// A sink that refuses connections for a minute costs nothing, neither events nor their order. Deletions need no sink, and run meanwhile.
func sinkIsDown(t *testing.T, c *cluster) {
	load := c.startLoad(t, "shop", receiver, map[string]any{"sticky": true, "intervalMs": 400})
	c.setSink(t, true, 0)
	defer c.setSink(t, false, 0)
	minute := time.After(time.Minute)
	t.Run("SampleIsDeletedTenTimes", func(t *testing.T) { sampleIsDeleted(t, c) })
	t.Run("NamespaceIsDeleted", func(t *testing.T) { namespaceIsDeleted(t, c, false) })
	t.Run("NamespaceIsDeletedWithoutOperator", func(t *testing.T) { namespaceIsDeleted(t, c, true) })
	<-minute
	c.setSink(t, false, 0)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
	if r.Unordered > 0 {
		t.Errorf("%d events arrived after a later one of their message", r.Unordered)
	}
}

// kubectl delete --filename of the sample deletes namespace, Secret, Service and webhook at the same time.
func sampleIsDeleted(t *testing.T, c *cluster) {
	const count = 10
	var manifests []string
	for i := range count {
		manifests = append(manifests, manifest(t, sample, "shop", fmt.Sprintf("sample-%d", i)))
	}
	apply(t, strings.Join(manifests, "\n---\n"))
	for i := range count {
		c.awaitCondition(t, fmt.Sprintf("sample-%d", i), "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
	begin := time.Now()
	var deletions sync.WaitGroup
	for i, manifest := range manifests {
		deletions.Go(func() {
			if output, err := run(t.Context(), manifest, "kubectl", "delete", "--filename=-", "--timeout=60s"); err != nil {
				t.Errorf("deletion %d: %v\n%s", i, err, output)
			}
		})
	}
	deletions.Wait()
	t.Logf("%d deletions took %v", count, time.Since(begin).Round(time.Second))
	c.noWebhookOf(t, "sample-")
}

// namespaceIsDeleted deletes a namespace with webhooks. Without the operator, the Secret with the API key is gone when it comes back.
func namespaceIsDeleted(t *testing.T, c *cluster, withoutOperator bool) {
	namespace := "doomed-" + strings.ToLower(fmt.Sprint(withoutOperator))
	objects := manifest(t, sample, "shop", namespace)
	for _, name := range []string{"second", "third"} {
		objects += "\n---\n" + manifest(t, sample, "shop", namespace, "transactional", name)
	}
	apply(t, objects)
	for _, name := range []string{"transactional", "second", "third"} {
		c.awaitCondition(t, namespace, name, v1alpha1.ConditionReady, metav1.ConditionTrue)
	}
	scale := func(replicas int) {
		command(t, "kubectl", "scale", "--namespace="+system, "deployment/mandrill-operator", fmt.Sprintf("--replicas=%d", replicas))
	}
	if withoutOperator {
		scale(0)
		defer scale(1)
		c.awaitReady(t, system, "operator", 0)
	}
	command(t, "kubectl", "delete", "namespace", namespace, "--wait=false")
	if withoutOperator {
		eventually(t, "the Secret is deleted", func() error {
			_, err := c.clientset.CoreV1().Secrets(namespace).Get(t.Context(), "mandrill", metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
		scale(1)
	}
	begin := time.Now()
	command(t, "kubectl", "wait", "--for=delete", "namespace/"+namespace, "--timeout=90s")
	t.Logf("the namespace was gone after %v", time.Since(begin).Round(100*time.Millisecond))
	c.noWebhookOf(t, namespace)
	c.awaitReady(t, system, "operator", 1)
}

// noWebhookOf fails the test if Mandrill has a webhook of a namespace that begins with a prefix.
func (c *cluster) noWebhookOf(t *testing.T, prefix string) {
	t.Helper()
	left := slices.DeleteFunc(c.mandrillWebhooks(t), func(url string) bool { return !strings.Contains(url, "/mandrill/"+prefix) })
	if len(left) > 0 {
		t.Errorf("Mandrill still has %v", left)
	}
}
