package mandrillwebhook

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/hints"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// Back-off of transient failures: quick at first, because most pass at once, and in the end as slow as a resync.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 5 * time.Minute
	// workers is how many objects are reconciled at the same time; workers mostly wait for Mandrill.
	workers = 16
)

// Indexes of MandrillWebhooks in the cache.
const (
	bySecret    = "secrets"  // that the object reads or writes, by name
	byURL       = "spec.url" // or the default URL; without its userinfo, as in the status
	byWebhookID = "status.webhookID"
)

// +kubebuilder:rbac:groups=mandrill-operator.io,resources=mandrillwebhooks,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=mandrill-operator.io,resources=mandrillwebhooks/status,verbs=patch
// +kubebuilder:rbac:groups=mandrill-operator.io,resources=mandrillwebhooks/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=mandrill-operator-system,resources=leases,verbs=get;list;watch;create;update;patch
// +kubebuilder:rbac:groups="",namespace=mandrill-operator-system,resources=events,verbs=create;patch

// ManagerOptions are the options that the reconciler needs its manager to have.
func ManagerOptions(scheme *runtime.Scheme) ctrl.Options {
	return ctrl.Options{
		Scheme: scheme,
		// Secrets are watched by metadata and read when needed, so that their contents are not in a cache.
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Cache:  cache.Options{DefaultTransform: strip},
	}
}

// strip removes parts of objects that the operator never reads, and that may be most of an object, before it is cached.
func strip(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil { // otherwise it is a tombstone
		accessor.SetManagedFields(nil)
		annotations := accessor.GetAnnotations()
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		accessor.SetAnnotations(annotations)
	}
	return object, nil
}

// SetupWithManager makes the manager run the reconciler whenever an object or anything it depends on changes.
func (r *Reconciler) SetupWithManager(ctx context.Context, manager ctrl.Manager) error {
	for field, index := range r.Indexes() {
		if err := manager.GetFieldIndexer().IndexField(ctx, &v1alpha1.MandrillWebhook{}, field, index); err != nil {
			return fmt.Errorf("indexing %s: %w", field, err)
		}
	}
	if err := manager.Add(r.accounts); err != nil {
		return fmt.Errorf("adding the pollers: %w", err)
	}
	err := ctrl.NewControllerManagedBy(manager).Named("receiver-routes").
		For(&corev1.Secret{}, builder.OnlyMetadata, builder.WithPredicates(predicate.NewPredicateFuncs(func(object client.Object) bool {
			return r.publisher.shared.Owns(client.ObjectKeyFromObject(object))
		}))).
		Complete(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
			return reconcile.Result{}, r.publisher.shared.Repair(ctx, request.NamespacedName)
		}))
	if err != nil {
		return fmt.Errorf("watching the routes Secrets: %w", err)
	}
	built, err := ctrl.NewControllerManagedBy(manager).
		For(&v1alpha1.MandrillWebhook{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Secret{}, r.referring(bySecret), builder.OnlyMetadata).
		Watches(&corev1.Service{}, r.watches.Services()).
		WatchesMetadata(sinks.Definitions(), r.watches.Installed()).
		WatchesRawSource(source.Channel(r.changed, &handler.EnqueueRequestForObject{})).
		Watches(&v1alpha1.MandrillWebhook{}, handler.EnqueueRequestsFromMapFunc(r.sharingURL), builder.WithPredicates(mayFreeURL)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Build(reconcile.AsReconciler(r.Client, r))
	if err != nil {
		return fmt.Errorf("building the controller: %w", err)
	}
	r.watches.SetController(manager, built)
	return nil
}

// Indexes are the indexes of MandrillWebhooks in the cache, by name.
func (r *Reconciler) Indexes() map[string]client.IndexerFunc {
	indexes := map[string]client.IndexerFunc{
		bySecret: func(object client.Object) []string {
			webhook := object.(*v1alpha1.MandrillWebhook)
			names := []string{webhook.Spec.APIKeySecretRef.Name, secretName(webhook)}
			if ref := webhook.Spec.URLSecretRef; ref != nil {
				names = append(names, ref.Name)
			}
			if isSidecar(webhook) {
				names = append(names, sidecarSecretName(webhook))
			}
			return names
		},
		byWebhookID: func(object client.Object) []string {
			if id := object.(*v1alpha1.MandrillWebhook).Status.WebhookID; id != 0 {
				return []string{strconv.FormatInt(id, 10)}
			}
			return nil
		},
		byURL: func(object client.Object) []string {
			if url, err := r.urls.Of(object.(*v1alpha1.MandrillWebhook)); err == nil {
				return []string{webhookurl.Redact(url)}
			}
			return nil
		},
	}
	maps.Copy(indexes, r.watches.Indexes())
	return indexes
}

// enqueue is called by a poller when an object's webhook, or inbound domains, changed at Mandrill.
func (r *Reconciler) enqueue(ctx context.Context, object types.NamespacedName) {
	metadata := metav1.ObjectMeta{Namespace: object.Namespace, Name: object.Name}
	select {
	case r.changed <- event.GenericEvent{Object: &v1alpha1.MandrillWebhook{ObjectMeta: metadata}}:
	case <-ctx.Done():
	}
}

// Hints serves the receivers' reports of webhooks that get batches with bad signatures: their accounts are listed soon, at most
// once a minute.
func (r *Reconciler) Hints(elected <-chan struct{}) http.Handler {
	return hints.Handler(elected, r.accounts.PollSoon)
}

// mayFreeURL passes events that may make a URL free: an object is deleted, its spec changes, or it is registered at
// another URL.
var mayFreeURL = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.(*v1alpha1.MandrillWebhook).Status.URL != e.ObjectNew.(*v1alpha1.MandrillWebhook).Status.URL
	},
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// referring maps an object to the MandrillWebhooks in its namespace that name it.
func (r *Reconciler) referring(index string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []reconcile.Request {
		var list v1alpha1.MandrillWebhookList
		err := r.Client.List(ctx, &list, client.InNamespace(object.GetNamespace()), client.MatchingFields{index: object.GetName()})
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not find the MandrillWebhooks that refer to an object")
			return nil
		}
		return requests(list.Items)
	})
}

// sharingURL maps an object that was deleted, or both states of one that changed, to the objects that wait for its URL.
func (r *Reconciler) sharingURL(ctx context.Context, object client.Object) []reconcile.Request {
	webhook := object.(*v1alpha1.MandrillWebhook)
	var found []reconcile.Request
	current, err := r.urls.Of(webhook)
	if err != nil {
		current = "" // nobody waits for it
	}
	for _, url := range []string{webhookurl.Redact(current), webhookurl.WithoutSecret(webhook.Status.URL)} {
		var list v1alpha1.MandrillWebhookList
		if err := r.Client.List(ctx, &list, client.MatchingFields{byURL: url}); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not find the MandrillWebhooks that share a URL")
			return nil
		}
		list.Items = slices.DeleteFunc(list.Items, func(other v1alpha1.MandrillWebhook) bool { return other.UID == webhook.UID })
		found = append(found, requests(list.Items)...)
	}
	return found
}

func requests(items []v1alpha1.MandrillWebhook) []reconcile.Request {
	var list []reconcile.Request
	for _, item := range items {
		list = append(list, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&item)})
	}
	return list
}
