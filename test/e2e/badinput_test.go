package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// A receiver whose volume cannot be written says why, does not get ready, and gets ready when the volume can be written.
func TestVolumeThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	needsNode(t)
	i := parallel(t, "disks")
	folder := filepath.Join(clusterFolder(), "given-volumes")
	// One is too small for a buffer, and one is read-only, with the group that the kubelet would give it otherwise.
	for number, options := range []string{"size=1m", "size=200m,ro,mode=2775,gid=65532"} {
		path := filepath.Join(folder, strconv.Itoa(number))
		inCluster(t, "mkdir", "-p", path)
		inCluster(t, "mount", "-t", "tmpfs", "-o", options, "tmpfs", path)
		t.Cleanup(func() { cleanUp(t, os.Getenv("E2E_CLUSTER"), "exec", "umount", "--lazy", path) })
		apply(t, manifest(t, "testdata/volume.yaml", "ORDINAL", strconv.Itoa(number), "NAMESPACE", i.release, "FOLDER", path))
		t.Cleanup(func() {
			cleanUp(t, "kubectl", "delete", "persistentvolume", fmt.Sprintf("given-%d", number), "--wait=false")
		})
	}
	awaitTerminated(t, i.release)
	apply(t, restricted(i.release))
	if output, err := i.helm(t, chart, tag(), "receiver.buffer.volume.storageClassName=given", "--wait=hookOnly"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	i.awaitUnwritable(t, "mandrill-receiver-0", "no space left on device")
	i.awaitUnwritable(t, "mandrill-receiver-1", "read-only file system")
	inCluster(t, "mount", "-o", "remount,size=200m", filepath.Join(folder, "0"))
	inCluster(t, "mount", "-o", "remount,rw", filepath.Join(folder, "1"))
	command(t, "kubectl", "delete", "pod", "mandrill-receiver-1", "--namespace="+i.release) // a pod keeps the mode of its mount
	i.cluster.awaitReady(t, i.release, "receiver", 2)
}

// ready asks a receiver whether it is ready, and returns what it says.
func (i *installation) ready(t *testing.T, pod string) error {
	t.Helper()
	data, err := i.cluster.clientset.CoreV1().Pods(i.release).ProxyGet("", pod, "9090", "/readyz", nil).DoRaw(t.Context())
	if err != nil {
		return fmt.Errorf("%w: %s", err, data)
	}
	return nil
}

// awaitUnwritable waits until a receiver is not ready because of its buffer, and its log says why.
func (i *installation) awaitUnwritable(t *testing.T, pod, cause string) {
	t.Helper()
	eventually(t, pod, func() error {
		if err := i.ready(t, pod); err == nil || !strings.Contains(err.Error(), "the buffer cannot be written") {
			return fmt.Errorf("it says %w", err)
		}
		if logs := command(t, "kubectl", "logs", "--namespace="+i.release, pod); !strings.Contains(logs, cause) {
			return fmt.Errorf("its log does not say %q:\n%s", cause, logs)
		}
		return nil
	})
}

// A sink of a kind that the operator may not read is named in the status, with the right that is missing.
func TestSinkThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	i := parallel(t, "nosy")
	i.install(t, "receiver.replicas=1")
	apply(t, i.sample(t, i.objects, "{apiVersion: v1, kind: Service, name: consumer}", "{apiVersion: coordination.k8s.io/v1, kind: Lease, name: consumer}"))
	eventually(t, "the status names the right", func() error {
		for _, condition := range i.cluster.webhook(t, i.objects, "transactional").Status.Conditions {
			if condition.Type == v1alpha1.ConditionSinkProvided && condition.Status == metav1.ConditionFalse && condition.Reason == v1alpha1.ReasonSinkNotAllowed &&
				strings.Contains(condition.Message, "may not read the kind Lease") {
				t.Log(condition.Message)
				return nil
			}
		}
		return errors.New("it does not")
	})
}

// A StorageClass that does not exist is named by NOTES, and by the pod that waits for it.
func TestNoStorageClass(t *testing.T) {
	t.Parallel()
	i := parallel(t, "classless")
	awaitTerminated(t, i.release)
	apply(t, restricted(i.release))
	output, err := i.helm(t, chart, tag(), "receiver.buffer.volume.storageClassName=missing", "--wait=hookOnly")
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if want := "there is no StorageClass missing"; !strings.Contains(output, want) {
		t.Errorf("NOTES do not say %q:\n%s", want, output)
	}
	eventually(t, "the pod says why it waits", func() error {
		for _, pod := range i.cluster.pods(t, i.release, "receiver") {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.PodScheduled && strings.Contains(condition.Message, "PersistentVolumeClaims") {
					return nil
				}
			}
		}
		return errors.New("it does not")
	})
}
