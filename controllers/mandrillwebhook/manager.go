package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/fairqueue"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

// Back-off of transient failures: quick at first, because most pass at once, and in the end as slow as a resync.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 5 * time.Minute
)

// doubtPause is how long a status may say something else than this operator before it looks again.
const doubtPause = 30 * time.Second

// shares bound the reconciles that run at the same time. Those that wait for Mandrill become slow, and are no burden to
// objects of other namespaces, nor to those with another API key.
var shares = fairqueue.Options{Workers: 16, Slow: 100 * time.Millisecond, PerTenant: 32, PerGroup: 8}

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
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=mandrill-operator-system,resources=leases,verbs=get;create;update
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
	fair := fairqueue.NewReconciler(fairqueue.ReconcilerOptions{
		Next: reconcile.Func(r.reconcileNamed), Group: r.keyName, Queue: r.queue,
		Backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
	})
	if err := errors.Join(manager.Add(r.accounts), manager.Add(r.probes), manager.Add(fair), manager.Add(r.publisher.Shared)); err != nil {
		return fmt.Errorf("adding the pollers, the probes, the queue and the routes: %w", err)
	}
	if err := r.watchRoutes(manager); err != nil {
		return fmt.Errorf("watching the routes Secrets: %w", err)
	}
	controllerBuilder := ctrl.NewControllerManagedBy(manager)
	if len(r.Scope.Namespaces) == 0 { // otherwise roles in the namespaces are to be enough, and kinds are looked for again and again
		controllerBuilder.WatchesMetadata(sinks.Definitions(), r.watches.Installed())
	}
	built, err := controllerBuilder.
		For(&v1alpha1.MandrillWebhook{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, r.leaving()))).
		Watches(&corev1.Secret{}, r.referring(bySecret), builder.OnlyMetadata).
		Watches(&corev1.Service{}, r.watches.Services()).
		WatchesRawSource(source.Channel(r.changed, &handler.EnqueueRequestForObject{})).
		Watches(&v1alpha1.MandrillWebhook{}, handler.EnqueueRequestsFromMapFunc(r.sharingURL), builder.WithPredicates(mayShareURL)).
		Watches(&v1alpha1.MandrillWebhook{}, r.lookAgain()).
		Watches(&v1alpha1.MandrillWebhook{}, r.said.LookAgain(r.Client, doubtPause)).
		WatchesRawSource(fair.Source()).
		Build(fair)
	if err != nil {
		return fmt.Errorf("building the controller: %w", err)
	}
	r.watches.SetController(manager, built)
	return nil
}

// reconcileNamed reconciles an object, or forgets one that is gone. Its finalizer may have been removed by hand.
func (r *Reconciler) reconcileNamed(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var webhook v1alpha1.MandrillWebhook
	err := r.Client.Get(ctx, request.NamespacedName, &webhook)
	if apierrors.IsNotFound(err) {
		r.forgetNamed(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading the MandrillWebhook: %w", err)
	}
	return r.Reconcile(ctx, &webhook)
}

// forgetNamed ends what runs for an object that is gone.
func (r *Reconciler) forgetNamed(object types.NamespacedName) {
	r.accounts.Forget(object)
	r.probes.Forget(object)
	r.reenables.Forget(object)
	r.writes.Forget(object)
	r.spacer.Forget(object)
}

// keyName returns the name of the Secret with an object's API key: the objects with the same wait for the same account.
func (r *Reconciler) keyName(ctx context.Context, request reconcile.Request) string {
	var webhook v1alpha1.MandrillWebhook
	if err := r.Client.Get(ctx, request.NamespacedName, &webhook); err != nil {
		return "" // it is gone
	}
	return webhook.Spec.APIKeySecretRef.Name
}

// watchRoutes makes the manager repair the Secrets with routes when somebody else changes them.
func (r *Reconciler) watchRoutes(manager ctrl.Manager) error {
	routes := ctrl.NewControllerManagedBy(manager).Named("receiver-routes")
	if r.Scope.Watches(r.RoutesSecret.Namespace) {
		routes.For(&corev1.Secret{}, builder.OnlyMetadata, builder.WithPredicates(predicate.NewPredicateFuncs(func(object client.Object) bool {
			return r.publisher.Shared.Owns(client.ObjectKeyFromObject(object))
		})))
	} else {
		sources, err := scope.WatchSecrets(manager, r.publisher.Shared.Names())
		if err != nil {
			return err
		}
		for _, one := range sources {
			routes.WatchesRawSource(one)
		}
	}
	return routes.Complete(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		if err := r.publisher.Shared.Repair(ctx, request.NamespacedName); err != nil && ctx.Err() == nil { // otherwise the operator ends
			return reconcile.Result{}, err
		}
		return reconcile.Result{}, nil
	}))
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
			if publisher.IsSidecar(webhook) {
				names = append(names, publisher.SidecarSecretName(webhook))
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

// enqueue is called by a poller when an object's webhook, or inbound domains, changed at Mandrill, and by a probe when the
// answer of an object's receiver changed.
func (r *Reconciler) enqueue(ctx context.Context, object types.NamespacedName) {
	metadata := metav1.ObjectMeta{Namespace: object.Namespace, Name: object.Name}
	select {
	case r.changed <- event.GenericEvent{Object: &v1alpha1.MandrillWebhook{ObjectMeta: metadata}}:
	case <-ctx.Done():
	}
}

// mayShareURL passes events after which a URL may be free, or have one object more: an object is created or deleted, its spec
// changes, or it is registered at another URL.
var mayShareURL = predicate.Funcs{
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

// sharingURL maps an object that was deleted, or both states of one that changed, to the others with its URL.
func (r *Reconciler) sharingURL(ctx context.Context, object client.Object) []reconcile.Request {
	webhook := object.(*v1alpha1.MandrillWebhook)
	var found []reconcile.Request
	current, err := r.urls.Of(webhook)
	if err != nil {
		current = "" // nobody has it
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
