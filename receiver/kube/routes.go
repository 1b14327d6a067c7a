// Package kube brings the receiver its routes from a Secret. It is the only part of the receiver that knows
// Kubernetes, and the Secret is all that the receiver may read.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
)

// Loader takes encoded routes documents by name, and is told when it has been given all that there are.
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

// WatchSecrets hands the documents of the Secrets that the operator writes to the loader whenever they change, until
// the context ends. There may be [routes.MaxSecrets] of them. When a Secret goes away, or loses its document, the
// loader keeps what it has.
func WatchSecrets(ctx context.Context, client kubernetes.Interface, namespace, name string, loader Loader, logger *slog.Logger) error {
	var synced []cache.InformerSynced
	for number := range routes.MaxSecrets {
		factory, handled, err := watch(client, namespace, routes.SecretName(name, number), loader, logger)
		if err != nil {
			return fmt.Errorf("watching the routes Secrets: %w", err)
		}
		factory.Start(ctx.Done())
		defer factory.Shutdown()
		synced = append(synced, handled)
	}
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		loader.Complete()
	}
	<-ctx.Done()
	return nil
}

// watch prepares the watch of one Secret. What it returns tells whether the loader has been given the Secret, if there
// is one.
func watch(client kubernetes.Interface, namespace, name string, loader Loader, logger *slog.Logger) (informers.SharedInformerFactory, cache.InformerSynced, error) {
	// The selector makes the watch one that RBAC can allow for a single name.
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.FieldSelector = selector }))
	informer := factory.Core().V1().Secrets().Informer()
	err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		logger.Warn("Could not watch a routes Secret, the last good routes stay", "secret", name, "error", err.Error())
	})
	if err != nil {
		return nil, nil, err
	}
	load := func(object any) {
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
		AddFunc:    load,
		UpdateFunc: func(_, object any) { load(object) },
		DeleteFunc: func(any) {
			logger.Warn("A routes Secret was deleted, the last good routes stay", "secret", name)
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return factory, registration.HasSynced, nil
}
