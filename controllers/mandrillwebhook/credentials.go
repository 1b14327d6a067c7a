package mandrillwebhook

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/mandrill-operator/mandrill-operator/controllers/credentials"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// dependencyRetry is how soon to look again for a dependency that a watch should have reported by then.
const dependencyRetry = time.Minute

// credentials reads the API key and finds its account.
func (r *Reconciler) credentials(ctx context.Context, run *state) error {
	key, err := credentials.APIKey(ctx, r.Client, run.webhook)
	if err != nil {
		return err
	}
	if run.account, err = r.accounts.Account(key); err != nil {
		return fmt.Errorf("making an API client: %w", err)
	}
	return nil
}

// resolveURL finds the URL to register and the secret in it.
func (r *Reconciler) resolveURL(ctx context.Context, run *state) error {
	base, err := r.urls.Of(run.webhook)
	if err != nil {
		return err
	}
	ref := run.webhook.Spec.URLSecretRef
	if ref == nil {
		run.url = base
		return nil
	}
	part, err := credentials.URLPart(ctx, r.Client, run.webhook)
	if err != nil {
		return err
	}
	run.urlSecret, run.url = part, webhookurl.WithParameter(base, ref.Parameter, url.QueryEscape(part))
	return nil
}
