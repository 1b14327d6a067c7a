package mandrillwebhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/routestore"
)

// A receiver that runs beside the consumer, as a sidecar of its pod, reads its routes from a Secret beside the object,
// which the pod mounts. Everybody else's are in the Secrets of the shared receiver.

func isSidecar(webhook *v1alpha1.MandrillWebhook) bool {
	return webhook.Spec.Receiver == v1alpha1.ReceiverSidecar
}

func sidecarSecretName(webhook *v1alpha1.MandrillWebhook) string { return webhook.Name + "-receiver" }

// currentRoutes returns what the receiver has been handed for an object.
func (r *Reconciler) currentRoutes(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]routes.Route, error) {
	if !isSidecar(webhook) {
		return r.routes.Get(ctx, routeName(webhook))
	}
	secret, err := r.sidecarSecret(ctx, webhook)
	if err != nil || secret == nil {
		return nil, err
	}
	document, err := routes.Decode(secret.Data[routes.Key])
	if err != nil {
		return nil, nil //nolint:nilerr // somebody spoilt it, and it is written anew
	}
	return document.Routes, nil
}

// setRoutes hands the receiver the routes of an object and reports whether that changed anything.
func (r *Reconciler) setRoutes(ctx context.Context, webhook *v1alpha1.MandrillWebhook, list ...routes.Route) (bool, error) {
	if isSidecar(webhook) {
		return r.setSidecarRoutes(ctx, webhook, list)
	}
	changed, err := r.routes.Set(ctx, routeName(webhook), list...)
	if errors.Is(err, routestore.ErrFull) {
		return false, controllers.StalledAt(v1alpha1.ReasonRoutesFull, refusedRetry,
			fmt.Errorf("the Secrets %s to %s have no room for another route: delete MandrillWebhooks that are not needed, or use a second installation",
				r.RoutesSecret, routes.SecretName(r.RoutesSecret.Name, routes.MaxSecrets-1)))
	}
	return changed, err
}

func (r *Reconciler) sidecarSecret(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (*corev1.Secret, error) {
	return r.ownSecret(ctx, webhook, sidecarSecretName(webhook), "delete or rename it, or give the MandrillWebhook another name")
}

func (r *Reconciler) setSidecarRoutes(ctx context.Context, webhook *v1alpha1.MandrillWebhook, list []routes.Route) (bool, error) {
	lines, err := routes.Lines(routes.Named(routeName(webhook), list...)...)
	if err != nil {
		return false, fmt.Errorf("encoding routes: %w", err)
	}
	secret, err := r.sidecarSecret(ctx, webhook)
	if err != nil {
		return false, err
	}
	document := routes.Join(lines)
	if secret == nil && len(list) == 0 || secret != nil && bytes.Equal(secret.Data[routes.Key], document) {
		return false, nil
	}
	return true, r.applySecret(ctx, webhook, sidecarSecretName(webhook), map[string][]byte{routes.Key: document})
}
