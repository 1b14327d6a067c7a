package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
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
	var err error
	if run.url, err = r.webhookURL(run.webhook); err != nil {
		return err
	}
	run.webhook.Status.URL = redactURL(run.url)
	run.webhook.Status.CloudEventAttributes = cloudEventAttributes(run.webhook)
	if err := r.checkConflict(ctx, run); err != nil {
		return err
	}
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
			fmt.Errorf("the receiver does not serve the URL yet (%w): check that it runs and reads the Secret %s", err, r.RoutesSecret))
	}
	return nil
}

// webhookURL is the URL to register, byte for byte.
func (r *Reconciler) webhookURL(webhook *v1alpha1.MandrillWebhook) (string, error) {
	if webhook.Spec.URL != "" {
		return webhook.Spec.URL, nil
	}
	if r.PublicURL == "" {
		return "", controllers.Stalled(v1alpha1.ReasonURLMissing,
			errors.New("the object has no URL and the operator no public one: set spec.url, or run the operator with --public-url"))
	}
	return strings.TrimRight(r.PublicURL, "/") + "/" + webhook.Namespace + "/" + webhook.Name, nil
}

// checkConflict refuses a URL that another object has a better claim to.
func (r *Reconciler) checkConflict(ctx context.Context, run *state) error {
	others, err := r.sameURL(ctx, run.webhook)
	if err != nil {
		return err
	}
	for _, other := range others {
		if precedes(&other, run.webhook) {
			if other.Status.WebhookID == run.webhook.Status.WebhookID {
				run.webhook.Status.WebhookID = 0 // it is the other's
			}
			return controllers.Stalled(v1alpha1.ReasonURLConflict,
				fmt.Errorf("the MandrillWebhook %s/%s has the same URL: change one of them", other.Namespace, other.Name))
		}
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
	if err := r.Client.List(ctx, &list, client.MatchingFields{byURL: wanted}); err != nil {
		return nil, fmt.Errorf("listing MandrillWebhooks: %w", err)
	}
	itself := func(other v1alpha1.MandrillWebhook) bool { return other.UID == webhook.UID }
	return slices.DeleteFunc(list.Items, itself), nil
}

// precedes tells which of two objects has the better claim to a URL: the older one. Within a second, which is
// as fine as their age is known, it is the one that is registered.
func precedes(a, b *v1alpha1.MandrillWebhook) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	if aRegistered, bRegistered := a.Status.WebhookID != 0, b.Status.WebhookID != 0; aRegistered != bRegistered {
		return aRegistered
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}

// publish writes the route as it is known by now and reports whether that changed anything. While no key is
// stored the route keeps those it has.
func (r *Reconciler) publish(ctx context.Context, run *state) (bool, error) {
	spec := run.webhook.Spec
	next := routes.Route{
		Name: routeName(run.webhook), URL: run.url, Source: eventSource(run.webhook),
		Sink: routes.Sink{URI: run.sink.uri, CACerts: run.sink.caCerts, Audience: run.sink.audience}, Suspend: spec.Suspend,
	}
	if run.key != "" {
		next.Keys = []string{run.key}
	}
	if spec.CloudEventOverrides != nil {
		next.CEOverrides.Extensions = map[string]string{}
		for name, value := range spec.CloudEventOverrides.Extensions {
			next.CEOverrides.Extensions[name] = string(value)
		}
	}
	if spec.Delivery != nil {
		next.Delivery = routes.Delivery{Mode: string(spec.Delivery.Mode), ContentMode: string(spec.Delivery.ContentMode), Timeout: spec.Delivery.Timeout}
	}
	return r.routes.update(ctx, func(document *routes.Document) bool {
		for _, current := range document.Routes {
			if current.Name == next.Name && current.URL == next.URL && next.Keys == nil {
				next.Keys = current.Keys
			}
		}
		return document.Set(next)
	})
}

func routeName(webhook *v1alpha1.MandrillWebhook) string {
	return webhook.Namespace + "/" + webhook.Name
}

func eventSource(webhook *v1alpha1.MandrillWebhook) string {
	return "/apis/mandrill-operator.io/namespaces/" + webhook.Namespace + "/mandrillwebhooks/" + webhook.Name
}

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

// redactURL hides userinfo. A URL that cannot be parsed is hidden as a whole.
func redactURL(text string) string {
	parsed, err := url.Parse(text)
	if err != nil {
		return "hidden"
	}
	if parsed.User == nil {
		return text
	}
	scheme, rest, _ := strings.Cut(text, "://")
	_, rest, _ = strings.Cut(rest, "@")
	return scheme + "://hidden@" + rest
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
