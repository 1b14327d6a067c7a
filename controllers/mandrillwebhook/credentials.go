package mandrillwebhook

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
)

// dependencyRetry is how soon to look again for a dependency that a watch should have reported by then.
const dependencyRetry = time.Minute

// apiKeyForm is what API keys look like. A value of another form is not sent to Mandrill: the reference may name any
// Secret of the namespace, and most of what Secrets hold is none of Mandrill's business.
var apiKeyForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

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
	if ownedsecrets.WrittenByOperator(&secret) {
		return controllers.Stalled(v1alpha1.ReasonSecretNotAllowed,
			fmt.Errorf("the Secret %q is one that the operator writes and holds no API key: name the Secret with the API key in spec.apiKeySecretRef", ref.Name))
	}
	key := strings.TrimSpace(string(secret.Data[ref.Key])) // files and echo end in a line break
	if key == "" {
		return controllers.Stalled(v1alpha1.ReasonAPIKeyMissing,
			fmt.Errorf("the Secret %q has no %q, or it is empty: put the API key there", ref.Name, ref.Key))
	}
	if !apiKeyForm.MatchString(key) {
		return controllers.Stalled(v1alpha1.ReasonInvalidAPIKey,
			fmt.Errorf("%q of the Secret %q is no API key: write the key alone, without quotation marks, spaces or other text", ref.Key, ref.Name))
	}
	if run.account, err = r.accounts.Account(key); err != nil {
		return fmt.Errorf("making an API client: %w", err)
	}
	return nil
}
