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

// Receivers do not need the operator, and it continues where it was. Only an operator that has read the API key of an object can delete
// its webhook with the namespace, whose Secrets go first: so the new one is waited for.
func restartedOperator(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	command(t, "kubectl", "rollout", "restart", "--namespace="+i.release, "deployment/mandrill-operator")
	apply(t, i.sample(t, "restarted"))
	command(t, "kubectl", "rollout", "status", "--namespace="+i.release, "deployment/mandrill-operator", "--timeout=2m")
	i.cluster.awaitCondition(t, "restarted", "transactional", v1alpha1.ConditionReady, metav1.ConditionTrue)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
	i.awaitLeader(t)
	command(t, "kubectl", "patch", "mandrillwebhook/transactional", "--namespace=restarted", "--type=merge", `--patch={"spec":{"events":["send"]}}`)
	eventually(t, "the new operator handles the object", func() error {
		if object := i.cluster.webhook(t, "restarted", "transactional"); object.Status.ObservedGeneration != object.Generation {
			return fmt.Errorf("generation %d is there, %d was observed", object.Generation, object.Status.ObservedGeneration)
		}
		return nil
	})
	command(t, "kubectl", "delete", "namespace", "restarted", "--timeout=5m")
	i.noWebhookOf(t, "restarted/")
}

// awaitLeader waits until a pod that stays leads.
func (i *installation) awaitLeader(t *testing.T) {
	t.Helper()
	eventually(t, "an operator leads", func() error {
		lease, err := i.cluster.clientset.CoordinationV1().Leases(i.release).Get(t.Context(), "mandrill-operator", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, pod := range i.cluster.pods(t, i.release, "operator") {
			if holder := lease.Spec.HolderIdentity; holder != nil && strings.HasPrefix(*holder, pod.Name+"_") {
				return nil
			}
		}
		return fmt.Errorf("none of the pods leads: %+v", lease.Spec)
	})
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
			if output, err := run(t.Context(), manifest, "kubectl", "delete", "--filename=-", "--timeout=5m"); err != nil {
				t.Errorf("deletion %d: %v\n%s", number, err, output)
			}
		})
	}
	deletions.Wait()
	t.Logf("%d deletions took %v", count, time.Since(begin).Round(time.Second))
	i.noWebhookOf(t, "sample-")
	for number := range count {
		if object := fmt.Sprintf("sample-%d/transactional", number); i.orphaned(t, object) == nil {
			t.Errorf("an Event says that the webhook of %s is left at Mandrill", object)
		}
	}
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
	command(t, "kubectl", "delete", "namespace", "doomed", "--timeout=5m")
	t.Logf("the namespace was gone after %v", time.Since(begin).Round(100*time.Millisecond))
	i.noWebhookOf(t, "doomed/")
}

// Without the operator, the Secret with the API key is gone when it comes back, and nobody can put it there any more. It lets the objects
// go at once, and names the webhooks that are left at Mandrill where Events can still be written.
func namespaceIsDeletedWithoutOperator(t *testing.T, i *installation) {
	i.doomed(t, "deserted")
	scale := func(replicas int) {
		i.scale(t, "deployment/mandrill-operator", replicas)
		i.cluster.awaitReady(t, i.release, "operator", replicas)
	}
	t.Run("Away", func(t *testing.T) { // a subtest, so that the operator comes back if it fails
		scale(0)
		command(t, "kubectl", "wait", "--for=delete", "pod", "--namespace="+i.release, "--selector=app.kubernetes.io/component=operator", "--timeout=2m")
		command(t, "kubectl", "delete", "namespace", "deserted", "--wait=false")
		eventually(t, "the Secret is deleted", func() error {
			_, err := i.cluster.clientset.CoreV1().Secrets("deserted").Get(t.Context(), "mandrill", metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
	})
	begin := time.Now()
	scale(1)
	command(t, "kubectl", "wait", "--for=delete", "namespace/deserted", "--timeout=3m")
	t.Logf("the namespace was gone %v after the operator came back", time.Since(begin).Round(100*time.Millisecond))
	for _, name := range []string{"transactional", "second", "third"} {
		eventually(t, "an Event names what is left", func() error {
			return i.orphaned(t, "deserted/"+name)
		})
	}
}

// orphaned returns nil if an Event names the webhook that an object has left at Mandrill.
func (i *installation) orphaned(t *testing.T, object string) error {
	t.Helper()
	events, err := i.cluster.clientset.EventsV1().Events(i.release).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, event := range events.Items {
		if event.Reason == v1alpha1.ReasonOrphaned && strings.HasPrefix(event.Note, "MandrillWebhook "+object+": Gave up deleting webhook") {
			return nil
		}
	}
	return errors.New("there is none for " + object)
}

// noWebhookOf fails the test if Mandrill has a webhook of a namespace that begins with a prefix.
func (i *installation) noWebhookOf(t *testing.T, prefix string) {
	t.Helper()
	left := slices.DeleteFunc(i.mandrillWebhooks(t), func(url string) bool { return !strings.Contains(url, "/mandrill/"+prefix) })
	if len(left) > 0 {
		t.Errorf("Mandrill still has %v", left)
	}
}
