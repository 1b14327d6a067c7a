package mandrillwebhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

const (
	// AllowURLSecret is the annotation by which a Secret allows spec.urlSecretRef to put a value of it into a URL.
	AllowURLSecret = "mandrill-operator.io/allow-url-secret"

	managedBy     = "app.kubernetes.io/managed-by"
	managedByThis = "mandrill-operator"
)

// mayUseInURL refuses to put a value of a Secret into a URL, unless the Secret allows it. The operator's probe and
// Mandrill carry the value to a URL of the object's choice, so that otherwise the right to create MandrillWebhooks were
// the right to read every Secret of the namespace.
func mayUseInURL(secret *corev1.Secret) error {
	if writtenByOperator(secret) {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q is one that the operator writes: name one of your own in spec.urlSecretRef", secret.Name))
	}
	if secret.Annotations[AllowURLSecret] != "true" {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q does not allow its values in a URL: if it is meant for that, add the annotation %s: \"true\" to it", secret.Name, AllowURLSecret))
	}
	return nil
}

// writtenByOperator reports whether a Secret is one that the operator writes: of a signing key, of a sidecar or of routes.
func writtenByOperator(secret *corev1.Secret) bool { return secret.Labels[managedBy] == managedByThis }

// ownedSecrets reads and writes the Secrets that the operator keeps beside an object, which owns them.
type ownedSecrets struct{ client client.Client }

// get reads a Secret of an object; nil if there is none. A Secret that the object does not own is a conflict, and the
// remedy says how to end it.
func (s ownedSecrets) get(ctx context.Context, webhook *v1alpha1.MandrillWebhook, name, remedy string) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := s.client.Get(ctx, types.NamespacedName{Namespace: webhook.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Secret %q: %w", name, err)
	}
	if owner := metav1.GetControllerOf(&secret); owner != nil && owner.Kind == "MandrillWebhook" && owner.Name == webhook.Name && owner.UID != webhook.UID {
		return nil, nil //nolint:nilnil // of an earlier object with this name: it is garbage-collected or overwritten
	}
	if !metav1.IsControlledBy(&secret, webhook) {
		return nil, controllers.Stalled(v1alpha1.ReasonSecretConflict,
			fmt.Errorf("the Secret %q exists and is not this object's: %s", name, remedy))
	}
	return &secret, nil
}

// apply writes a Secret of an object.
func (s ownedSecrets) apply(ctx context.Context, webhook *v1alpha1.MandrillWebhook, name string, data map[string][]byte) error {
	owner := metav1ac.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("MandrillWebhook").
		WithName(webhook.Name).WithUID(webhook.UID).WithController(true).WithBlockOwnerDeletion(true)
	secret := corev1ac.Secret(name, webhook.Namespace).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": "mandrill-operator"}).
		WithOwnerReferences(owner).
		WithType(corev1.SecretTypeOpaque).
		WithData(data)
	if err := s.client.Apply(ctx, secret, FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("writing the Secret %q: %w", name, err)
	}
	return nil
}
