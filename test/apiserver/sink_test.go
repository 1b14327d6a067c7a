package apiserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// definition is that of a kind of sink that nobody knew when the operator was built or started.
func definition(group, plural, kind string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetUnstructuredContent(map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "names": map[string]any{"plural": plural, "singular": strings.ToLower(kind), "kind": kind},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	})
	return object
}

func inboxes() *unstructured.Unstructured { return definition("sinks.example.com", "inboxes", "Inbox") }

// letRead lets the operator read a kind, as Knative's role does for the kinds that are labelled so.
func letRead(t *testing.T, group, plural string) {
	t.Helper()
	resolver := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "addressable-resolver"}}
	_, err := controllerutil.CreateOrUpdate(t.Context(), admin, resolver, func() error {
		resolver.Rules = append(resolver.Rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{plural}, Verbs: []string{"get", "list", "watch"}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// remove deletes a definition and waits until it is gone.
func remove(t *testing.T, definition *unstructured.Unstructured) {
	t.Helper()
	if err := admin.Delete(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the kind goes", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(definition), definition); !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there: %w", errors.Join(err))
		}
		return nil
	})
}

func setAddress(t *testing.T, object *unstructured.Unstructured, address string) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"address":{"url":%q}}}`, address)
	if err := admin.Patch(t.Context(), object.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
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
	letRead(t, "sinks.example.com", "inboxes")
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
			if took := time.Since(begin); change > 0 && took > 55*time.Second { // it would be looked at after a minute
				t.Errorf("the address took %s to arrive", took)
			}
		}
		await(t, webhook, "Ready", "True", "Succeeded")
		remove(t, inboxes())
		await(t, webhook, "SinkProvided", "False", v1alpha1.ReasonSinkNotFound)
	}
}

// deadLetterURI is where the route of an object sends dead letters, as the receiver reads it.
func deadLetterURI(t *testing.T, webhook *v1alpha1.MandrillWebhook) string {
	t.Helper()
	secret := &corev1.Secret{}
	if err := admin.Get(t.Context(), routesSecret, secret); apierrors.IsNotFound(err) { // before there is any route
		return ""
	} else if err != nil {
		t.Fatal(err)
	}
	document, err := routes.Decode(secret.Data[routes.Key])
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range document.Routes {
		if route.Name == webhook.Namespace+"/"+webhook.Name && route.Delivery.DeadLetterSink != nil {
			return route.Delivery.DeadLetterSink.URI
		}
	}
	return ""
}

// testLateDeadLetterKind installs the kind of a dead letter sink after the object that needs it, changes its address and
// removes it. A sink that refuses everything shows where dead letters go.
func (i *installation) testLateDeadLetterKind(t *testing.T) {
	t.Helper()
	graves := definition("graves.example.com", "graves", "Grave")
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }))
	t.Cleanup(refusing.Close)
	webhook := i.create(t, true, func(o *v1alpha1.MandrillWebhook) {
		o.Spec.Sink = v1alpha1.Destination{URI: refusing.URL}
		o.Spec.Delivery = &v1alpha1.Delivery{DeadLetterSink: &v1alpha1.Destination{
			Ref: &v1alpha1.Reference{APIVersion: "graves.example.com/v1", Kind: "Grave", Name: "grave"}, URI: "/dead",
		}}
		o.Spec.Events = []v1alpha1.EventName{"unsub"} // which no other test emits
	})
	waits := func(reason, message string) {
		t.Helper()
		eventually(t, message, func() error {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
				return err
			}
			for _, name := range []string{"SinkProvided", "Ready"} {
				got := condition(webhook, name)
				if got.Status != metav1.ConditionFalse || got.Reason != reason || !strings.HasPrefix(got.Message, "delivery.deadLetterSink: "+message) {
					return fmt.Errorf("the conditions are %+v", webhook.Status.Conditions)
				}
			}
			return nil
		})
		if stalled := condition(webhook, "Stalled").Status; stalled == "True" {
			t.Error("the object is stalled, though what it waits for comes by itself")
		}
	}
	waits(v1alpha1.ReasonSinkNotFound, "the cluster has no kind Grave in graves.example.com/v1")
	if uri := deadLetterURI(t, webhook); uri != "" || webhook.Status.WebhookID != 0 {
		t.Errorf("the route has %q, and Mandrill the webhook %d, before there is a dead letter sink", uri, webhook.Status.WebhookID)
	}
	letRead(t, "graves.example.com", "graves")
	if err := admin.Create(t.Context(), graves.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	waits(v1alpha1.ReasonSinkNotFound, `there is no Grave "grave" in the namespace`)
	grave := &unstructured.Unstructured{}
	grave.SetUnstructuredContent(map[string]any{
		"apiVersion": "graves.example.com/v1", "kind": "Grave", "metadata": map[string]any{"namespace": webhook.Namespace, "name": "grave"},
	})
	eventually(t, "the kind is there", func() error { return admin.Create(t.Context(), grave.DeepCopy()) })
	waits(v1alpha1.ReasonSinkNotAddressable, `the Grave "grave" has no URL`)
	last := ""
	for change := range 2 {
		buried := &consumer{}
		buried.Server = httptest.NewServer(buried)
		t.Cleanup(buried.Close)
		begin := time.Now()
		setAddress(t, grave, buried.URL)
		last = buried.URL + "/dead"
		eventually(t, "the address arrives", func() error {
			if got := deadLetterURI(t, webhook); got != last {
				return errors.New("the dead letter sink is " + got)
			}
			return nil
		})
		if took := time.Since(begin); change > 0 && took > 55*time.Second { // it would be looked at after a minute
			t.Errorf("the address took %s to arrive", took)
		}
		await(t, webhook, "Ready", "True", "Succeeded")
		eventually(t, "dead letters arrive", func() error { // earlier ones went to the last address
			events, err := i.account.Emit("unsub")
			if err != nil {
				return err
			}
			if err := i.emulator.Flush(t.Context()); err != nil {
				return err
			}
			if !buried.got(events[0]) {
				return errors.New("an event did not arrive")
			}
			return nil
		})
	}
	remove(t, graves)
	waits(v1alpha1.ReasonSinkNotFound, "the cluster has no kind Grave")
	if got := deadLetterURI(t, webhook); got != last {
		t.Errorf("without the kind the route has %q, want %q still", got, last)
	}
}
