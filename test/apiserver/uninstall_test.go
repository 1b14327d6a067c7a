package apiserver_test

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/controllers/uninstall"
)

// testUninstall deletes the objects of two of three namespaces: their webhooks go, or stay where that is wished.
func (i *installation) testUninstall(t *testing.T) {
	first, second, other := i.create(t, true, nil), i.create(t, true, nil), i.create(t, true, nil)
	for _, webhook := range []*v1alpha1.MandrillWebhook{first, second, other} {
		await(t, webhook, "Ready", "True", "Succeeded")
	}
	for _, test := range []struct {
		webhook *v1alpha1.MandrillWebhook
		keep    bool
	}{{first, false}, {second, true}} {
		var output strings.Builder
		err := uninstall.Run(t.Context(), uninstall.Options{
			Client: admin, Finalizer: scope.Scope{}.Finalizer(), Output: &output, Namespaces: []string{test.webhook.Namespace},
			Timeout: patience, KeepWebhooks: test.keep,
		})
		if err != nil || !strings.Contains(output.String(), "All MandrillWebhooks are gone") {
			t.Errorf("error %v, output %s", err, output.String())
		}
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(test.webhook), &v1alpha1.MandrillWebhook{}); !apierrors.IsNotFound(err) {
			t.Errorf("the object is still there: %v", err)
		}
		if kept := i.remote(test.webhook.Status.WebhookID) != nil; kept != test.keep {
			t.Errorf("the webhook at Mandrill is kept: %t, want %t", kept, test.keep)
		}
	}
	await(t, other, "Ready", "True", "Succeeded")
}

// Where no operator runs, the time-out says what is left and what to do. Finalizers are removed only if that is wished.
func TestUninstallWithoutAnOperator(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	webhook := &v1alpha1.MandrillWebhook{}
	webhook.Namespace, webhook.Name, webhook.Finalizers = namespace, "alone", []string{scope.Scope{}.Finalizer()}
	webhook.Spec = v1alpha1.MandrillWebhookSpec{
		Events: []v1alpha1.EventName{"open"}, APIKeySecretRef: v1alpha1.SecretKeyRef{Name: "nowhere"}, Sink: v1alpha1.Destination{URI: "http://169.254.169.254/"},
	}
	create(t, webhook)
	var output strings.Builder
	options := uninstall.Options{Client: admin, Finalizer: scope.Scope{}.Finalizer(), Output: &output, Namespaces: []string{namespace}, Timeout: 2 * time.Second, Abandon: true}
	if err := uninstall.Run(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(webhook), webhook); !apierrors.IsNotFound(err) {
		t.Errorf("the object is still there: %v", err)
	}
}
