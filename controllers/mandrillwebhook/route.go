package mandrillwebhook

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	if err := r.probe(ctx, run.url, key); err != nil {
		retry := firstRouteRetry
		if since := meta.FindStatusCondition(run.webhook.Status.Conditions, condition); since != nil && since.Status == metav1.ConditionFalse {
			retry = min(max(r.Now().Sub(since.LastTransitionTime.Time), firstRouteRetry), lastRouteRetry)
		}
		return controllers.Waiting(v1alpha1.ReasonRouteNotServed, retry,
			fmt.Errorf("the receiver does not serve %s yet (%w): check that it runs, that it reads the Secret %s, and that the operator reaches it, by --receiver-url or at the URL itself", r.shownURL(run.webhook), err, r.RoutesSecret))
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
		_, err := r.routes.update(ctx, func(document *routes.Document) bool {
			current, ok := document.Find(routeName(run.webhook))
			return ok && current.URL == run.url && document.Replace(routeName(run.webhook))
		})
		if err != nil {
			return err
		}
		return controllers.Stalled(v1alpha1.ReasonURLConflict,
			fmt.Errorf("the MandrillWebhook %s/%s has the same URL: change one of them", other.Namespace, other.Name))
	}
	return nil
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
		Sink: routes.Sink{URI: run.sink.uri, CACerts: run.sink.caCerts, Audience: run.sink.audience},
	}
	if spec.CloudEventOverrides != nil {
		base.CEOverrides.Extensions = map[string]string{}
		for name, value := range spec.CloudEventOverrides.Extensions {
			base.CEOverrides.Extensions[name] = string(value)
		}
	}
	if spec.Delivery != nil {
		base.Delivery = routes.Delivery{Mode: string(spec.Delivery.Mode), ContentMode: string(spec.Delivery.ContentMode), Timeout: spec.Delivery.Timeout}
	}
	name := routeName(run.webhook)
	return r.routes.update(ctx, func(document *routes.Document) bool {
		accepted := run.accepted()
		if current, ok := document.Find(name); ok && run.stored == (identity{}) { // the Secret is gone: keep what is in use
			for _, key := range current.Keys {
				accepted = append(accepted, identity{current.URL, key})
			}
		}
		return document.Replace(name, routesFor(base, accepted)...)
	})
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

// maxRoutesBytes is what a Secret may hold: some 2,500 routes.
const maxRoutesBytes = corev1.MaxSecretSize

// routeStore is the routes document in its Secret. The operator is its only writer.
type routeStore struct {
	client client.Client
	name   types.NamespacedName
	mu     sync.Mutex
}

// update changes the document and reports whether the change changed anything. A write over somebody else's
// fails and is tried again with the reconcile.
func (s *routeStore) update(ctx context.Context, change func(*routes.Document) bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.name.Namespace, Name: s.name.Name}}
	err := s.client.Get(ctx, s.name, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return false, fmt.Errorf("reading the routes: %w", err)
	}
	document := &routes.Document{}
	if data, ok := secret.Data[routes.Key]; ok {
		if document, err = routes.Decode(data); err != nil {
			return false, fmt.Errorf("the Secret %s is not as the operator wrote it; delete it to have it written anew: %w", s.name, err)
		}
	}
	if !change(document) {
		return false, nil
	}
	encoded, err := document.Encode()
	if err != nil {
		return false, fmt.Errorf("encoding the routes: %w", err)
	}
	if len(encoded) > maxRoutesBytes && len(encoded) > len(secret.Data[routes.Key]) {
		return false, controllers.StalledAt(v1alpha1.ReasonRoutesFull, refusedRetry,
			fmt.Errorf("the Secret %s has no room for another route: delete MandrillWebhooks that are not needed, or use a second installation", s.name))
	}
	secret.Data = map[string][]byte{routes.Key: encoded}
	if missing {
		secret.Labels = map[string]string{"app.kubernetes.io/managed-by": "mandrill-operator"}
		err = s.client.Create(ctx, secret, FieldOwner)
	} else {
		err = s.client.Update(ctx, secret, FieldOwner)
	}
	if err != nil {
		return false, fmt.Errorf("writing the routes: %w", err)
	}
	return true, nil
}

// cloudEventAttributes are the types that the subscribed events become. Inbound mail and events without a name
// may come as well, whatever is subscribed.
func cloudEventAttributes(webhook *v1alpha1.MandrillWebhook) []v1alpha1.CloudEventAttributes {
	var attributes []v1alpha1.CloudEventAttributes
	add := func(eventType string) {
		attributes = append(attributes, v1alpha1.CloudEventAttributes{Type: eventType, Source: eventSource(webhook)})
	}
	for _, event := range webhook.Spec.Events {
		switch event {
		case "allowlist":
			add("com.mandrill.sync.allowlist.add")
			add("com.mandrill.sync.allowlist.remove")
		case "denylist":
			add("com.mandrill.sync.denylist.add")
			add("com.mandrill.sync.denylist.change")
			add("com.mandrill.sync.denylist.remove")
		default:
			add("com.mandrill.message." + string(event))
		}
	}
	return attributes
}
