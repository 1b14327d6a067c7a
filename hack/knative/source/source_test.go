// Package source_test runs Knative's conformance tests of event sources against our kind on a real cluster, that of KUBECONFIG.
// test/e2e runs it, because it needs an operator and an emulated Mandrill there.
package source_test

import (
	"context"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/eventing/test/conformance/helpers/sources"
	testlib "knative.dev/eventing/test/lib"
)

var (
	kind     = metav1.TypeMeta{APIVersion: "mandrill-operator.io/v1alpha1", Kind: "MandrillWebhook"}
	resource = schema.GroupVersionResource{Group: "mandrill-operator.io", Version: "v1alpha1", Resource: "mandrillwebhooks"}
)

// runner knows our kind as a source that lives long, and makes an object of it. Knative's command for its own suite takes only kinds
// whose names end in "Source".
func runner(t *testing.T) testlib.ComponentsTestRunner {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("there is no cluster: run make e2e-knative")
	}
	r := testlib.ComponentsTestRunner{
		ComponentFeatureMap: map[metav1.TypeMeta][]testlib.Feature{kind: {testlib.FeatureBasic, testlib.FeatureLongLiving}},
		ComponentsToTest:    []metav1.TypeMeta{kind},
	}
	r.AddComponentSetupClientOption(kind, func(client *testlib.Client) { makeSource(t, client) })
	return r
}

// makeSource makes a ready webhook where the suite looks for it: under the name of the kind.
func makeSource(t *testing.T, client *testlib.Client) {
	t.Helper()
	ctx := t.Context()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mandrill"}, StringData: map[string]string{"api-key": "demo-key"}}
	if _, err := client.Kube.CoreV1().Secrets(client.Namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	webhooks := client.Dynamic.Resource(resource).Namespace(client.Namespace)
	name := strings.ToLower(kind.Kind)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kind.APIVersion, "kind": kind.Kind, "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"installation": os.Getenv("INSTALLATION"), "events": []any{"open"}, "sink": map[string]any{"uri": "http://consumer.example.com/"},
			"apiKeySecretRef": map[string]any{"name": "mandrill", "key": "api-key"},
		},
	}}
	if _, err := webhooks.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Before the suite deletes the namespace, as a user should, so that the webhook is deleted at Mandrill.
	client.Cleanup(func() {
		if err := webhooks.Delete(context.WithoutCancel(ctx), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	client.WaitForResourceReadyOrFail(name, &kind)
}

func TestSourceCRDMetadata(t *testing.T) {
	sources.SourceCRDMetadataTestHelperWithChannelTestRunner(t, runner(t), testlib.SetupClientOptionNoop)
}

func TestSourceCRDRBAC(t *testing.T) {
	sources.SourceCRDRBACTestHelperWithComponentsTestRunner(t, runner(t), testlib.SetupClientOptionNoop)
}

func TestSourceCRDRegistry(t *testing.T) {
	sources.SourceCRDRegistryTestHelperWithChannelTestRunner(t, runner(t), testlib.SetupClientOptionNoop)
}

func TestSourceStatus(t *testing.T) {
	sources.SourceStatusTestHelperWithComponentsTestRunner(t, runner(t), testlib.SetupClientOptionNoop)
}
