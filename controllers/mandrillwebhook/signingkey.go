package mandrillwebhook

import (
	"context"
	"errors"
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

// The keys of the signing key Secret's data.
const (
	signingKeyData = "signing-key"
	urlData        = "url"
)

// signingKey stores the key that Mandrill signs with, hands it to the receiver and waits until it is used.
func (r *Reconciler) signingKey(ctx context.Context, run *state) error {
	run.webhook.Status.SigningKeySecretName = secretName(run.webhook)
	if run.remote.AuthKey == "" {
		return controllers.Transient(v1alpha1.ReasonSigningKeyMissing,
			errors.New("Mandrill returned no signing key for the webhook: look at it in Mandrill")) //nolint:staticcheck // a name
	}
	if err := r.storeKey(ctx, run); err != nil {
		return err
	}
	previous := run.key
	run.key = run.remote.AuthKey
	changed, err := r.publish(ctx, run)
	if err != nil {
		return err
	}
	if previous != "" && previous != run.key {
		r.normal(run.webhook, v1alpha1.ReasonSigningKeyChanged, "Mandrill signs with another key, and the Secret now has it")
	}
	if run.webhook.Spec.Suspend || !changed && wasTrue(run.webhook, v1alpha1.ConditionSigningKeyStored) {
		return nil
	}
	return r.askReceiver(ctx, run, v1alpha1.ConditionSigningKeyStored, run.key)
}

func secretName(webhook *v1alpha1.MandrillWebhook) string {
	if name := webhook.Spec.SigningKeySecretName; name != "" {
		return name
	}
	return webhook.Name + "-signing-key"
}

// keySecret reads the signing key Secret; nil when there is none. One that is not the object's is a conflict.
func (r *Reconciler) keySecret(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (*corev1.Secret, error) {
	name := secretName(webhook)
	var secret corev1.Secret
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: webhook.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signing key's Secret: %w", err)
	}
	if !metav1.IsControlledBy(&secret, webhook) {
		return nil, controllers.Stalled(v1alpha1.ReasonSecretConflict,
			fmt.Errorf("the Secret %q exists and is not this object's: delete or rename it, or choose another signingKeySecretName", name))
	}
	return &secret, nil
}

// storedKey reads the key that the receiver may have already. It comes before the registration, so that a
// conflict is found before there is a webhook.
func (r *Reconciler) storedKey(ctx context.Context, run *state) error {
	secret, err := r.keySecret(ctx, run.webhook)
	if err != nil || secret == nil {
		return err
	}
	run.key = string(secret.Data[signingKeyData])
	return nil
}

// storeKey writes the Secret when it differs.
func (r *Reconciler) storeKey(ctx context.Context, run *state) error {
	current, err := r.keySecret(ctx, run.webhook)
	if err != nil {
		return err
	}
	if current != nil && string(current.Data[signingKeyData]) == run.remote.AuthKey && string(current.Data[urlData]) == run.url {
		return nil
	}
	owner := metav1ac.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("MandrillWebhook").
		WithName(run.webhook.Name).WithUID(run.webhook.UID).WithController(true).WithBlockOwnerDeletion(true)
	secret := corev1ac.Secret(secretName(run.webhook), run.webhook.Namespace).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": "mandrill-operator"}).
		WithOwnerReferences(owner).
		WithType(corev1.SecretTypeOpaque).
		WithData(map[string][]byte{signingKeyData: []byte(run.remote.AuthKey), urlData: []byte(run.url)})
	if err := r.Client.Apply(ctx, secret, FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("writing the signing key's Secret: %w", err)
	}
	return nil
}
