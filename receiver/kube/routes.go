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

// Loader takes an encoded routes document.
type Loader interface {
	Load(document []byte) error
}

// ParseName splits NAMESPACE/NAME.
func ParseName(text string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("%q is not of the form NAMESPACE/NAME", text)
	}
	return namespace, name, nil
}

// WatchSecret hands the Secret's document to the loader whenever it changes, until the context ends. When the
// Secret goes away, or loses its document, the loader keeps what it has.
func WatchSecret(ctx context.Context, client kubernetes.Interface, namespace, name string, loader Loader, logger *slog.Logger) error {
	// The selector makes the watch one that RBAC can allow for a single name.
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.FieldSelector = selector }))
	informer := factory.Core().V1().Secrets().Informer()
	err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		logger.Warn("Could not watch the routes Secret, the last good routes stay", "error", err.Error())
	})
	if err != nil {
		return fmt.Errorf("watching the routes Secret: %w", err)
	}
	load := func(object any) {
		secret, ok := object.(*corev1.Secret)
		if !ok {
			return
		}
		document, ok := secret.Data[routes.Key]
		if !ok {
			logger.Error("The routes Secret has no document, the last good routes stay", "key", routes.Key)
			return
		}
		_ = loader.Load(document) // logged and counted there
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    load,
		UpdateFunc: func(_, object any) { load(object) },
		DeleteFunc: func(any) { logger.Warn("The routes Secret was deleted, the last good routes stay") },
	})
	if err != nil {
		return fmt.Errorf("watching the routes Secret: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}
