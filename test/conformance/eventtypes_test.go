package conformance_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	fakeeventingclient "knative.dev/eventing/pkg/client/injection/client/fake"
	fakeeventtypes "knative.dev/eventing/pkg/client/injection/informers/eventing/v1beta2/eventtype/fake"
	"knative.dev/eventing/pkg/reconciler/source/duck"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	fakecrds "knative.dev/pkg/client/injection/apiextensions/informers/apiextensions/v1/customresourcedefinition/fake"
	"knative.dev/pkg/client/injection/ducks/duck/v1/source"
	"knative.dev/pkg/configmap"
	fakedynamicclient "knative.dev/pkg/injection/clients/dynamicclient/fake"
	knativetesting "knative.dev/pkg/reconciler/testing"
	"sigs.k8s.io/yaml"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// definition is the CRD as it is installed.
func definition(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	data, err := os.ReadFile("../../config/crd/mandrill-operator.io_mandrillwebhooks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatal(err)
	}
	return &crd
}

// eventTypesOf returns what Knative's own controller of sources makes of a webhook, and then of the same webhook after a change.
func eventTypesOf(t *testing.T, webhook *v1alpha1.MandrillWebhook, change func(*v1alpha1.MandrillWebhook)) (before, after []eventingv1beta2.EventType) {
	t.Helper()
	crd := definition(t)
	gvr := schema.GroupVersionResource{Group: crd.Spec.Group, Version: "v1alpha1", Resource: crd.Spec.Names.Plural}
	ctx, _ := knativetesting.SetupFakeContext(t)
	ctx, _ = fakedynamicclient.With(ctx, runtime.NewScheme(), asUnstructured(t, webhook))
	ctx = source.WithDuck(ctx)
	if err := fakecrds.Get(ctx).Informer().GetIndexer().Add(crd); err != nil {
		t.Fatal(err)
	}
	controller := duck.NewController(crd.Name, gvr, v1alpha1.GroupVersion.WithKind("MandrillWebhook"))(ctx, configmap.NewStaticWatcher())
	informer, _, err := source.Get(ctx).Get(ctx, gvr)
	if err != nil {
		t.Fatal(err)
	}
	reconcile := func() []eventingv1beta2.EventType {
		if err := controller.Reconciler.Reconcile(ctx, webhook.Namespace+"/"+webhook.Name); err != nil {
			t.Fatal(err)
		}
		list, err := fakeeventingclient.Get(ctx).EventingV1beta2().EventTypes(webhook.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	before = reconcile()
	for i := range before {
		if err := fakeeventtypes.Get(ctx).Informer().GetIndexer().Add(&before[i]); err != nil {
			t.Fatal(err)
		}
	}
	change(webhook)
	data, err := json.Marshal(webhook)
	if err != nil {
		t.Fatal(err)
	}
	var changed duckv1.Source // as the informer has it
	if err := json.Unmarshal(data, &changed); err != nil {
		t.Fatal(err)
	}
	if err := informer.GetIndexer().Update(&changed); err != nil {
		t.Fatal(err)
	}
	return before, reconcile()
}

func asUnstructured(t *testing.T, webhook *v1alpha1.MandrillWebhook) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(webhook)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

// Knative's controller makes an EventType for each type of a webhook, owned by it, with the schema of the type, and follows changes. So the
// operator makes none: both would list each type twice.
func TestKnativeMakesEventTypes(t *testing.T) {
	webhook := object(nil)
	webhook.UID = "uid-1"
	set := func(names ...string) {
		webhook.Status.CloudEventAttributes = nil
		for _, name := range names {
			for _, ceType := range eventtypes.Subscribed(name) {
				webhook.Status.CloudEventAttributes = append(webhook.Status.CloudEventAttributes, v1alpha1.CloudEventAttributes{Type: ceType, Source: "/s"})
			}
		}
	}
	set("open", "denylist")
	before, after := eventTypesOf(t, webhook, func(*v1alpha1.MandrillWebhook) { set("open", "click") })
	want := func(names ...string) map[string]string {
		schemas := map[string]string{}
		for _, row := range eventtypes.Table {
			for _, name := range names {
				if row.Name == name {
					schemas[row.Type] = row.Schema() + " " + row.Description
				}
			}
		}
		return schemas
	}
	got := func(list []eventingv1beta2.EventType) map[string]string {
		schemas := map[string]string{}
		for _, each := range list {
			schemas[each.Spec.Type] = each.Spec.Schema.String() + " " + each.Spec.Description
			if !metav1.IsControlledBy(&each, webhook) || each.Spec.Source.String() != "/s" || each.Spec.Reference.Name != "default" {
				t.Errorf("an EventType is %+v", each)
			}
			if err := each.Validate(t.Context()); err != nil {
				t.Errorf("%s: Knative refuses it: %v", each.Spec.Type, err)
			}
		}
		return schemas
	}
	if diff := cmp.Diff(want("open", "denylist"), got(before)); diff != "" {
		t.Errorf("EventTypes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want("open", "click"), got(after)); diff != "" {
		t.Errorf("EventTypes after a change (-want +got):\n%s", diff)
	}
}

// Without a reference to a sink Knative makes no EventType, as for its own sources.
func TestKnativeMakesNoEventTypesForAURI(t *testing.T) {
	webhook := object(nil)
	webhook.Spec.Sink = v1alpha1.Destination{URI: "https://consumer.example"}
	before, after := eventTypesOf(t, webhook, func(webhook *v1alpha1.MandrillWebhook) { webhook.Spec.Sink = object(nil).Spec.Sink })
	if len(before) != 0 || len(after) != 1 {
		t.Errorf("got %v, and with a reference %v", before, after)
	}
}
