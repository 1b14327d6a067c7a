package cli_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sunstructured "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

func unstructured(object map[string]any) *k8sunstructured.Unstructured {
	return &k8sunstructured.Unstructured{Object: object}
}

// webhook makes a webhook in a namespace of its own and waits until it is ready.
func (s *stack) webhook(change ...func(*v1alpha1.MandrillWebhook)) *v1alpha1.MandrillWebhook {
	s.t.Helper()
	namespace := fmt.Sprintf("shop-%d", time.Now().UnixNano()%1e9)
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mandrill"}, StringData: map[string]string{"api-key": apiKey}})
	uri := s.sink.URL + "/events"
	webhook := &v1alpha1.MandrillWebhook{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "transactional"},
		Spec: v1alpha1.MandrillWebhookSpec{
			Description: "Shop mail events", Events: []v1alpha1.EventName{"send", "open", "hard_bounce"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "mandrill"},
			Sink: v1alpha1.Destination{URI: uri},
		},
	}
	for _, c := range change {
		c(webhook)
	}
	s.create(webhook)
	s.t.Cleanup(func() { // while the operator runs, which the next test's would take it over from
		ctx := context.WithoutCancel(s.t.Context())
		_ = admin.Delete(ctx, webhook)
		s.eventually("the webhook is deleted", func() error {
			err := admin.Get(ctx, client.ObjectKeyFromObject(webhook), webhook.DeepCopy())
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(errors.New("it is there"), err)
		})
	})
	s.eventually("the webhook is ready", func() error {
		s.refresh(webhook)
		if !meta.IsStatusConditionTrue(webhook.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("%+v", webhook.Status.Conditions)
		}
		return nil
	})
	return webhook
}

func (s *stack) refresh(webhook *v1alpha1.MandrillWebhook) {
	s.t.Helper()
	if err := admin.Get(s.t.Context(), client.ObjectKeyFromObject(webhook), webhook); err != nil {
		s.t.Fatal(err)
	}
}
