package sinks

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// Indexes of MandrillWebhooks in the cache.
const (
	bySink  = "spec.sink.ref"
	byHost  = "spec.sink.uri.host"
	byGroup = "spec.sink.ref.group"
)

// serviceKind is the kind of core Services, which are watched from the start.
var serviceKind = schema.GroupKind{Kind: "Service"}

// Watches watches the kinds of sinks, each from the time that an object first names it. Only metadata is cached: the
// address is read when a sink has changed.
type Watches struct {
	client     client.Client
	names      Names
	manager    ctrl.Manager // nil until SetController
	controller controller.Controller

	mu    sync.Mutex
	kinds map[schema.GroupVersionKind]bool
}

// NewWatches returns watches of no kind yet.
func NewWatches(client client.Client, names Names) *Watches {
	return &Watches{client: client, names: names}
}

// SetController says which controller reconciles MandrillWebhooks. Until then no kind is watched.
func (w *Watches) SetController(manager ctrl.Manager, controller controller.Controller) {
	w.manager, w.controller = manager, controller
}

// ensure watches a kind and reports whether it is watched. Without a manager nothing is.
func (w *Watches) ensure(ctx context.Context, kind schema.GroupVersionKind) bool {
	if w.manager == nil {
		return false
	}
	w.mu.Lock()
	watched := w.kinds[kind]
	w.mu.Unlock()
	if watched {
		return true
	}
	// The manager would retry a watch that is not permitted forever, so try a list first.
	if !w.mayList(ctx, kind) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kinds[kind] { // another worker was faster
		return true
	}
	enqueue := handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, object *metav1.PartialObjectMetadata) []reconcile.Request {
		return w.sendingTo(ctx, kind.GroupKind(), object)
	})
	if err := w.controller.Watch(source.Kind(w.manager.GetCache(), partial(kind), enqueue)); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not watch a kind of sink, reading it every minute instead", "kind", kind.String())
		return false
	}
	if w.kinds == nil {
		w.kinds = map[schema.GroupVersionKind]bool{}
	}
	w.kinds[kind] = true
	return true
}

// mayList reports whether the operator may list a kind where it watches.
func (w *Watches) mayList(ctx context.Context, kind schema.GroupVersionKind) bool {
	namespaces := w.names.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	return !slices.ContainsFunc(namespaces, func(namespace string) bool {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		return w.manager.GetAPIReader().List(ctx, list, client.Limit(1), client.InNamespace(namespace)) != nil
	})
}

// forget ends the watches of a group's kinds. Kinds that still exist are watched again when an object needs them.
func (w *Watches) forget(ctx context.Context, group string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for kind := range w.kinds {
		if kind.Group != group {
			continue
		}
		if err := w.manager.GetCache().RemoveInformer(ctx, partial(kind)); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not end a watch", "kind", kind.String())
		}
		delete(w.kinds, kind)
	}
}

func partial(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	return object
}

// Services handles changes of core Services.
func (w *Watches) Services() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, service client.Object) []reconcile.Request {
		named := w.matching(ctx, byHost, sinkKey(serviceKind, service.GetNamespace(), service.GetName()))
		return append(named, w.sendingTo(ctx, serviceKind, service)...)
	})
}

// Definitions returns the type of the objects by which kinds are installed.
func Definitions() *metav1.PartialObjectMetadata { return partial(crdKind) }

// Installed handles CustomResourceDefinitions that are created, changed and deleted: it enqueues the objects whose sinks
// are of the same API group.
func (w *Watches) Installed() handler.EventHandler {
	enqueue := func(ctx context.Context, definition client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range w.sendingToGroup(ctx, groupOf(definition)) {
			queue.Add(request)
		}
	}
	type queueOf = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue queueOf) { enqueue(ctx, e.Object, queue) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue queueOf) { enqueue(ctx, e.ObjectNew, queue) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue queueOf) {
			w.forget(ctx, groupOf(e.Object))
			enqueue(ctx, e.Object, queue)
		},
	}
}

// groupOf returns the API group of a definition, which is named <plural>.<group>.
func groupOf(definition client.Object) string {
	_, group, _ := strings.Cut(definition.GetName(), ".")
	return group
}

// sinkKey is the key of a sink in the index.
func sinkKey(kind schema.GroupKind, namespace, name string) string {
	return fmt.Sprintf("%s %s/%s", kind, namespace, name)
}

// references returns the references of an object to its sink and its dead letter sink, if it has them.
func references(object client.Object) []v1alpha1.Reference {
	webhook := object.(*v1alpha1.MandrillWebhook)
	var refs []v1alpha1.Reference
	for _, spec := range []*v1alpha1.Destination{&webhook.Spec.Sink, DeadLetter(webhook)} {
		if spec != nil && spec.Ref != nil {
			refs = append(refs, *spec.Ref)
		}
	}
	return refs
}

// Indexes are the indexes of MandrillWebhooks that the handlers need, by name.
func (w *Watches) Indexes() map[string]client.IndexerFunc {
	return map[string]client.IndexerFunc{bySink: indexSink, byHost: w.indexHost, byGroup: indexGroup}
}

func indexSink(object client.Object) []string {
	var keys []string
	for _, ref := range references(object) {
		kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		keys = append(keys, sinkKey(kind, cmp.Or(ref.Namespace, object.GetNamespace()), ref.Name))
	}
	return slices.Compact(keys)
}

// indexHost returns the keys of the Services that an object's URIs may lead to: whether a URI is allowed depends on which
// Services exist.
func (w *Watches) indexHost(object client.Object) []string {
	var keys []string
	webhook := object.(*v1alpha1.MandrillWebhook)
	for _, spec := range []*v1alpha1.Destination{&webhook.Spec.Sink, DeadLetter(webhook)} {
		if spec == nil || spec.Ref != nil {
			continue
		}
		parsed, err := url.Parse(spec.URI)
		if err != nil {
			continue
		}
		for _, to := range w.names.targets(parsed.Hostname(), w.names.pod(webhook)) {
			keys = append(keys, sinkKey(serviceKind, to.service.Namespace, to.service.Name))
		}
	}
	return keys
}

func indexGroup(object client.Object) []string {
	var groups []string
	for _, ref := range references(object) {
		groups = append(groups, schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).Group)
	}
	return slices.Compact(groups)
}

// sendingTo maps a sink to the MandrillWebhooks that name it, in any namespace.
func (w *Watches) sendingTo(ctx context.Context, kind schema.GroupKind, sink client.Object) []reconcile.Request {
	return w.matching(ctx, bySink, sinkKey(kind, sink.GetNamespace(), sink.GetName()))
}

func (w *Watches) sendingToGroup(ctx context.Context, group string) []reconcile.Request {
	return w.matching(ctx, byGroup, group)
}

// matching returns requests for the MandrillWebhooks that an index has under a value.
func (w *Watches) matching(ctx context.Context, index, value string) []reconcile.Request {
	var list v1alpha1.MandrillWebhookList
	if err := w.client.List(ctx, &list, client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not find the MandrillWebhooks of a sink")
		return nil
	}
	var requests []reconcile.Request
	for _, item := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&item)})
	}
	return requests
}
