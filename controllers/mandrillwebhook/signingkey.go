package mandrillwebhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// The keys of the signing key Secret's data.
const (
	signingKeyData = "signing-key"
	urlData        = "url"
	previousData   = "previous" // retired identities, JSON
)

// signingKey stores the key that Mandrill signs with, gives it to the receiver and waits until the receiver uses it. The
// identity that it replaces is accepted for a while longer.
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
	changed, err := r.publisher.publish(ctx, run)
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
	return r.prober.probeUntilServed(ctx, run, v1alpha1.ConditionSigningKeyStored, present.Key)
}

// countKeyDrift counts a key that changed or was lost although the webhook did not change.
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

// keySecret reads the signing key Secret; nil if there is none.
func (r *Reconciler) keySecret(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (*corev1.Secret, error) {
	return r.secrets.get(ctx, webhook, secretName(webhook), "delete or rename it, or choose another signingKeySecretName")
}

// storedKey reads the identities of the signing key Secret. It is the first step, so that a conflict of Secrets is found
// before a webhook is registered.
func (r *Reconciler) storedKey(ctx context.Context, run *state) error {
	secret, err := r.keySecret(ctx, run.webhook)
	if err != nil || secret == nil {
		return err
	}
	stored := identity{string(secret.Data[urlData]), string(secret.Data[signingKeyData])}
	if stored.usable() { // otherwise somebody edited the Secret: the signingKey step replaces it
		run.stored = stored
	}
	run.retired = decodeRetired(secret.Data[previousData], r.Now())
	run.secret = secret.Data
	return nil
}

// storeKey writes the Secret if it differs.
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
	return r.secrets.apply(ctx, run.webhook, secretName(run.webhook), data)
}
