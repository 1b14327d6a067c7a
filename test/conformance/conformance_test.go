// Package conformance_test reads our objects with the libraries whose conventions they follow.
package conformance_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// object is a MandrillWebhook of generation 2 whose last run ended with the error.
func object(err error) *v1alpha1.MandrillWebhook {
	webhook := &v1alpha1.MandrillWebhook{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "MandrillWebhook"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "transactional", Generation: 2},
		Spec: v1alpha1.MandrillWebhookSpec{
			Events: []v1alpha1.EventName{"open"},
			Sink: v1alpha1.Destination{
				Ref: &v1alpha1.Reference{APIVersion: "eventing.knative.dev/v1", Kind: "Broker", Name: "default", Namespace: "shop"}, URI: "/extra",
			},
			CloudEventOverrides: &v1alpha1.CloudEventOverrides{Extensions: map[string]v1alpha1.ExtensionValue{"env": "prod"}},
		},
		Status: v1alpha1.MandrillWebhookStatus{
			ObservedGeneration: 2, SinkURI: "http://broker.example/shop/default", SinkCACerts: "pem",
			CloudEventAttributes: []v1alpha1.CloudEventAttributes{{Type: "com.mandrill.message.open", Source: "/s"}},
		},
	}
	conditions := &controllers.Conditions{List: &webhook.Status.Conditions, Generation: 2}
	conditions.Set(v1alpha1.ConditionSinkProvided, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
	conditions.Summarise(err, v1alpha1.ConditionSinkProvided)
	return webhook
}

// kstatus, with which Flux, kpt and others wait, says Current, InProgress and Failed as it should.
func TestKstatus(t *testing.T) {
	t.Parallel()
	deleting := object(nil)
	deleting.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	stale := object(nil)
	stale.Generation = 3
	fresh := object(nil)
	fresh.Status = v1alpha1.MandrillWebhookStatus{ObservedGeneration: -1} // the CRD's default
	for name, test := range map[string]struct {
		object *v1alpha1.MandrillWebhook
		want   status.Status
	}{
		"ready":                  {object(nil), status.CurrentStatus},
		"waiting":                {object(controllers.Waiting("SinkNotFound", time.Second, errors.New("x"))), status.InProgressStatus},
		"retrying":               {object(errors.New("x")), status.InProgressStatus},
		"retrying with a reason": {object(controllers.Transient("URLCheckFailed", errors.New("x"))), status.InProgressStatus},
		"stalled":                {object(controllers.Stalled("InvalidAPIKey", errors.New("x"))), status.FailedStatus},
		"stalled for a while":    {object(controllers.StalledAt("Refused", time.Hour, errors.New("x"))), status.FailedStatus},
		"spec newer than status": {stale, status.InProgressStatus},
		"nobody looked yet":      {fresh, status.InProgressStatus},
		"deleting":               {deleting, status.TerminatingStatus},
	} {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(test.object)
		if err != nil {
			t.Fatal(err)
		}
		result, err := status.Compute(&unstructured.Unstructured{Object: content})
		if err != nil || result.Status != test.want {
			t.Errorf("%s: got %+v, error %v, want %s", name, result, err, test.want)
		}
	}
}

// Knative's tools read our objects as sources.
func TestKnativeSource(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(object(nil))
	if err != nil {
		t.Fatal(err)
	}
	var source duckv1.Source
	if err := json.Unmarshal(data, &source); err != nil {
		t.Fatal(err)
	}
	ref := source.Spec.Sink.Ref
	if ref == nil || ref.Kind != "Broker" || ref.APIVersion != "eventing.knative.dev/v1" || ref.Name != "default" || ref.Namespace != "shop" || source.Spec.Sink.URI.String() != "/extra" {
		t.Errorf("the sink is %+v", source.Spec.Sink)
	}
	if source.Spec.CloudEventOverrides == nil || source.Spec.CloudEventOverrides.Extensions["env"] != "prod" {
		t.Errorf("the overrides are %+v", source.Spec.CloudEventOverrides)
	}
	if source.Status.SinkURI.String() != "http://broker.example/shop/default" || source.Status.SinkCACerts == nil || *source.Status.SinkCACerts != "pem" || source.Status.ObservedGeneration != 2 {
		t.Errorf("the status is %+v", source.Status)
	}
	if attributes := source.Status.CloudEventAttributes; len(attributes) != 1 || attributes[0].Type != "com.mandrill.message.open" || attributes[0].Source != "/s" {
		t.Errorf("the attributes are %+v", attributes)
	}
	for _, name := range []apis.ConditionType{apis.ConditionReady, duckv1.SourceConditionSinkProvided} {
		if condition := source.Status.GetCondition(name); !condition.IsTrue() {
			t.Errorf("%s is %+v", name, condition)
		}
	}
	if err := source.Spec.Sink.Ref.Validate(t.Context()); err != nil {
		t.Errorf("Knative refuses the reference: %v", err)
	}
}

// Who writes delivery as for a Knative Broker or Trigger is understood, and Knative finds nothing wrong with what we
// accept: the fields of its DeliverySpec have its names, types and values, in either mode.
func TestKnativeDelivery(t *testing.T) {
	t.Parallel()
	deadLetters := &v1alpha1.Destination{Ref: &v1alpha1.Reference{APIVersion: "eventing.knative.dev/v1", Kind: "Broker", Name: "dead", Namespace: "shop"}, URI: "/letters"}
	for name, delivery := range map[string]v1alpha1.Delivery{
		"buffered":                 {Mode: v1alpha1.ModeBuffered},
		"buffered with a back-off": {Mode: v1alpha1.ModeBuffered, BackoffPolicy: "linear", BackoffDelay: "PT10M", DeadLetterSink: deadLetters},
		"direct with retries":      {Mode: v1alpha1.ModeDirect, Retry: new(int32(3)), BackoffPolicy: "exponential", BackoffDelay: "PT0.5S", Timeout: "PT5S"},
		"normalized":               {Payload: v1alpha1.PayloadNormalized},
		"the receiver decides":     {ContentMode: v1alpha1.ContentBatched, DataSchema: v1alpha1.DataSchemaOmit, Retry: new(int32(0)), BackoffDelay: "PT1M30S", Timeout: "PT30S", DeadLetterSink: deadLetters},
	} {
		data, err := json.Marshal(delivery)
		if err != nil {
			t.Fatal(err)
		}
		var read eventingduckv1.DeliverySpec
		if err := json.Unmarshal(data, &read); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ctx := feature.ToContext(t.Context(), feature.Flags{feature.DeliveryTimeout: feature.Enabled})
		if err := read.Validate(ctx); err != nil {
			t.Errorf("%s: Knative refuses it: %v", name, err)
		}
		// Only mode, contentMode, dataSchema and payload are ours: without them, what Knative writes is what we wrote.
		delivery.Mode, delivery.ContentMode, delivery.DataSchema, delivery.Payload = "", "", "", ""
		want, err := json.Marshal(delivery)
		if err != nil {
			t.Fatal(err)
		}
		var again v1alpha1.Delivery
		written, err := json.Marshal(read)
		if err == nil {
			err = json.Unmarshal(written, &again)
		}
		got, _ := json.Marshal(again)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: Knative reads %s, error %v, want %s", name, got, err, want)
		}
	}
}
