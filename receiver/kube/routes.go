// Package kube loads the receiver's routes from Secrets. It is the only part of the receiver that knows Kubernetes, and these
// Secrets are all that the receiver may read.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// Loader takes encoded routes documents by name. Complete says that every document that exists was loaded once.
type Loader interface {
	Load(name string, document []byte) error
	Complete()
}

// ParseName splits NAMESPACE/NAME.
func ParseName(text string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("%q is not of the form NAMESPACE/NAME", text)
	}
	return namespace, name, nil
}

// WatchSecrets loads the documents of the Secrets that the operator writes, and loads them again whenever they change, until
// the context ends. There are up to [routes.MaxSecrets] of them. A Secret that is deleted, or loses its document, changes
// nothing.
func WatchSecrets(ctx context.Context, secrets Secrets, name string, loader Loader, logger *slog.Logger) error {
	var synced []cache.InformerSynced
	var informers sync.WaitGroup
	defer informers.Wait()
	for number := range routes.MaxSecrets {
		informer, handled, err := newInformer(secrets, routes.SecretName(name, number), loader, logger)
		if err != nil {
			return fmt.Errorf("watching the routes Secrets: %w", err)
		}
		informers.Go(func() { informer.RunWithContext(ctx) })
		synced = append(synced, handled)
	}
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		loader.Complete()
	}
	<-ctx.Done()
	return nil
}

// newInformer prepares the watch of one Secret. The returned function reports whether its document was loaded, if it exists.
func newInformer(secrets Secrets, name string, loader Loader, logger *slog.Logger) (cache.SharedInformer, cache.InformerSynced, error) {
	// RBAC can allow a watch with this selector for a single name.
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return secrets.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			return secrets.Watch(ctx, options)
		},
	}
	informer := cache.NewSharedInformer(cache.ToListWatcherWithWatchListSemantics(source, secrets), &corev1.Secret{}, 0)
	err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		logger.Warn("Could not watch a routes Secret, the last good routes stay", "secret", name, "error", err.Error())
	})
	if err != nil {
		return nil, nil, err
	}
	loadSecret := func(object any) {
		secret, ok := object.(*corev1.Secret)
		if !ok {
			return
		}
		document, ok := secret.Data[routes.Key]
		if !ok {
			logger.Error("A routes Secret has no document, the last good routes stay", "secret", name, "key", routes.Key)
			return
		}
		_ = loader.Load(name, document) // logged and counted there
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    loadSecret,
		UpdateFunc: func(_, object any) { loadSecret(object) },
		DeleteFunc: func(any) {
			logger.Warn("A routes Secret was deleted, the last good routes stay", "secret", name)
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return informer, registration.HasSynced, nil
}
