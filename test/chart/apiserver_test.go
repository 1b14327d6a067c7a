package chart_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// accepted asserts that the API server would accept objects, without a field that it does not know, and each of their pods in a namespace
// where Pod Security is restricted.
func accepted(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	if len(objects) == 0 {
		t.Error("there are no objects")
	}
	for _, object := range objects {
		id := object.GetKind() + " " + object.GetName()
		err := admin.Create(t.Context(), object.DeepCopy(), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
		if apierrors.IsAlreadyExists(err) { // a namespace, or the CRD
			err = replace(t.Context(), object)
		}
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if pod := podOf(t, object); pod != nil {
			if err := admin.Create(t.Context(), pod, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
				t.Errorf("a pod of %s: %v", id, err)
			}
		}
	}
}

func replace(ctx context.Context, object *unstructured.Unstructured) error {
	existing := object.DeepCopy()
	if err := admin.Get(ctx, client.ObjectKeyFromObject(object), existing); err != nil {
		return err
	}
	object = object.DeepCopy()
	object.SetResourceVersion(existing.GetResourceVersion())
	return admin.Update(ctx, object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// podOf returns a pod as the controller of a workload would make it, and nil for other objects.
func podOf(t *testing.T, object *unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	spec, found, err := unstructured.NestedMap(object.Object, "spec", "template")
	if err != nil || !found {
		return nil
	}
	var template corev1.PodTemplateSpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &template); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.GenerateName = object.GetNamespace(), "pod-"
	pod.Spec.ServiceAccountName = cmp.Or(pod.Spec.ServiceAccountName, "default") // as the admission of a cluster sets it, which envtest leaves out
	claims, _, _ := unstructured.NestedSlice(object.Object, "spec", "volumeClaimTemplates")
	for range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "buffer", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "buffer"},
		}})
	}
	return pod
}

// examples returns the values files that the chart shows.
func examples(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(chart, "examples/*.yaml"))
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d examples: %v", len(paths), err)
	}
	return paths
}

func TestChartIsAcceptedByAPIServer(t *testing.T) {
	t.Parallel()
	for _, values := range examples(t) {
		t.Run(filepath.Base(values), func(t *testing.T) {
			t.Parallel()
			accepted(t, template(t, "--values", values, "--set", "receiver.drain.ordinals={1,7}"))
			if output, err := helm(t, "lint", "--strict", "--quiet", "--values", values, chart); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// The hook before uninstalling has rights of its own, which nobody has before or after, and only in the namespaces that are watched.
func TestUninstallHookIsAcceptedByAPIServer(t *testing.T) {
	t.Parallel()
	for watched, kinds := range map[string][]string{"": {"ClusterRole"}, "shop,crm": {"Role", "Role"}} {
		var hooks []*unstructured.Unstructured
		var roles []string
		set := "uninstall.deleteObjects=true,uninstall.keepWebhooks=true"
		if watched != "" {
			set += ",watchNamespaces={" + watched + "}"
		}
		for _, object := range template(t, "--set", set) {
			if object.GetAnnotations()["helm.sh/hook"] != "pre-delete" {
				continue
			}
			hooks = append(hooks, object)
			if kind := object.GetKind(); strings.HasSuffix(kind, "Role") {
				roles = append(roles, kind)
			}
		}
		accepted(t, hooks)
		if !slices.Equal(roles, kinds) {
			t.Errorf("watching %q: the hook has %v, want %v", watched, roles, kinds)
		}
		w := workloadOf(t, find(t, hooks, "Job", "mandrill-operator-uninstall"))
		w.has(t, "uninstall", "--timeout=4m", "--keep-webhooks")
		if got := slices.Contains(w.args, "--namespaces="+watched); got != (watched != "") {
			t.Errorf("watching %q: the arguments are %q", watched, w.args)
		}
	}
}

func TestConfigIsAcceptedByAPIServer(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"config", "config/default", "config/drain", "config/sidecar-injection"} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			accepted(t, kustomize(t, filepath.Join(root, folder)))
		})
	}
}

func TestSamplesAreAcceptedByAPIServer(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(root, "config/samples/*.yaml"))
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d samples: %v", len(paths), err)
	}
	paths = append(paths, filepath.Join(root, "examples/proxies/gateway.yaml"))
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			accepted(t, decodeFile(t, path))
		})
	}
}

// kustomize returns the objects of a folder. Ours list resources, and change nothing.
func kustomize(t *testing.T, folder string) (objects []*unstructured.Unstructured) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var kustomization struct {
		APIVersion, Kind string
		Resources        []string
	}
	if err := yaml.UnmarshalStrict(data, &kustomization); err != nil {
		t.Fatal(err)
	}
	for _, resource := range kustomization.Resources {
		path := filepath.Join(folder, resource)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			objects = append(objects, kustomize(t, path)...)
			continue
		}
		objects = append(objects, decodeFile(t, path)...)
	}
	return objects
}

func decodeFile(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(data))
}

// config/default is what the chart installs, object by object.
func TestConfigIsTheChart(t *testing.T) {
	t.Parallel()
	ids := func(objects []*unstructured.Unstructured) map[string]bool {
		found := map[string]bool{}
		for _, object := range objects {
			if object.GetKind() != "Namespace" {
				found[fmt.Sprint(object.GetKind(), " ", object.GetNamespace(), "/", object.GetName())] = true
			}
		}
		return found
	}
	got, want := ids(kustomize(t, filepath.Join(root, "config/default"))), ids(template(t, "--set", "clusterScopedName=mandrill-operator"))
	for id := range want {
		if !got[id] {
			t.Errorf("config/default does not have the %s of the chart", id)
		}
	}
	for id := range got {
		if !want[id] {
			t.Errorf("the chart does not have the %s of config/default", id)
		}
	}
}
