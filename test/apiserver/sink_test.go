package apiserver_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// inboxes is a kind of sink that nobody knew when the operator was built or started.
func inboxes() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetUnstructuredContent(map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "inboxes.sinks.example.com"},
		"spec": map[string]any{
			"group": "sinks.example.com", "scope": "Namespaced", "names": map[string]any{"plural": "inboxes", "singular": "inbox", "kind": "Inbox"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	})
	return object
}

// testLateKind installs a kind after the object that needs it, changes its address, removes it and installs it again.
// Every change arrives by a watch, sooner than the operator would look by itself.
func (i *installation) testLateKind(t *testing.T) {
	t.Helper()
	webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Sink = v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "sinks.example.com/v1", Kind: "Inbox", Name: "inbox"}, URI: "/events"}
		o.Spec.Events = []v1alpha1.EventName{"spam"} // which no test emits: the address leads nowhere
	})
	await(t, webhook, "SinkProvided", "False", v1alpha1.ReasonSinkNotFound)
	// what Knative's role has for the kinds that are labelled so
	resolver := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "addressable-resolver"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"sinks.example.com"}, Resources: []string{"inboxes"}, Verbs: []string{"get", "list", "watch"}}},
	}
	if err := admin.Create(t.Context(), resolver); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		if err := admin.Create(t.Context(), inboxes()); err != nil {
			t.Fatal(err)
		}
		inbox := &unstructured.Unstructured{}
		inbox.SetUnstructuredContent(map[string]any{
			"apiVersion": "sinks.example.com/v1", "kind": "Inbox", "metadata": map[string]any{"namespace": webhook.Namespace, "name": "inbox"},
		})
		eventually(t, "the kind is there", func() error { return admin.Create(t.Context(), inbox.DeepCopy()) })
		await(t, webhook, "SinkProvided", "False", v1alpha1.ReasonSinkNotAddressable)
		for change := range 2 {
			address := fmt.Sprintf("http://inbox-%d-%d.example", round, change)
			patch := fmt.Sprintf(`{"status":{"address":{"url":%q}}}`, address)
			if change == 0 {
				patch = fmt.Sprintf(`{"status":{"addresses":[{"name":"broken"},{"url":%q}]}}`, address)
			}
			begin := time.Now()
			if err := admin.Patch(t.Context(), inbox.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the address arrives", func() error {
				if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil || webhook.Status.SinkURI == address+"/events" {
					return err
				}
				return errors.New("the sink is " + webhook.Status.SinkURI)
			})
			if took := time.Since(begin); change > 0 && took > 30*time.Second { // it would be looked at after a minute
				t.Errorf("the address took %s to arrive", took)
			}
		}
		await(t, webhook, "Ready", "True", "Succeeded")
		if err := admin.Delete(t.Context(), inboxes()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the kind goes", func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(inboxes()), inboxes()); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", errors.Join(err))
			}
			return nil
		})
		await(t, webhook, "SinkProvided", "False", v1alpha1.ReasonSinkNotFound)
	}
}
