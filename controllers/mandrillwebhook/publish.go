package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
	"github.com/mandrill-operator/mandrill-operator/controllers/routestore"
)

// publisher gives receivers their routes: the shared receiver by the routes Secrets, a sidecar by a Secret of its own.
type publisher struct {
	shared       *routestore.Store
	routesSecret types.NamespacedName // the first Secret of shared
	secrets      ownedsecrets.Store   // for sidecars
}

func newPublisher(options Options, secrets ownedsecrets.Store) *publisher {
	return &publisher{
		shared: routestore.New(routestore.Options{
			Client: options.Client, Name: options.RoutesSecret, Owner: FieldOwner, Now: options.Now, Webhooks: webhookNames(options),
			NamespaceLimit: options.MaxRouteBytesPerNamespace,
		}),
		routesSecret: options.RoutesSecret, secrets: secrets,
	}
}

// checkQuota refuses an object if its namespace has too many that are older.
func (r *Reconciler) checkQuota(ctx context.Context, webhook *v1alpha1.MandrillWebhook) error {
	if r.MaxWebhooksPerNamespace == 0 {
		return nil
	}
	var list v1alpha1.MandrillWebhookList
	if err := r.Client.List(ctx, &list, client.InNamespace(webhook.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	before := 0
	for _, other := range list.Items {
		if r.Scope.Handles(&other) && other.UID != webhook.UID && other.DeletionTimestamp.IsZero() && older(&other, webhook) {
			before++
		}
	}
	if before < r.MaxWebhooksPerNamespace {
		return nil
	}
	return controllers.StalledAt(v1alpha1.ReasonQuotaExceeded, dependencyRetry,
		fmt.Errorf("this namespace may have %d MandrillWebhooks and has more: delete those that are not needed, or have the operator run with a higher --max-webhooks-per-namespace", r.MaxWebhooksPerNamespace))
}

// webhookNames returns a function that lists the names of all objects of the installation, as their routes have them.
func webhookNames(options Options) func(context.Context) (map[string]bool, error) {
	return func(ctx context.Context) (map[string]bool, error) {
		var list v1alpha1.MandrillWebhookList
		if err := options.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
		names := make(map[string]bool, len(list.Items))
		for _, webhook := range list.Items {
			names[routeName(&webhook)] = options.Scope.Holds(&webhook)
		}
		return names, nil
	}
}

// publish writes the routes by which batches are accepted and reports whether that changed anything: the present URL
// with its keys and, during the grace period, earlier URLs with theirs.
func (p *publisher) publish(ctx context.Context, run *state) (bool, error) {
	accepted := run.accepted()
	if run.stored == (identity{}) { // the Secret is gone: keep what is in use
		current, err := p.current(ctx, run.webhook)
		if err != nil {
			return false, err
		}
		for _, route := range current {
			for _, key := range route.Keys {
				accepted = append(accepted, identity{route.URL, key})
			}
		}
	}
	return p.set(ctx, run.webhook, routesFor(baseRoute(run), accepted)...)
}

// update brings the routes that the receiver has in line with the object as far as that is possible without a sink: it
// sets whether they are suspended, and removes identities that have expired.
func (p *publisher) update(ctx context.Context, run *state) error {
	current, err := p.current(ctx, run.webhook)
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
	_, err = p.set(ctx, run.webhook, list...)
	return err
}

// withdraw removes the routes of an object.
func (p *publisher) withdraw(ctx context.Context, webhook *v1alpha1.MandrillWebhook) error {
	_, err := p.set(ctx, webhook)
	return err
}

// withdrawFrom removes the routes of an object if the first is for a URL.
func (p *publisher) withdrawFrom(ctx context.Context, webhook *v1alpha1.MandrillWebhook, url string) error {
	current, err := p.current(ctx, webhook)
	if err != nil || len(current) == 0 || current[0].URL != url {
		return err
	}
	return p.withdraw(ctx, webhook)
}

// current returns the routes that the receiver has for an object.
func (p *publisher) current(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]routes.Route, error) {
	if isSidecar(webhook) {
		return p.sidecarRoutes(ctx, webhook)
	}
	return p.shared.Get(ctx, routeName(webhook))
}

// set replaces the routes of an object and reports whether that changed anything.
func (p *publisher) set(ctx context.Context, webhook *v1alpha1.MandrillWebhook, list ...routes.Route) (bool, error) {
	if isSidecar(webhook) {
		return p.setSidecarRoutes(ctx, webhook, list)
	}
	changed, err := p.shared.Set(ctx, routeName(webhook), list...)
	if errors.Is(err, routestore.ErrNamespaceFull) {
		return false, controllers.StalledAt(v1alpha1.ReasonQuotaExceeded, dependencyRetry,
			errors.New("the routes of this namespace have as many bytes as they may have: delete MandrillWebhooks that are not needed, shorten CACerts and ceOverrides, or have the operator run with a higher --max-route-bytes-per-namespace"))
	}
	if errors.Is(err, routestore.ErrFull) {
		return false, controllers.StalledAt(v1alpha1.ReasonRoutesFull, dependencyRetry, // no watch sees the room that others leave
			fmt.Errorf("the Secrets %s to %s have no room for another route: delete MandrillWebhooks that are not needed, or divide them between two installations, by --watch-namespaces or spec.installation",
				p.routesSecret, routes.SecretName(p.routesSecret.Name, routes.MaxSecrets-1)))
	}
	return changed, err
}

// baseRoute is what all routes of an object have in common.
func baseRoute(run *state) routes.Route {
	spec := run.webhook.Spec
	base := routes.Route{
		Source: eventSource(run.webhook), Suspend: spec.Suspend,
		Sink: run.sink.Route(), Delivery: delivery(run),
	}
	if spec.CloudEventOverrides != nil {
		base.CEOverrides.Extensions = map[string]string{}
		for name, value := range spec.CloudEventOverrides.Extensions {
			base.CEOverrides.Extensions[name] = string(value)
		}
	}
	return base
}

// delivery is how the receiver sends the object's events.
func delivery(run *state) routes.Delivery {
	spec := run.webhook.Spec.Delivery
	if spec == nil {
		return routes.Delivery{}
	}
	options := routes.Delivery{
		Mode: string(spec.Mode), ContentMode: string(spec.ContentMode), Timeout: spec.Timeout,
		BackoffPolicy: spec.BackoffPolicy, BackoffDelay: spec.BackoffDelay,
	}
	if spec.Retry != nil {
		retry := int(*spec.Retry)
		options.Retry = &retry
	}
	if run.deadLetter != nil {
		to := run.deadLetter.Route()
		options.DeadLetterSink = &to
	}
	return options
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

func routeName(webhook *v1alpha1.MandrillWebhook) string {
	return webhook.Namespace + "/" + webhook.Name
}

func eventSource(webhook *v1alpha1.MandrillWebhook) string {
	return "/apis/mandrill-operator.io/namespaces/" + webhook.Namespace + "/mandrillwebhooks/" + webhook.Name
}
