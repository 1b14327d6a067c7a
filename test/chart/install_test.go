package chart_test

import (
	"context"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// newNamespace makes a namespace for one release. There are no controllers: nothing in it runs, and claims are made by the test.
func newNamespace(t *testing.T) string {
	t.Helper()
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "release-"}}
	if err := admin.Create(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	return made.Name
}

// upgrade installs or upgrades the release mandrill-operator and returns its NOTES.
func upgrade(t *testing.T, place string, set ...string) (string, error) {
	t.Helper()
	args := []string{"upgrade", "--install", "mandrill-operator", chart, "--namespace", place, "--set", "crds.install=false"}
	for _, each := range set {
		args = append(args, "--set", each)
	}
	return helm(t, args...)
}

func mustUpgrade(t *testing.T, place string, set ...string) string {
	t.Helper()
	notes, err := upgrade(t, place, set...)
	if err != nil {
		t.Fatal(err)
	}
	return notes
}

// claim makes a claim as the StatefulSet controller would.
func claim(t *testing.T, place, name, size string) {
	t.Helper()
	made := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: place, Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}}
	if err := admin.Create(t.Context(), made); err != nil {
		t.Fatal(err)
	}
}

// drains returns the Jobs that drain volumes, by the claim.
func drains(t *testing.T, place string) map[string]batchv1.Job {
	t.Helper()
	var jobs batchv1.JobList
	if err := admin.List(t.Context(), &jobs, client.InNamespace(place)); err != nil {
		t.Fatal(err)
	}
	found := map[string]batchv1.Job{}
	for _, job := range jobs.Items {
		found[job.Spec.Template.Spec.Volumes[0].PersistentVolumeClaim.ClaimName] = job
	}
	return found
}

// A volume whose receiver does not come back gets a Job that empties it: after scaling in, and after a change of the buffer mode. The
// Job goes when the receiver is back.
func TestVolumesWithoutReceiverAreDrained(t *testing.T) {
	t.Parallel()
	place := newNamespace(t)
	mustUpgrade(t, place)
	for _, name := range []string{"buffer-mandrill-receiver-0", "buffer-mandrill-receiver-1", "buffer-other-receiver-5", "buffer-mandrill-receiver-cluster-2"} {
		claim(t, place, name, "1Gi")
	}
	for _, step := range []struct {
		set  []string
		want []string
	}{
		{nil, nil},
		{[]string{"receiver.replicas=1"}, []string{"buffer-mandrill-receiver-1"}},
		{[]string{"receiver.replicas=0"}, []string{"buffer-mandrill-receiver-0", "buffer-mandrill-receiver-1"}},
		{[]string{"receiver.replicas=3"}, nil},
		{[]string{"receiver.buffer.mode=None"}, []string{"buffer-mandrill-receiver-0", "buffer-mandrill-receiver-1"}},
		{[]string{"receiver.buffer.mode=None", "receiver.drain.enabled=false"}, nil},
	} {
		notes := mustUpgrade(t, place, step.set...)
		jobs := drains(t, place)
		if len(jobs) != len(step.want) {
			t.Errorf("%v: %d Jobs, want %d", step.set, len(jobs), len(step.want))
		}
		for _, name := range step.want {
			job, ok := jobs[name]
			if !ok || !strings.Contains(notes, "  "+name+"\n") {
				t.Errorf("%v: %s has no Job, or NOTES do not say so:\n%s", step.set, name, notes)
				continue
			}
			args := strings.Join(job.Spec.Template.Spec.Containers[0].Args, " ")
			for _, want := range []string{"--drain", "--buffer=embedded", "--buffer-max-bytes=858993459"} { // of the claim, not of the values
				if !strings.Contains(args, want) {
					t.Errorf("%v: the Job of %s does not have %s: %s", step.set, name, want, args)
				}
			}
			for label, value := range job.Spec.Template.Labels {
				if label == "app.kubernetes.io/component" && value == "receiver" {
					t.Errorf("the Service would send requests to the Job of %s", name)
				}
			}
		}
	}
}

// The password of a clustered buffer is generated once.
func TestPasswordIsKept(t *testing.T) {
	t.Parallel()
	place := newNamespace(t)
	password := func() string {
		t.Helper()
		mustUpgrade(t, place, "receiver.buffer.mode=Cluster", "receiver.buffer.cluster.tls=None")
		var secret corev1.Secret
		if err := admin.Get(t.Context(), types.NamespacedName{Namespace: place, Name: "mandrill-receiver-buffer-password"}, &secret); err != nil {
			t.Fatal(err)
		}
		return string(secret.Data["password"])
	}
	if first, second := password(), password(); first != second || len(first) < 16 {
		t.Errorf("passwords of %d and %d characters, want the same of at least 16", len(first), len(second))
	}
}

// An upgrade that would lose what is buffered, or that Kubernetes refuses with words about immutable fields, says what to do.
func TestUpgradesThatAreRefused(t *testing.T) {
	t.Parallel()
	place := newNamespace(t)
	mustUpgrade(t, place)
	if output, err := upgrade(t, place, "receiver.buffer.volume.size=16Gi"); err == nil || !strings.Contains(output, "kubectl delete statefulset mandrill-receiver -n "+place+" --cascade=orphan") {
		t.Errorf("another size of volumes: %v", err)
	}
	mustUpgrade(t, place, "receiver.buffer.mode=Cluster", "receiver.buffer.cluster.tls=None")
	if output, err := upgrade(t, place); err == nil || !strings.Contains(output, "what waits in the cluster would not be delivered") {
		t.Errorf("from a cluster to volumes: %v", err)
	}
	mustUpgrade(t, place, "receiver.buffer.abandonCluster=true")
	var set appsv1.StatefulSet
	if err := admin.Get(t.Context(), types.NamespacedName{Namespace: place, Name: "mandrill-receiver"}, &set); err != nil {
		t.Error(err)
	}
}

// NOTES say the next step, and what does not fit the cluster.
func TestNotes(t *testing.T) {
	t.Parallel()
	notes := mustUpgrade(t, newNamespace(t))
	for _, want := range []string{
		"2 receivers, buffer Volume", "publicURL is not set", "Lead your public URL to port 80 of the Service mandrill-receiver", "kubectl apply -f -",
		"WARNING: the cluster has no default StorageClass",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("NOTES do not have %q:\n%s", want, notes)
		}
	}
	notes = mustUpgrade(t, newNamespace(t), "publicURL=https://hooks.example.com/mandrill", "ingress.enabled=true", "receiver.buffer.mode=None", "watchNamespaces={crm}")
	if strings.Contains(notes, "publicURL is not set") || strings.Contains(notes, "StorageClass") || !strings.Contains(notes, "Only these namespaces are watched: crm") {
		t.Errorf("NOTES:\n%s", notes)
	}
}

// Two releases with one public URL would get each other's batches.
func TestNotesWarnOfTheSameURL(t *testing.T) {
	t.Parallel()
	first, second := newNamespace(t), newNamespace(t)
	const host = "same.example.com"
	set := []string{"publicURL=https://" + host + "/mandrill", "ingress.enabled=true"}
	if notes := mustUpgrade(t, first, set...); strings.Contains(notes, "WARNING: the Ingress") {
		t.Errorf("NOTES warn of the release itself:\n%s", notes)
	}
	if notes, want := mustUpgrade(t, second, set...), "WARNING: the Ingress "+first+"/mandrill-receiver has the same host and path, "+host+"/mandrill"; !strings.Contains(notes, want) {
		t.Errorf("NOTES do not have %q:\n%s", want, notes)
	}
	if notes := mustUpgrade(t, second, "publicURL=https://"+host+"/other"); strings.Contains(notes, "WARNING: the Ingress") {
		t.Errorf("NOTES warn of another path:\n%s", notes)
	}
}

// The manifest in NOTES is one that the API server accepts.
func TestManifestInNotes(t *testing.T) {
	t.Parallel()
	notes := mustUpgrade(t, newNamespace(t))
	_, rest, _ := strings.Cut(notes, "<<EOF\n")
	manifest, _, found := strings.Cut(rest, "\n  EOF")
	if !found {
		t.Fatalf("NOTES have no manifest:\n%s", notes)
	}
	accepted(t, decode(t, strings.ReplaceAll(manifest, "\n  ", "\n")[2:]))
}

// A chart that is not of a release names no registry: its installation is refused at once, instead of pods that pull nothing.
func TestInstallationNamesARegistry(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"image.registry=":                     "image.registry is not set: this chart is not of a release",
		"image.registry=mandrill-operator.io": "",
		"operator.image.repository=ghcr.io/acme/operator,receiver.image.repository=ghcr.io/acme/receiver": "",
	} {
		_, err := upgrade(t, newNamespace(t), set)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", set, err, want)
		}
	}
}

// Installing twice, without the CRD, and beside another release.
func TestCRDOfAnother(t *testing.T) {
	t.Parallel()
	notes, err := helm(t, "install", "mandrill-operator", chart, "--namespace", newNamespace(t)) // the test's CRD is not Helm's
	if err != nil || !strings.Contains(notes, "the CRD belongs to another tool and was not changed") {
		t.Errorf("%v\n%s", err, notes)
	}
	place := newNamespace(t)
	mustUpgrade(t, place)
	if output, err := helm(t, "install", "mandrill-operator", chart, "--namespace", place); err == nil || !strings.Contains(output, "cannot reuse a name that is still in use") {
		t.Errorf("installing twice: %v", err)
	}
	if _, err := helm(t, "uninstall", "mandrill-operator", "--namespace", place); err != nil {
		t.Error(err)
	}
	var set appsv1.StatefulSet
	if err := admin.Get(t.Context(), types.NamespacedName{Namespace: place, Name: "mandrill-receiver"}, &set); !apierrors.IsNotFound(err) && set.DeletionTimestamp == nil {
		t.Errorf("after uninstalling, the StatefulSet is there: %v", err)
	}
}

// changeCRD changes the installed CRD as Helm would.
func changeCRD(t *testing.T, change func(crd *unstructured.Unstructured)) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // also in cleanups
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := admin.Get(ctx, types.NamespacedName{Name: "mandrillwebhooks.mandrill-operator.io"}, crd); err != nil {
		t.Fatal(err)
	}
	change(crd)
	crd.SetManagedFields(nil)
	crd.SetResourceVersion("")
	unstructured.RemoveNestedField(crd.Object, "status")
	if err := admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner("helm"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
}

// makeOlder removes a field from the CRD until the test ends.
func makeOlder(t *testing.T) {
	t.Helper()
	changeCRD(t, func(crd *unstructured.Unstructured) {
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		spec, _, _ := unstructured.NestedFieldNoCopy(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec")
		unstructured.RemoveNestedField(spec.(map[string]any), "properties", "installation")
		unstructured.RemoveNestedField(spec.(map[string]any), "x-kubernetes-validations")
		_ = unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions")
	})
}

// A CRD that is older than the chart would drop fields of objects and of their status. The refusal names its owner, and what to do.
func TestOlderCRD(t *testing.T) { //nolint:paralleltest // it changes the CRD
	var before *unstructured.Unstructured
	changeCRD(t, func(crd *unstructured.Unstructured) { before = crd.DeepCopy() })
	t.Cleanup(func() {
		changeCRD(t, func(crd *unstructured.Unstructured) { crd.Object = before.DeepCopy().Object })
	})
	heir, other := newNamespace(t), newNamespace(t)
	owned := func(by string) {
		changeCRD(t, func(crd *unstructured.Unstructured) {
			crd.SetLabels(map[string]string{"app.kubernetes.io/managed-by": "Helm"})
			crd.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "mandrill-operator", "meta.helm.sh/release-namespace": by})
		})
	}
	refused := func(place, want string) {
		t.Helper()
		want = "is older than this chart: it has no spec.installation. It belongs to " + want
		if output, err := upgrade(t, place); err == nil || !strings.Contains(output, want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	makeOlder(t)
	refused(heir, "another tool than Helm: apply config/crd of this version first.")
	owned("gone")
	refused(heir, "the release gone/mandrill-operator, which is gone. Take it over, and try again: kubectl annotate --overwrite"+
		" customresourcedefinition mandrillwebhooks.mandrill-operator.io meta.helm.sh/release-name=mandrill-operator meta.helm.sh/release-namespace="+heir)
	owned(heir)
	mustUpgrade(t, heir, "crds.install=true")
	makeOlder(t)
	refused(other, "the release "+heir+"/mandrill-operator: upgrade that first.")
	mustUpgrade(t, heir, "crds.install=true")
	mustUpgrade(t, other)
}
