package mandrillwebhook

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Poll runs the pollers, as the manager does.
func (r *Reconciler) Poll(ctx context.Context) error { return r.accounts.Start(ctx) }

// PollOnce lists an account as its poller does.
func (r *Reconciler) PollOnce(ctx context.Context, apiKey string) error {
	account, err := r.accounts.Account(apiKey)
	if err != nil {
		return err
	}
	_, err = account.Webhooks(ctx, -1)
	return err
}

// ForgetProbes makes the next reconcile ask the receiver, whatever it answered before.
func (r *Reconciler) ForgetProbes(object types.NamespacedName) { r.probes.Forget(object) }

// Changed has the objects whose webhook is not as it was.
func (r *Reconciler) Changed() <-chan event.GenericEvent { return r.changed }

// ReconcileNamed is what the queue calls.
func (r *Reconciler) ReconcileNamed(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return r.reconcileNamed(ctx, request)
}

// Follows reports whether anything runs for an object.
func (r *Reconciler) Follows(object types.NamespacedName) bool {
	return r.accounts.Followed(object) != nil
}
