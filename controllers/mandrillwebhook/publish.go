package mandrillwebhook

import (
	"context"
	"slices"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
)

// publish writes the routes by which batches are accepted and reports whether that changed anything: the present URL
// with its keys and, during the grace period, earlier URLs with theirs.
func (r *Reconciler) publish(ctx context.Context, run *state) (bool, error) {
	accepted := run.accepted()
	if run.stored == (identity{}) { // the Secret is gone: keep what is in use
		current, err := r.publisher.Current(ctx, run.webhook)
		if err != nil {
			return false, err
		}
		for _, route := range current {
			for _, key := range route.Keys {
				accepted = append(accepted, identity{route.URL, key})
			}
		}
	}
	return r.publisher.Set(ctx, run.webhook, routesFor(publisher.Route(run.webhook, run.sink, run.deadLetter), accepted)...)
}

// updateRoutes brings the routes that the receiver has in line with the object as far as that is possible without a sink: it
// sets whether they are suspended, and removes identities that have expired.
func (r *Reconciler) updateRoutes(ctx context.Context, run *state) error {
	current, err := r.publisher.Current(ctx, run.webhook)
	if err != nil || len(current) == 0 {
		return err
	}
	accepted := run.accepted()
	var list []routes.Route
	for _, route := range current {
		route.Suspend = run.webhook.Spec.Suspend
		if run.stored != (identity{}) { // otherwise the Secret is gone: keep what is in use
			route.Keys = slices.DeleteFunc(route.Keys, func(key string) bool { return !slices.Contains(accepted, identity{route.URL, key}) })
		}
		if len(route.Keys) > 0 || len(list) == 0 {
			list = append(list, route)
		}
	}
	_, err = r.publisher.Set(ctx, run.webhook, list...)
	return err
}

// routesFor makes a route for each URL, with its keys.
func routesFor(base routes.Route, accepted []identity) []routes.Route {
	var list []routes.Route
	for _, id := range accepted {
		if id.URL == "" {
			continue
		}
		at := slices.IndexFunc(list, func(route routes.Route) bool { return route.URL == id.URL })
		if at < 0 {
			at = len(list)
			list = append(list, base)
			list[at].URL = id.URL
		}
		if id.Key != "" && !slices.Contains(list[at].Keys, id.Key) {
			list[at].Keys = append(list[at].Keys, id.Key)
		}
	}
	return list
}
