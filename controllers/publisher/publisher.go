// Package publisher gives receivers their routes: the shared receiver by the routes Secrets, a sidecar by a Secret of its own.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
	"github.com/mandrill-operator/mandrill-operator/controllers/routestore"
)

// fullRetry is how soon to try again when there is no room for a route.
const fullRetry = time.Minute

// Publisher gives receivers their routes.
type Publisher struct {
	Shared       *routestore.Store
	RoutesSecret types.NamespacedName // the first Secret of Shared
	Secrets      ownedsecrets.Store   // for sidecars
}

// Names returns a function that lists the names of all objects, as their routes have them, and which of them are held.
func Names(from client.Reader, holds func(*v1alpha1.MandrillWebhook) bool) func(context.Context) (map[string]bool, error) {
	return func(ctx context.Context) (map[string]bool, error) {
		var list v1alpha1.MandrillWebhookList
		if err := from.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
		names := make(map[string]bool, len(list.Items))
		for _, webhook := range list.Items {
			names[RouteName(&webhook)] = holds(&webhook)
		}
		return names, nil
	}
}

// Withdraw removes the routes of an object.
func (p *Publisher) Withdraw(ctx context.Context, webhook *v1alpha1.MandrillWebhook) error {
	_, err := p.Set(ctx, webhook)
	return err
}

// WithdrawFrom removes the routes of an object if the first is for a URL.
func (p *Publisher) WithdrawFrom(ctx context.Context, webhook *v1alpha1.MandrillWebhook, url string) error {
	current, err := p.Current(ctx, webhook)
	if err != nil || len(current) == 0 || current[0].URL != url {
		return err
	}
	return p.Withdraw(ctx, webhook)
}

// Current returns the routes that the receiver has for an object.
func (p *Publisher) Current(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]routes.Route, error) {
	if IsSidecar(webhook) {
		return p.sidecarRoutes(ctx, webhook)
	}
	return p.Shared.Get(ctx, RouteName(webhook))
}

// Set replaces the routes of an object and reports whether that changed anything.
func (p *Publisher) Set(ctx context.Context, webhook *v1alpha1.MandrillWebhook, list ...routes.Route) (bool, error) {
	if IsSidecar(webhook) {
		return p.setSidecarRoutes(ctx, webhook, list)
	}
	changed, err := p.Shared.Set(ctx, RouteName(webhook), list...)
	if errors.Is(err, routestore.ErrNamespaceFull) {
		return false, controllers.StalledAt(v1alpha1.ReasonQuotaExceeded, fullRetry,
			errors.New("the routes of this namespace have as many bytes as they may have: delete MandrillWebhooks that are not needed, shorten CACerts and ceOverrides, or have the operator run with a higher --max-route-bytes-per-namespace"))
	}
	if errors.Is(err, routestore.ErrFull) {
		return false, controllers.StalledAt(v1alpha1.ReasonRoutesFull, fullRetry, // no watch sees the room that others leave
			fmt.Errorf("the Secrets %s to %s have no room for another route: delete MandrillWebhooks that are not needed, or divide them between two installations, by --watch-namespaces or spec.installation",
				p.RoutesSecret, routes.SecretName(p.RoutesSecret.Name, routes.MaxSecrets-1)))
	}
	return changed, err
}
