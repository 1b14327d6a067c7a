package mandrillwebhook

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// dependencyRetry is how soon to look again for a dependency that a watch should have reported by then.
const dependencyRetry = time.Minute

// credentials reads the API key and finds its account.
func (r *Reconciler) credentials(ctx context.Context, run *state) error {
	ref := run.webhook.Spec.APIKeySecretRef
	var secret corev1.Secret
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: run.webhook.Namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return controllers.Waiting(v1alpha1.ReasonAPIKeySecretNotFound, dependencyRetry,
			fmt.Errorf("there is no Secret %q in this namespace: create it with the API key under %q", ref.Name, ref.Key))
	}
	if err != nil {
		return fmt.Errorf("reading the API key's Secret: %w", err)
	}
	key := strings.TrimSpace(string(secret.Data[ref.Key])) // files and echo end in a line break
	if key == "" {
		return controllers.Stalled(v1alpha1.ReasonAPIKeyMissing,
			fmt.Errorf("the Secret %q has no %q, or it is empty: put the API key there", ref.Name, ref.Key))
	}
	if run.account, err = r.accounts.Account(key); err != nil {
		return fmt.Errorf("making an API client: %w", err)
	}
	return nil
}
