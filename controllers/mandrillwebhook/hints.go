package mandrillwebhook

import (
	"net/http"

	"github.com/mandrill-operator/mandrill-operator/controllers/hints"
)

// Hints serves the receivers' reports of webhooks that get batches with bad signatures.
func (r *Reconciler) Hints(elected <-chan struct{}) http.Handler {
	return hints.Handler(elected, r.accounts.PollSoon)
}
