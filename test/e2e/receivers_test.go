package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/test/poll"
)

// noFailedPosts fails the test if a post was not answered with 200.
func noFailedPosts(t *testing.T, r report) {
	t.Helper()
	if len(r.Failed) > 0 {
		t.Errorf("posts failed: %v", r.Failed)
	}
}

// noDuplicates fails the test if an event arrived twice.
func noDuplicates(t *testing.T, r report) {
	t.Helper()
	if r.Duplicates > 0 {
		t.Errorf("%d events arrived twice", r.Duplicates)
	}
}

func rollingRestart(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	command(t, "kubectl", "rollout", "restart", "--namespace="+i.release, "statefulset/mandrill-receiver")
	command(t, "kubectl", "rollout", "status", "--namespace="+i.release, "statefulset/mandrill-receiver", "--timeout=3m")
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
}

func deletedReceiver(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	command(t, "kubectl", "delete", "pod", "--namespace="+i.release, i.cluster.pods(t, i.release, "receiver")[0].Name)
	i.cluster.awaitReady(t, i.release, "receiver", 2)
	load.awaitProgress(t, 100)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
}

// The budget lets one receiver be evicted at a time.
func evictedReceivers(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	evict := func(name string) error {
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: i.release, Name: name}}
		return i.cluster.clientset.PolicyV1().Evictions(i.release).Evict(t.Context(), eviction)
	}
	pods := i.cluster.pods(t, i.release, "receiver")
	eventually(t, "the budget counts all of them", func() error {
		budget, err := i.cluster.clientset.PolicyV1().PodDisruptionBudgets(i.release).Get(t.Context(), "mandrill-receiver", metav1.GetOptions{})
		if err == nil && budget.Status.DisruptionsAllowed != 1 {
			err = fmt.Errorf("%+v", budget.Status)
		}
		return err
	})
	if err := evict(pods[0].Name); err != nil {
		t.Fatal(err)
	}
	if err := evict(pods[1].Name); !apierrors.IsTooManyRequests(err) {
		t.Errorf("the second eviction: %v, want a refusal by the budget", err)
	}
	i.cluster.awaitReady(t, i.release, "receiver", 2)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
}

// kill ends the process of a container as the kernel does when memory runs out.
func kill(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	_, id, found := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if !found {
		t.Fatalf("%s has no container", pod.Name)
	}
	inCluster(t, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", id)
}

// awaitRestart waits until the container of a pod has been started again and is ready.
func (c *cluster) awaitRestart(t *testing.T, old *corev1.Pod) {
	t.Helper()
	eventually(t, old.Name+" restarts", func() error {
		pod, err := c.clientset.CoreV1().Pods(old.Namespace).Get(t.Context(), old.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status := pod.Status.ContainerStatuses[0]; status.RestartCount == old.Status.ContainerStatuses[0].RestartCount || !status.Ready {
			return fmt.Errorf("%+v", status.State)
		}
		return nil
	})
}

func killedReceiver(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	for number := range i.cluster.pods(t, i.release, "receiver") {
		pod := &i.cluster.pods(t, i.release, "receiver")[number]
		kill(t, pod)
		i.cluster.awaitRestart(t, pod)
	}
	load.awaitProgress(t, 100)
	load.finish(t)
}

// While the API server does not answer, receivers serve the routes that they have. One that restarts meanwhile serves those that it
// kept on its volume.
func frozenAPIServer(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	pod := i.cluster.pods(t, i.release, "receiver")[0]
	signal := func(name string) {
		inCluster(t, "sh", "-c", "kill -"+name+" $(cat "+clusterFolder()+"/pid/kube-apiserver)")
	}
	signal("STOP")
	defer signal("CONT")
	kill(t, &pod)
	awaitKeptRoutes(t, &pod)
	signal("CONT")
	i.cluster.awaitReady(t, i.release, "receiver", 2)
	load.awaitProgress(t, 100)
	r := load.finish(t)
	for outcome := range r.Failed {
		if outcome != "503" && outcome != "EOF" && outcome != "connection refused" && outcome != "connection reset by peer" {
			t.Errorf("posts failed with %s", outcome)
		}
	}
}

// awaitKeptRoutes waits until the next container of a receiver serves the routes that it has kept. The API server need not answer.
func awaitKeptRoutes(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	log := fmt.Sprintf("%s/pods/%s_%s_%s/receiver/%d.log", clusterFolder(), pod.Namespace, pod.Name, pod.UID, pod.Status.ContainerStatuses[0].RestartCount+1)
	poll.NoError(t, 2*time.Minute, pod.Name+" serves the routes that it has kept", func() error {
		if printed := inCluster(t, "sh", "-c", "cat "+log+" 2>&1 || true"); !strings.Contains(printed, "serving the kept routes") {
			return errors.New(printed)
		}
		return nil
	})
}
