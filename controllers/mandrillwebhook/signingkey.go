package mandrillwebhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
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
	if err := r.storeKey(ctx, run, r.keySecret(run.webhook), present); err != nil {
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
	return r.served(ctx, run, v1alpha1.ConditionSigningKeyStored, present.Key, changed)
}

// countKeyDrift counts a key that changed or was lost although the webhook did not change.
func (r *Reconciler) countKeyDrift(run *state, cause string) {
	if wasTrue(run.webhook, v1alpha1.ConditionSigningKeyStored) {
		r.Metrics.Repaired(cause)
	}
}

func secretName(webhook *v1alpha1.MandrillWebhook) string {
	if name := webhook.Spec.SigningKeySecretName; name != "" {
		return name
	}
	return webhook.Name + "-signing-key"
}

// keySecret says how the object uses its signing key Secret.
func (r *Reconciler) keySecret(webhook *v1alpha1.MandrillWebhook) ownedsecrets.Use {
	return ownedsecrets.Use{
		Name: secretName(webhook), Entries: []string{signingKeyData, urlData, previousData},
		Remedy: "delete or rename it, or choose another signingKeySecretName",
		Recognised: func(ctx context.Context, secret *corev1.Secret) (bool, error) {
			heir, err := r.isHeir(ctx, webhook)
			return heir && identityOf(secret).usable(), err
		},
		Valid: func(secret *corev1.Secret) bool { return identityOf(secret).usable() },
	}
}

// isHeir reports whether the object is the only one, or the oldest, that keeps its signing key in a Secret of that name.
func (r *Reconciler) isHeir(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (bool, error) {
	var list v1alpha1.MandrillWebhookList
	err := r.Client.List(ctx, &list, client.InNamespace(webhook.Namespace), client.MatchingFields{bySecret: secretName(webhook)})
	if err != nil {
		return false, fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	return !slices.ContainsFunc(list.Items, func(other v1alpha1.MandrillWebhook) bool {
		return other.UID != webhook.UID && secretName(&other) == secretName(webhook) && scope.Older(&other, webhook)
	}), nil
}

func identityOf(secret *corev1.Secret) identity {
	return identity{string(secret.Data[urlData]), string(secret.Data[signingKeyData])}
}

// storedKey reads the identities of the signing key Secret. It is the first step, so that a conflict of Secrets is found
// before a webhook is registered.
func (r *Reconciler) storedKey(ctx context.Context, run *state) error {
	secret, err := r.secrets.Get(ctx, run.webhook, r.keySecret(run.webhook))
	if err != nil || secret == nil {
		return err
	}
	run.secret = secret
	if metav1.IsControlledBy(secret, run.webhook) { // otherwise the restoredKey step decides
		r.useStored(run)
	}
	return nil
}

func (r *Reconciler) useStored(run *state) {
	if stored := identityOf(run.secret); stored.usable() { // otherwise somebody edited the Secret: the signingKey step replaces it
		run.stored = stored
	}
	run.retired = decodeRetired(run.secret.Data[previousData], r.Now())
}

// restoredKey decides about a Secret that the object does not own, as after a restore from a backup. Its identities are
// used if the account confirms the key. Otherwise the Secret is taken back if it is for the object's URL, without them.
func (r *Reconciler) restoredKey(ctx context.Context, run *state) error {
	if run.secret == nil || metav1.IsControlledBy(run.secret, run.webhook) {
		return nil
	}
	list, err := run.account.Webhooks(ctx, viewIntervals*r.Resync)
	if err != nil {
		return run.refusal("listing webhooks", err)
	}
	stored := identityOf(run.secret)
	if stored.usable() && slices.ContainsFunc(list, func(w mandrill.Webhook) bool { return w.AuthKey == stored.Key }) {
		r.useStored(run)
		return nil
	}
	if ownedsecrets.OwnedByEarlier(run.secret, run.webhook) || stored.URL == run.url {
		return nil
	}
	use := r.keySecret(run.webhook)
	return controllers.Stalled(v1alpha1.ReasonSecretConflict,
		fmt.Errorf("the Secret %q exists, and neither its URL nor its key is this object's: %s", use.Name, use.Remedy))
}

// storeKey writes the Secret if it differs.
func (r *Reconciler) storeKey(ctx context.Context, run *state, use ownedsecrets.Use, present identity) error {
	data := map[string][]byte{signingKeyData: []byte(present.Key), urlData: []byte(present.URL)}
	if len(run.retired) > 0 {
		previous, err := json.Marshal(run.retired)
		if err != nil {
			return fmt.Errorf("encoding earlier keys: %w", err)
		}
		data[previousData] = previous
	}
	if run.secret != nil && metav1.IsControlledBy(run.secret, run.webhook) && maps.EqualFunc(run.secret.Data, data, bytes.Equal) {
		return nil
	}
	if err := r.checkSecretContest(run, present); err != nil {
		return err
	}
	if err := r.secrets.Write(ctx, run.webhook, use, run.secret, data); err != nil {
		return err
	}
	r.contests.InOrder(run.contested(subjectSecret), present.URL+" "+present.Key, r.Now())
	return nil
}
