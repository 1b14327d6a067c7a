package mandrillwebhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// The keys of the signing key Secret's data.
const (
	signingKeyData = "signing-key"
	urlData        = "url"
	previousData   = "previous" // what is still accepted during the grace period, JSON
)

// signingKey stores the key that Mandrill signs with, hands it to the receiver and waits until it is used. What it
// replaces is accepted for a while longer.
func (r *Reconciler) signingKey(ctx context.Context, run *state) error {
	run.webhook.Status.SigningKeySecretName = secretName(run.webhook)
	if run.remote.AuthKey == "" || run.remote.AuthKey == mandrill.TestKey {
		return controllers.Transient(v1alpha1.ReasonSigningKeyMissing,
			errors.New("Mandrill returned no signing key for the webhook: look at it in Mandrill")) //nolint:staticcheck // a name
	}
	present := identity{run.url, run.remote.AuthKey}
	previous := run.stored
	run.retired = retire(run.retired, previous, present, r.Now())
	if previous.Key == "" {
		r.countKeyDrift(run, causeSecret)
	}
	if err := r.storeKey(ctx, run, present); err != nil {
		return err
	}
	run.stored = present
	changed, err := r.publish(ctx, run)
	if err != nil {
		return err
	}
	if previous.Key != "" && previous.Key != present.Key {
		r.normal(run.webhook, v1alpha1.ReasonSigningKeyChanged, "Mandrill signs with another key, and the Secret now has it")
		r.countKeyDrift(run, causeKey)
	}
	if run.webhook.Spec.Suspend || !changed && wasTrue(run.webhook, v1alpha1.ConditionSigningKeyStored) {
		return nil
	}
	return r.askReceiver(ctx, run, v1alpha1.ConditionSigningKeyStored, present.Key)
}

// countKeyDrift counts a key that changed, or got lost, though the webhook did not.
func (r *Reconciler) countKeyDrift(run *state, cause string) {
	if wasTrue(run.webhook, v1alpha1.ConditionSigningKeyStored) {
		r.Metrics.repaired(cause)
	}
}

func secretName(webhook *v1alpha1.MandrillWebhook) string {
	if name := webhook.Spec.SigningKeySecretName; name != "" {
		return name
	}
	return webhook.Name + "-signing-key"
}

// keySecret reads the signing key Secret; nil when there is none.
func (r *Reconciler) keySecret(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (*corev1.Secret, error) {
	return r.ownSecret(ctx, webhook, secretName(webhook), "delete or rename it, or choose another signingKeySecretName")
}

// ownSecret reads a Secret that the operator writes for an object; nil when there is none. One that is not the
// object's is a conflict, and the remedy says how to end it.
func (r *Reconciler) ownSecret(ctx context.Context, webhook *v1alpha1.MandrillWebhook, name, remedy string) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: webhook.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Secret %q: %w", name, err)
	}
	if owner := metav1.GetControllerOf(&secret); owner != nil && owner.Kind == "MandrillWebhook" && owner.Name == webhook.Name && owner.UID != webhook.UID {
		return nil, nil //nolint:nilnil // left by an earlier object of the name, and about to go or be overwritten
	}
	if !metav1.IsControlledBy(&secret, webhook) {
		return nil, controllers.Stalled(v1alpha1.ReasonSecretConflict,
			fmt.Errorf("the Secret %q exists and is not this object's: %s", name, remedy))
	}
	return &secret, nil
}

// storedKey reads what the Secret says the receiver accepts. It comes before the registration, so that a conflict
// is found before there is a webhook.
func (r *Reconciler) storedKey(ctx context.Context, run *state) error {
	secret, err := r.keySecret(ctx, run.webhook)
	if err != nil || secret == nil {
		return err
	}
	stored := identity{string(secret.Data[urlData]), string(secret.Data[signingKeyData])}
	if stored.usable() { // otherwise somebody edited it, and it is written anew
		run.stored = stored
	}
	run.retired = decodeRetired(secret.Data[previousData], r.Now())
	run.secret = secret.Data
	return nil
}

// storeKey writes the Secret when it differs.
func (r *Reconciler) storeKey(ctx context.Context, run *state, present identity) error {
	data := map[string][]byte{signingKeyData: []byte(present.Key), urlData: []byte(present.URL)}
	if len(run.retired) > 0 {
		previous, err := json.Marshal(run.retired)
		if err != nil {
			return fmt.Errorf("encoding earlier keys: %w", err)
		}
		data[previousData] = previous
	}
	if maps.EqualFunc(run.secret, data, bytes.Equal) {
		return nil
	}
	return r.applySecret(ctx, run.webhook, secretName(run.webhook), data)
}

// applySecret writes a Secret that belongs to an object.
func (r *Reconciler) applySecret(ctx context.Context, webhook *v1alpha1.MandrillWebhook, name string, data map[string][]byte) error {
	owner := metav1ac.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("MandrillWebhook").
		WithName(webhook.Name).WithUID(webhook.UID).WithController(true).WithBlockOwnerDeletion(true)
	secret := corev1ac.Secret(name, webhook.Namespace).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": "mandrill-operator"}).
		WithOwnerReferences(owner).
		WithType(corev1.SecretTypeOpaque).
		WithData(data)
	if err := r.Client.Apply(ctx, secret, FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("writing the Secret %q: %w", name, err)
	}
	return nil
}
