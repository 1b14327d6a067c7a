package mandrillwebhook

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/event"
)

// Poll runs the pollers, as the manager does.
func (r *Reconciler) Poll(ctx context.Context) error { return r.accounts.Start(ctx) }

// Changed has the objects whose webhook is not as it was.
func (r *Reconciler) Changed() <-chan event.GenericEvent { return r.changed }
