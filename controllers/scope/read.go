package scope

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Reader returns a client that reads objects of namespaces that are not watched from the API server. The operator may have no
// right to read there: then the error is Forbidden.
func (s Scope) Reader(cached client.Client, live client.Reader) client.Client {
	if len(s.Namespaces) == 0 || live == nil {
		return cached
	}
	return reader{Client: cached, live: live, scope: s}
}

type reader struct {
	client.Client

	live  client.Reader
	scope Scope
}

// Get implements [client.Reader].
func (r reader) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if !r.scope.Watches(key.Namespace) {
		return r.live.Get(ctx, key, object, options...)
	}
	return r.Client.Get(ctx, key, object, options...)
}

// runnable is a cache that the manager starts with its own.
type runnable struct{ cache.Cache }

// GetCache tells the manager that this is a cache.
func (r runnable) GetCache() cache.Cache { return r.Cache }

// WatchSecrets returns a source for each of some Secrets in a namespace that is not watched. Each is watched by its name, for
// which a role that names the Secrets is enough.
func WatchSecrets(manager ctrl.Manager, names []types.NamespacedName) ([]source.Source, error) {
	var sources []source.Source
	for _, name := range names {
		one, err := cache.New(manager.GetConfig(), cache.Options{
			Scheme: manager.GetScheme(), Mapper: manager.GetRESTMapper(), HTTPClient: manager.GetHTTPClient(),
			DefaultNamespaces: map[string]cache.Config{name.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", name.Name)}},
		})
		if err != nil {
			return nil, fmt.Errorf("making a cache: %w", err)
		}
		if err := manager.Add(runnable{one}); err != nil {
			return nil, fmt.Errorf("adding a cache: %w", err)
		}
		secret := &metav1.PartialObjectMetadata{}
		secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		sources = append(sources, source.Kind(one, secret, &handler.TypedEnqueueRequestForObject[*metav1.PartialObjectMetadata]{}))
	}
	return sources, nil
}
