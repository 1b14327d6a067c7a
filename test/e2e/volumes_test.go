package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// scale sets the number of pods without the chart, as somebody does who sets it back soon: what waits on the volumes of receivers that
// are gone waits until they come back.
func (i *installation) scale(t *testing.T, workload string, replicas int) {
	t.Helper()
	command(t, "kubectl", "patch", "--namespace="+i.release, workload, fmt.Sprintf(`--patch={"spec": {"replicas": %d}}`, replicas))
}

// Without a receiver no webhook is Ready.
func TestNoReceivers(t *testing.T) {
	t.Parallel()
	i := parallel(t, "empty")
	i.install(t)
	i.webhooks(t)
	i.scale(t, "statefulset/mandrill-receiver", 0)
	begin := time.Now()
	i.cluster.awaitCondition(t, i.objects, "load", v1alpha1.ConditionReady, metav1.ConditionFalse)
	t.Logf("Ready was False %v after the scaling", time.Since(begin).Round(time.Second))
	i.scale(t, "statefulset/mandrill-receiver", 2)
	i.cluster.awaitReady(t, i.release, "receiver", 2)
	i.cluster.awaitCondition(t, i.objects, "load", v1alpha1.ConditionReady, metav1.ConditionTrue)
}

// What waits on the volumes of receivers that are scaled away is delivered, by a Job for each volume.
func TestScaledIn(t *testing.T) { //nolint:tparallel // its parts follow each other
	t.Parallel()
	i := parallel(t, "scaled")
	i.install(t)
	i.webhooks(t)
	i.setSink(t, true, 0)
	load := i.startLoad(t, nil)
	load.awaitProgress(t, 500)
	i.upgrade(t, "receiver.replicas=1")
	i.awaitDrains(t, 1)
	load.awaitProgress(t, 100)
	load.stop(t)
	i.upgrade(t, "receiver.replicas=0")
	i.awaitDrains(t, 0, 1)
	i.setSink(t, false, 0)
	noDuplicates(t, load.finish(t))
	command(t, "kubectl", "wait", "--namespace="+i.release, "--for=condition=complete", "job", "--all", "--timeout=5m")

	i.upgrade(t, "receiver.replicas=3")
	i.awaitDrains(t)
	i.cluster.awaitReady(t, i.release, "receiver", 3)
	t.Run("WithoutTheChart", func(t *testing.T) { scaledByHand(t, i) })
}

// kubectl scale would make no Jobs, so it is refused with the command that does. Who changes the StatefulSet itself gets none either,
// until the next upgrade.
func scaledByHand(t *testing.T, i *installation) {
	i.setSink(t, true, 0)
	load := i.startLoad(t, nil)
	load.awaitProgress(t, 500)
	load.stop(t)
	output, err := run(t.Context(), "", "kubectl", "scale", "--namespace="+i.release, "statefulset/mandrill-receiver", "--replicas=1")
	if err == nil || !strings.Contains(output, "--set receiver.replicas=1") {
		t.Errorf("kubectl scale: %v: %s", err, output)
	}
	i.scale(t, "statefulset/mandrill-receiver", 1)
	i.cluster.awaitReady(t, i.release, "receiver", 1)
	i.upgrade(t, "receiver.replicas=1")
	i.awaitDrains(t, 1, 2)
	i.setSink(t, false, 0)
	noDuplicates(t, load.finish(t))
}

// awaitDrains waits until there are Jobs for the volumes of these receivers, and no others.
func (i *installation) awaitDrains(t *testing.T, ordinals ...int) {
	t.Helper()
	want := make([]string, 0, len(ordinals))
	for _, ordinal := range ordinals {
		want = append(want, fmt.Sprintf("buffer-mandrill-receiver-%d", ordinal))
	}
	eventually(t, "Jobs that drain volumes", func() error {
		got := command(t, "kubectl", "get", "jobs", "--namespace="+i.release, "--sort-by={.metadata.name}",
			"--output=jsonpath={.items[*].spec.template.spec.volumes[*].persistentVolumeClaim.claimName}")
		if got != strings.Join(want, " ") {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

// A receiver whose volume is lost starts with an empty one. It delivers what comes until it ends, so nothing is lost with the volume but
// what waits for another attempt. The first connections of new pods may fail: those events have arrived before.
func TestVolumeIsLost(t *testing.T) { //nolint:tparallel // its parts follow each other
	t.Parallel()
	i := parallel(t, "lossy")
	i.install(t, "receiver.shutdownDelaySeconds=20") // in which it delivers what it has
	i.webhooks(t)
	load := i.startLoad(t, map[string]any{"lanes": 1})
	pod := i.cluster.pods(t, i.release, "receiver")[1]
	claim := func() string {
		return command(t, "kubectl", "get", "persistentvolumeclaim", "buffer-"+pod.Name, "--namespace="+i.release, "--ignore-not-found", "--output=jsonpath={.metadata.uid}")
	}
	load.awaitProgress(t, 100)
	eventually(t, "all accepted events have arrived for a moment", func() error {
		if r := load.report(t); r.Missing > 0 {
			return errors.New(r.String())
		}
		return nil
	})
	before := claim()
	command(t, "kubectl", "delete", "persistentvolumeclaim", "buffer-"+pod.Name, "--namespace="+i.release, "--wait=false")
	command(t, "kubectl", "delete", "pod", pod.Name, "--namespace="+i.release)
	i.cluster.awaitReady(t, i.release, "receiver", 2)
	if after := claim(); after == before || after == "" {
		t.Errorf("the claim is %q, want another than %q", after, before)
	}
	load.awaitProgress(t, 100)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)

	t.Run("RoutesReachEveryReceiver", func(t *testing.T) { routesReachEveryReceiver(t, i) })
	t.Run("ImageThatCannotBePulled", func(t *testing.T) { unknownImage(t, i) })
}

// New webhooks are served by each receiver, and deleted ones by none.
func routesReachEveryReceiver(t *testing.T, i *installation) {
	pods := i.cluster.pods(t, i.release, "receiver")
	loads := map[string]*load{}
	for number, pod := range pods {
		name := fmt.Sprintf("new-%d", number)
		apply(t, i.loadWebhook(t, name))
		i.cluster.awaitCondition(t, i.objects, name, v1alpha1.ConditionReady, metav1.ConditionTrue)
		begin := time.Now()
		loads[name] = i.startLoadOf(t, name, map[string]any{"target": "http://" + pod.Status.PodIP + ":8080"})
		loads[name].awaitProgress(t, 15)
		t.Logf("%s accepted a batch %v after the webhook was ready", pod.Name, time.Since(begin).Round(100*time.Millisecond))
	}
	for name := range loads {
		command(t, "kubectl", "delete", "mandrillwebhook", name, "--namespace="+i.objects, "--timeout=60s")
	}
	for _, load := range loads {
		eventually(t, "a deleted webhook is not served", func() error {
			if r := load.report(t); r.Failed["404"] == 0 {
				return errors.New(r.String())
			}
			return nil
		})
	}
}

// An upgrade to an image that cannot be pulled replaces no more receivers than the budget allows. The pod says which image it is, and
// a rollback needs nothing else.
func unknownImage(t *testing.T, i *installation) {
	load := i.startLoad(t, nil)
	output, err := i.helm(t, chart, tag(), "receiver.image.tag=missing", "operator.image.tag=missing", "--timeout=15s")
	if err == nil {
		t.Errorf("helm upgrade succeeded:\n%s", output)
	}
	eventually(t, "the pods say which images are missing", func() error { // a receiver ends before another is made with the new image
		states := command(t, "kubectl", "get", "pods", "--namespace="+i.release, "--output=jsonpath={.items[*].status.containerStatuses[*].state.waiting}")
		states = strings.ReplaceAll(states, "ErrImagePull", "ImagePullBackOff") // which follow each other
		for _, want := range []string{"ImagePullBackOff", registry() + "/receiver:missing", registry() + "/operator:missing"} {
			if !strings.Contains(states, want) {
				return fmt.Errorf("%s is missing in: %s", want, states)
			}
		}
		return nil
	})
	i.cluster.awaitReady(t, i.release, "receiver", 1)
	command(t, "helm", "rollback", "mandrill-operator", "--namespace="+i.release, "--wait", "--timeout=3m")
	i.cluster.awaitReady(t, i.release, "receiver", 2)
	load.awaitProgress(t, 100)
	r := load.finish(t)
	noFailedPosts(t, r)
	noDuplicates(t, r)
}
