package mandrillwebhook

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// How soon to ask the receiver again. A watch brings it a route in milliseconds; one that does not come, or
// runs no more, is asked as often as it has been waited for.
const (
	firstRouteRetry = 100 * time.Millisecond
	lastRouteRetry  = 30 * time.Second
)

// route hands the receiver its route and waits until it is served, because Mandrill asks the URL while it
// registers the webhook.
func (r *Reconciler) route(ctx context.Context, run *state) error {
	if err := r.resolveURL(ctx, run); err != nil {
		return err
	}
	if err := r.checkConflict(ctx, run); err != nil {
		return err
	}
	run.webhook.Status.CloudEventAttributes = cloudEventAttributes(run.webhook)
	changed, err := r.publish(ctx, run)
	if err != nil {
		return err
	}
	if !changed && wasTrue(run.webhook, v1alpha1.ConditionReceiverReady) {
		return nil
	}
	return r.askReceiver(ctx, run, v1alpha1.ConditionReceiverReady, "")
}

// wasTrue tells whether a condition was True for the present generation.
func wasTrue(webhook *v1alpha1.MandrillWebhook, name string) bool {
	condition := meta.FindStatusCondition(webhook.Status.Conditions, name)
	return condition != nil && condition.Status == metav1.ConditionTrue && condition.ObservedGeneration == webhook.Generation
}

// askReceiver waits, on behalf of a condition, until the receiver serves the URL, with the key if there is one.
func (r *Reconciler) askReceiver(ctx context.Context, run *state, condition, key string) error {
	if err := r.probe(ctx, run, key); err != nil {
		retry := firstRouteRetry
		if since := meta.FindStatusCondition(run.webhook.Status.Conditions, condition); since != nil && since.Status == metav1.ConditionFalse {
			retry = min(max(r.Now().Sub(since.LastTransitionTime.Time), firstRouteRetry), lastRouteRetry)
		}
		first := ""
		if lacksBuffer(run.webhook, err) {
			first = "delivery.mode Buffered needs a receiver with a buffer: run it with --buffer, or leave delivery.mode out or write Direct; if it has one, "
		}
		if isSidecar(run.webhook) {
			return controllers.Waiting(v1alpha1.ReasonRouteNotServed, retry,
				fmt.Errorf("the sidecar does not serve %s yet (%w): %scheck that its pod mounts the Secret %s, that it runs the receiver with --config on the Secret's %s, and that the URL leads there from here too",
					r.shownURL(run.webhook), err, first, sidecarSecretName(run.webhook), routes.Key))
		}
		return controllers.Waiting(v1alpha1.ReasonRouteNotServed, retry,
			fmt.Errorf("the receiver does not serve %s yet (%w): %scheck that it runs, that it reads the Secret %s, and that the operator reaches it, by --receiver-url or at the URL itself",
				r.shownURL(run.webhook), err, first, r.RoutesSecret))
	}
	return nil
}

// checkConflict refuses a URL that another object has a better claim to. What this object has at Mandrill, and the
// routes of that, stay as they are, but for a claim to the very same.
func (r *Reconciler) checkConflict(ctx context.Context, run *state) error {
	others, err := r.sameURL(ctx, run.webhook)
	if err != nil {
		return err
	}
	for _, other := range others {
		if !r.precedes(&other, run.webhook) {
			continue
		}
		if other.Status.WebhookID == run.webhook.Status.WebhookID {
			run.webhook.Status.WebhookID = 0 // it is the other's
		}
		if err := r.withdraw(ctx, run); err != nil {
			return err
		}
		return controllers.Stalled(v1alpha1.ReasonURLConflict,
			fmt.Errorf("the MandrillWebhook %s/%s has the same URL: change one of them", other.Namespace, other.Name))
	}
	return nil
}

// withdraw takes the routes back when they are for the URL that another object has.
func (r *Reconciler) withdraw(ctx context.Context, run *state) error {
	current, err := r.currentRoutes(ctx, run.webhook)
	if err != nil || len(current) == 0 || current[0].URL != run.url {
		return err
	}
	_, err = r.setRoutes(ctx, run.webhook)
	return err
}

// sameURL returns the other objects with the URL of this one.
func (r *Reconciler) sameURL(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]v1alpha1.MandrillWebhook, error) {
	wanted, err := r.webhookURL(webhook)
	if err != nil {
		return nil, nil //nolint:nilerr // without a URL there is nothing to share
	}
	var list v1alpha1.MandrillWebhookList
	if err := r.Client.List(ctx, &list, client.MatchingFields{byURL: redactURL(wanted)}); err != nil {
		return nil, fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(other v1alpha1.MandrillWebhook) bool {
		theirs, err := r.webhookURL(&other)
		return err != nil || theirs != wanted || other.UID == webhook.UID
	}), nil
}

// precedes tells which of two objects has the better claim to a URL: the one that is registered there, else the
// older one.
func (r *Reconciler) precedes(a, b *v1alpha1.MandrillWebhook) bool {
	registered := func(o *v1alpha1.MandrillWebhook) bool {
		return o.Status.WebhookID != 0 && o.Status.URL == r.shownURL(o)
	}
	if registered(a) != registered(b) {
		return registered(a)
	}
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}

// publish writes the routes by which batches are accepted by now and reports whether that changed anything: the
// present URL with its keys and, during the grace period, earlier URLs with theirs.
func (r *Reconciler) publish(ctx context.Context, run *state) (bool, error) {
	spec := run.webhook.Spec
	base := routes.Route{
		Source: eventSource(run.webhook), Suspend: spec.Suspend,
		Sink: run.sink.route(), Delivery: delivery(run),
	}
	if spec.CloudEventOverrides != nil {
		base.CEOverrides.Extensions = map[string]string{}
		for name, value := range spec.CloudEventOverrides.Extensions {
			base.CEOverrides.Extensions[name] = string(value)
		}
	}
	accepted := run.accepted()
	if run.stored == (identity{}) { // the Secret is gone: keep what is in use
		current, err := r.currentRoutes(ctx, run.webhook)
		if err != nil {
			return false, err
		}
		for _, route := range current {
			for _, key := range route.Keys {
				accepted = append(accepted, identity{route.URL, key})
			}
		}
	}
	return r.setRoutes(ctx, run.webhook, routesFor(base, accepted)...)
}

// keepRoutes brings the routes that the receiver has in line as far as that needs no sink.
func (r *Reconciler) keepRoutes(ctx context.Context, run *state) error {
	current, err := r.currentRoutes(ctx, run.webhook)
	if err != nil || len(current) == 0 {
		return err
	}
	accepted := run.accepted()
	var kept []routes.Route
	for _, route := range current {
		route.Suspend = run.webhook.Spec.Suspend
		if run.stored != (identity{}) { // otherwise the Secret is gone, and what is in use stays
			route.Keys = slices.DeleteFunc(route.Keys, func(key string) bool { return !slices.Contains(accepted, identity{route.URL, key}) })
		}
		if len(route.Keys) > 0 || len(kept) == 0 {
			kept = append(kept, route)
		}
	}
	_, err = r.setRoutes(ctx, run.webhook, kept...)
	return err
}

// delivery is what the receiver is told of how events are sent.
func delivery(run *state) routes.Delivery {
	spec := run.webhook.Spec.Delivery
	if spec == nil {
		return routes.Delivery{}
	}
	said := routes.Delivery{
		Mode: string(spec.Mode), ContentMode: string(spec.ContentMode), Timeout: spec.Timeout,
		BackoffPolicy: spec.BackoffPolicy, BackoffDelay: spec.BackoffDelay,
	}
	if spec.Retry != nil {
		retry := int(*spec.Retry)
		said.Retry = &retry
	}
	if run.deadLetter != nil {
		to := run.deadLetter.route()
		said.DeadLetterSink = &to
	}
	return said
}

func (d destination) route() routes.Sink {
	return routes.Sink{URI: d.uri, CACerts: d.caCerts, Audience: d.audience}
}

// accepted are the identities that batches may have, the present one first.
func (s *state) accepted() []identity {
	list := []identity{{s.url, s.remote.AuthKey}, {s.url, s.stored.Key}, s.stored}
	for _, r := range s.retired {
		list = append(list, r.identity)
	}
	return list
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

// cloudEventAttributes are the types that the subscribed events become. Events without a name may come as well,
// whatever is subscribed.
func cloudEventAttributes(webhook *v1alpha1.MandrillWebhook) []v1alpha1.CloudEventAttributes {
	var types []string
	for _, event := range webhook.Spec.Events {
		types = append(types, eventtypes.Subscribed(string(event))...)
	}
	if webhook.Spec.Inbound != nil {
		types = append(types, eventtypes.Subscribed("inbound")...)
	}
	var attributes []v1alpha1.CloudEventAttributes
	for _, eventType := range types {
		attributes = append(attributes, v1alpha1.CloudEventAttributes{Type: eventType, Source: eventSource(webhook)})
	}
	return attributes
}
