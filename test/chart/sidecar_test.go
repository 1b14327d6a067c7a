package chart_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mandrill-operator/mandrill-operator/test/poll"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	injectLabel    = "mandrill-operator.io/inject"
	injectedLabel  = "mandrill-operator.io/receiver"
	bufferKey      = "mandrill-operator.io/buffer"
	bufferSizeKey  = "mandrill-operator.io/buffer-size"
	audiencesKey   = "mandrill-operator.io/token-audiences"
	receiverName   = "mandrill-receiver"
	policyPatience = time.Minute
)

var installPolicies sync.Once

// policies puts the policies of the chart in force for all tests of this package, those of two releases at once, as they may be in a
// cluster. They concern only pods with the label.
func policies(t *testing.T) {
	t.Helper()
	installPolicies.Do(func() {
		for _, name := range []string{"one", "two"} {
			for _, object := range sidecarPolicies(t, "clusterScopedName="+name) {
				if err := admin.Create(context.Background(), object, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	shared := webhookObject("shop", "shared-webhook", "Shared")
	if err := admin.Create(t.Context(), shared); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	awaitPolicies(t, func() error {
		for name, refused := range map[string]bool{"hook": false, "Not_A_Name": true, "shared-webhook": true} {
			if _, err := dryRun(t, consumer(name)); err != nil && !refused {
				return err
			} else if err == nil && refused {
				return fmt.Errorf("a pod of %s is not refused yet", name)
			}
		}
		return nil
	})
}

// awaitPolicies waits until the API server has noticed policies.
func awaitPolicies(t *testing.T, condition func() error) {
	t.Helper()
	poll.NoError(t, policyPatience, "policies are in force", condition)
}

func sidecarPolicies(t *testing.T, set string) (list []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range template(t, "--set", "sidecarInjection.enabled=true,"+set) {
		if object.GetLabels()["app.kubernetes.io/component"] == "sidecar-injection" {
			list = append(list, object)
		}
	}
	if len(list) != 6 {
		t.Fatalf("%d policies and bindings, want 6", len(list))
	}
	return list
}

func webhookObject(namespace, name, receiver string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "mandrill-operator.io/v1alpha1", "kind": "MandrillWebhook", "metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"receiver": receiver, "url": "https://app.example.com/" + name, "events": []any{"send"},
			"apiKeySecretRef": map[string]any{"name": "mandrill", "key": "api-key"}, "sink": map[string]any{"uri": "http://localhost:8080/"},
		},
	}}
}

// consumer is a pod of a consumer as restricted Pod Security wants it, with the label.
func consumer(webhook string, changes ...func(*corev1.Pod)) *corev1.Pod {
	yes, no := true, false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", GenerateName: "consumer-", Labels: map[string]string{injectLabel: webhook}, Annotations: map[string]string{}},
		Spec: corev1.PodSpec{
			ServiceAccountName:           "default", // as the admission of a cluster sets it, which envtest leaves out
			AutomountServiceAccountToken: &no,
			SecurityContext:              &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "app", Image: "app", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func annotated(pairs ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for i := 0; i < len(pairs); i += 2 {
			pod.Annotations[pairs[i]] = pairs[i+1]
		}
	}
}

func withVolume(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
}

func withInitContainer(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		container := *pod.Spec.Containers[0].DeepCopy()
		container.Name, container.Ports = name, nil
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, container)
	}
}

// dryRun returns a pod as the API server would store it.
func dryRun(t *testing.T, pod *corev1.Pod) (*corev1.Pod, error) {
	t.Helper()
	err := admin.Create(t.Context(), pod, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
	return pod, err
}

func created(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	pod, err := dryRun(t, pod)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// receiverOf returns the injected container, and fails if there is not exactly one.
func receiverOf(t *testing.T, pod *corev1.Pod) corev1.Container {
	t.Helper()
	var found []corev1.Container
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if container.Name == receiverName {
			found = append(found, container)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the pod has %d receivers", len(found))
	}
	return found[0]
}

// What the policy adds is in the golden file, and nothing else of the pod changes.
func TestSidecarIsInjected(t *testing.T) {
	t.Parallel()
	policies(t)
	pod := created(t, consumer("hook"))
	injected := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{receiverOf(t, pod)}, Volumes: pod.Spec.Volumes,
	}}
	data, err := yaml.Marshal(injected)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "sidecar.yaml", string(data))

	plain := consumer("hook")
	plain.Labels = nil
	if got := created(t, plain); len(got.Spec.InitContainers) > 0 || len(got.Spec.Volumes) > 0 {
		t.Errorf("a pod without the label has %v and %v", got.Spec.InitContainers, got.Spec.Volumes)
	}
	if diff := gocmp.Diff(plain.Spec.Containers, pod.Spec.Containers); diff != "" {
		t.Errorf("the containers of the consumer changed:\n%s", diff)
	}
}

// The sidecar starts first, and what the pod has stays as it is.
func TestSidecarLeavesThePodAsItIs(t *testing.T) {
	t.Parallel()
	policies(t)
	pod := created(t, consumer("hook", withVolume("data"), withInitContainer("migrate")))
	var containers, volumes []string
	for _, container := range pod.Spec.InitContainers {
		containers = append(containers, container.Name)
	}
	for _, volume := range pod.Spec.Volumes {
		volumes = append(volumes, volume.Name)
	}
	if want := []string{receiverName, "migrate"}; !slices.Equal(containers, want) {
		t.Errorf("init containers %v, want %v", containers, want)
	}
	if want := []string{"data", "mandrill-routes", "mandrill-operator-token"}; !slices.Equal(volumes, want) {
		t.Errorf("volumes %v, want %v", volumes, want)
	}
}

// A pod gets one receiver, also if it is changed after the policy, if several releases have the policy, and when a copy of it is made.
func TestSidecarIsInjectedOnce(t *testing.T) {
	t.Parallel()
	policies(t)
	for _, object := range decodeFile(t, "testdata/changes-pods.yaml") { // its name comes after those of the releases
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	var pod *corev1.Pod
	awaitPolicies(t, func() error {
		pod = created(t, consumer("hook", func(pod *corev1.Pod) { pod.Labels["test/change"] = "yes" }))
		if pod.Annotations["test/changed"] != "yes" {
			return errors.New("the other policy is not in force")
		}
		return nil
	})
	receiverOf(t, pod)

	again := consumer("hook")
	again.Labels, again.Spec = pod.Labels, pod.Spec
	if got := created(t, again); len(got.Spec.InitContainers) != 1 || len(got.Spec.Volumes) != 2 {
		t.Errorf("a copy of the pod has %d init containers and %d volumes", len(got.Spec.InitContainers), len(got.Spec.Volumes))
	}
}

func TestSidecarBuffer(t *testing.T) {
	t.Parallel()
	policies(t)
	for _, test := range []struct {
		name   string
		pod    *corev1.Pod
		volume string   // of the buffer
		size   string   // of an emptyDir
		args   []string // about the buffer
	}{
		{"none", consumer("hook"), "", "", nil},
		{"none by annotation", consumer("hook", annotated(bufferKey, "None")), "", "", nil},
		{"empty annotations", consumer("hook", annotated(bufferKey, "", bufferSizeKey, "")), "", "", nil},
		{"emptyDir", consumer("hook", annotated(bufferKey, "EmptyDir")), "mandrill-buffer", "1Gi", []string{"--buffer=embedded", "--buffer-dir=/mandrill/buffer", "--buffer-max-bytes=858993456"}},
		{"emptyDir of a size", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "1536Mi")), "mandrill-buffer", "1536Mi", []string{"--buffer-max-bytes=1288490188"}},
		{"emptyDir with empty annotations", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "")), "mandrill-buffer", "1Gi", nil},
		{"volume", consumer("hook", annotated(bufferKey, "data"), withVolume("data")), "data", "", []string{"--buffer=embedded", "--delivery-max-age=72h"}},
		{"volume of a size", consumer("hook", annotated(bufferKey, "data", bufferSizeKey, "100M"), withVolume("data")), "data", "", []string{"--buffer-max-bytes=80000000"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pod := created(t, test.pod)
			receiver := receiverOf(t, pod)
			mounts := map[string]string{}
			for _, mount := range receiver.VolumeMounts {
				mounts[mount.MountPath] = mount.Name
			}
			if mounts["/mandrill/buffer"] != test.volume {
				t.Errorf("the buffer is on %q, want %q", mounts["/mandrill/buffer"], test.volume)
			}
			for _, arg := range test.args {
				if !slices.Contains(receiver.Args, arg) {
					t.Errorf("no %s in %q", arg, receiver.Args)
				}
			}
			about := slices.DeleteFunc(slices.Clone(receiver.Args), func(arg string) bool { return !strings.HasPrefix(arg, "--buffer") })
			if test.volume == "" && len(about) > 0 {
				t.Errorf("without a buffer there are %q", about)
			}
			for _, volume := range pod.Spec.Volumes {
				if volume.Name == "mandrill-buffer" && (volume.EmptyDir == nil || volume.EmptyDir.SizeLimit.Cmp(resource.MustParse(test.size)) != 0) {
					t.Errorf("the volume of the buffer is %+v, want one of %s", volume.EmptyDir, test.size)
				}
			}
		})
	}
}

// An annotation gives the receiver tokens of the pod's account, one for each audience.
func TestSidecarHasTokensForAudiences(t *testing.T) {
	t.Parallel()
	policies(t)
	for annotation, want := range map[string][]string{
		"": nil,
		"eventing.knative.dev/broker/shop/default": {"eventing.knative.dev/broker/shop/default"},
		"https://sink.example.com/, other":         {"https://sink.example.com/", "other"},
	} {
		pod := created(t, consumer("hook", annotated(audiencesKey, annotation)))
		receiver := receiverOf(t, pod)
		var tokens []string
		for _, volume := range pod.Spec.Volumes {
			if volume.Name == "mandrill-tokens" {
				for i, source := range volume.Projected.Sources {
					token := source.ServiceAccountToken
					if flag := fmt.Sprintf("--oidc-token=%s=/mandrill/tokens/%d", token.Audience, i); token.Path != strconv.Itoa(i) || !slices.Contains(receiver.Args, flag) {
						t.Errorf("the token at %s is for %s; the receiver has no %s: %q", token.Path, token.Audience, flag, receiver.Args)
					}
					tokens = append(tokens, token.Audience)
				}
			}
		}
		if !slices.Equal(tokens, want) {
			t.Errorf("%q: tokens for %q, want %q", annotation, tokens, want)
		}
		mounted := slices.ContainsFunc(receiver.VolumeMounts, func(mount corev1.VolumeMount) bool { return mount.Name == "mandrill-tokens" && mount.ReadOnly })
		if mounted != (want != nil) {
			t.Errorf("%q: mounts %+v", annotation, receiver.VolumeMounts)
		}
	}
}

// A pod whose receiver could not work is refused, with what to change. Its ReplicaSet has the message in an Event.
func TestSidecarRefusals(t *testing.T) {
	t.Parallel()
	policies(t)
	port := func(port corev1.ContainerPort) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.Containers[0].Ports = []corev1.ContainerPort{port} }
	}
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"no name", consumer(""), `the label mandrill-operator.io/inject is "", which is not the name of a MandrillWebhook`},
		{"name that cannot be", consumer("My_Hook"), `the label mandrill-operator.io/inject is "My_Hook", which is not the name of a MandrillWebhook`},
		{"shared webhook", consumer("shared-webhook"), "the MandrillWebhook shared-webhook, which the label mandrill-operator.io/inject names, does not have receiver: Sidecar"},
		{"receiver of its own", consumer("hook", withInitContainer(receiverName)), "the pod has a container mandrill-receiver already"},
		{"volume of its own", consumer("hook", withVolume("mandrill-routes")), "the pod has a volume mandrill-routes, mandrill-operator-token, mandrill-buffer or mandrill-tokens already"},
		{"volume of the tokens", consumer("hook", withVolume("mandrill-tokens")), "the pod has a volume mandrill-routes"},
		{"audience with a space", consumer("hook", annotated(audiencesKey, "a b")), `the annotation mandrill-operator.io/token-audiences is "a b": write audiences`},
		{"empty audience", consumer("hook", annotated(audiencesKey, "a,")), `the annotation mandrill-operator.io/token-audiences is "a,": write audiences`},
		{"audience twice", consumer("hook", annotated(audiencesKey, "a,a")), "write audiences, each once"},
		{"port of webhooks", consumer("hook", port(corev1.ContainerPort{ContainerPort: 8090})), "a container of the pod has port 8090 or 9091"},
		{"port of metrics", consumer("hook", port(corev1.ContainerPort{ContainerPort: 9091})), "a container of the pod has port 8090 or 9091"},
		{"name of the port", consumer("hook", port(corev1.ContainerPort{ContainerPort: 80, Name: "mandrill"})), "or a port named mandrill, which the injected receiver needs"},
		{"unknown volume", consumer("hook", annotated(bufferKey, "data")), `the annotation mandrill-operator.io/buffer is "data": write None, EmptyDir, or the name of a volume`},
		{"wrong case", consumer("hook", annotated(bufferKey, "emptydir")), `the annotation mandrill-operator.io/buffer is "emptydir"`},
		{"size without a buffer", consumer("hook", annotated(bufferSizeKey, "1Gi")), "buffer-size needs mandrill-operator.io/buffer: EmptyDir"},
		{"size without a number", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "big")), `buffer-size is "big": write a size of at least 80Mi`},
		{"size with a fraction", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "1.5Gi")), `buffer-size is "1.5Gi": write a size of at least 80Mi`},
		{"size beyond all numbers", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "99999999999999999999Ti")), `write a size of at least 80Mi`},
		{"size beyond all bytes", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "999999999999999Ti")), `write a size of at least 80Mi`},
		{"size in milli", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "100m")), `buffer-size is "100m": write a size of at least 80Mi`},
		{"size too small", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "64Mi")), `buffer-size is "64Mi": write a size of at least 80Mi`},
		{"negative size", consumer("hook", annotated(bufferKey, "EmptyDir", bufferSizeKey, "-1Gi")), `buffer-size is "-1Gi": write a size of at least 80Mi`},
		{"mark without a receiver", consumer("hook", func(pod *corev1.Pod) { pod.Labels[injectedLabel] = "Sidecar" }), "and no container mandrill-receiver: remove this label"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := dryRun(t, test.pod)
			if err == nil || !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a refusal with %q", err, test.want)
			}
		})
	}
}

// The webhook may be made after the pod, or in another namespace, where nothing of it is known.
func TestSidecarMayComeBeforeItsWebhook(t *testing.T) {
	t.Parallel()
	policies(t)
	other := consumer("shared-webhook")
	other.Namespace = "crm"
	for _, pod := range []*corev1.Pod{consumer("not-yet"), other} {
		name := pod.Labels[injectLabel]
		for _, volume := range created(t, pod).Spec.Volumes {
			if volume.Secret != nil && (volume.Secret.SecretName != name+"-receiver" || volume.Secret.Optional != nil) {
				t.Errorf("the pod mounts %+v, want the Secret of %s, for which it waits", volume.Secret, name)
			}
		}
	}
}

// In a pod that runs as root the receiver still does not.
func TestSidecarDoesNotRunAsRoot(t *testing.T) {
	t.Parallel()
	policies(t)
	var root, user int64 = 0, 1000
	for _, test := range []struct{ pod, want *int64 }{{nil, nil}, {&user, nil}, {&root, new(int64(65532))}} {
		pod := consumer("hook", func(pod *corev1.Pod) {
			pod.Namespace = "default"
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: test.pod}
		})
		security := receiverOf(t, created(t, pod)).SecurityContext
		if !*security.RunAsNonRoot || gocmp.Diff(test.want, security.RunAsUser) != "" {
			t.Errorf("in a pod of user %v the receiver has %v", test.pod, security)
		}
	}
}

// Where the operator takes no reports, sidecars do not send any, and need no token.
func TestSidecarsReportOnlyIfTheOperatorListens(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"true": true, "false": false} {
		for _, object := range sidecarPolicies(t, "operator.reports="+value) {
			text := fmt.Sprint(object.Object)
			if object.GetKind() == "MutatingAdmissionPolicy" && (strings.Contains(text, "--operator-url=") != want || strings.Contains(text, `audience: "mandrill-operator"`) != want) {
				t.Errorf("operator.reports=%s: %s", value, text)
			}
		}
	}
}

// With watchNamespaces, pods elsewhere are left alone: the operator does not read their webhooks.
func TestSidecarsOfWatchedNamespaces(t *testing.T) {
	t.Parallel()
	for _, object := range sidecarPolicies(t, "watchNamespaces={shop}") {
		selector, found, _ := unstructured.NestedSlice(object.Object, "spec", "matchResources", "namespaceSelector", "matchExpressions")
		if strings.HasSuffix(object.GetKind(), "Binding") != found {
			t.Errorf("%s %s selects the namespaces %v", object.GetKind(), object.GetName(), selector)
		}
	}
	accepted(t, sidecarPolicies(t, "watchNamespaces={shop},clusterScopedName=watching"))
}

// The sample for clusters without the policy has the same receiver as an injected pod, except what the installation decides.
func TestPlainSidecarIsTheInjectedOne(t *testing.T) {
	t.Parallel()
	policies(t)
	injected, plain := created(t, consumer("sidecar")), samplePod(t, "sidecar.yaml")
	ignored := []gocmp.Option{cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b corev1.Volume) int { return cmp.Compare(a.Name, b.Name) })}
	if diff := gocmp.Diff(receiverOf(t, injected), receiverOf(t, plain), ignored...); diff != "" {
		t.Errorf("config/samples/sidecar.yaml differs from what is injected:\n%s", diff)
	}
	if diff := gocmp.Diff(injected.Spec.Volumes, plain.Spec.Volumes, ignored...); diff != "" {
		t.Errorf("config/samples/sidecar.yaml has other volumes than are injected:\n%s", diff)
	}
	if injected.Labels[injectedLabel] != plain.Labels[injectedLabel] {
		t.Errorf("config/samples/sidecar.yaml has the labels %v", plain.Labels)
	}
}

// The labelled pod of the sample gets a receiver.
func TestInjectedSampleGetsItsReceiver(t *testing.T) {
	t.Parallel()
	policies(t)
	receiverOf(t, samplePod(t, "sidecar-injected.yaml"))
}

// samplePod returns the pod of the Deployment of a sample, as the API server would store it.
func samplePod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	for _, object := range decodeFile(t, root+"/config/samples/"+name) {
		if object.GetKind() == "Deployment" {
			return created(t, podOf(t, object))
		}
	}
	t.Fatalf("%s has no Deployment", name)
	return nil
}
