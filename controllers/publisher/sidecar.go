package publisher

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
)

// A receiver that runs beside the consumer, as a sidecar in its pod, reads its routes from a Secret beside the object,
// which the pod mounts.

// IsSidecar reports whether the receiver of an object is a sidecar.
func IsSidecar(webhook *v1alpha1.MandrillWebhook) bool {
	return webhook.Spec.Receiver == v1alpha1.ReceiverSidecar
}

// SidecarSecretName is the name of the Secret of a sidecar.
func SidecarSecretName(webhook *v1alpha1.MandrillWebhook) string { return webhook.Name + "-receiver" }

func (p *Publisher) sidecarRoutes(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]routes.Route, error) {
	secret, err := p.Secrets.Get(ctx, webhook, SidecarSecret(webhook))
	if err != nil || secret == nil {
		return nil, err
	}
	document, err := routes.Decode(secret.Data[routes.Key])
	if err != nil {
		return nil, nil //nolint:nilerr // somebody damaged it: the next write replaces it
	}
	return document.Routes, nil
}

func (p *Publisher) setSidecarRoutes(ctx context.Context, webhook *v1alpha1.MandrillWebhook, list []routes.Route) (bool, error) {
	lines, err := routes.Lines(routes.Named(RouteName(webhook), list...)...)
	if err != nil {
		return false, fmt.Errorf("encoding routes: %w", err)
	}
	use := SidecarSecret(webhook)
	secret, err := p.Secrets.Get(ctx, webhook, use)
	if err != nil {
		return false, err
	}
	document, owned := routes.Join(lines), secret != nil && metav1.IsControlledBy(secret, webhook)
	if !owned && len(list) == 0 || owned && bytes.Equal(secret.Data[routes.Key], document) {
		return false, nil
	}
	return true, p.Secrets.Write(ctx, webhook, use, secret, map[string][]byte{routes.Key: document})
}

// SidecarSecret says how the object uses the Secret of its sidecar. It is recognised by the names of its routes.
func SidecarSecret(webhook *v1alpha1.MandrillWebhook) ownedsecrets.Use {
	decode := func(secret *corev1.Secret) (*routes.Document, bool) {
		document, err := routes.Decode(secret.Data[routes.Key])
		return document, err == nil
	}
	return ownedsecrets.Use{
		Name: SidecarSecretName(webhook), Entries: []string{routes.Key},
		Remedy: "delete or rename it, or give the MandrillWebhook another name",
		Recognised: func(_ context.Context, secret *corev1.Secret) (bool, error) {
			document, ok := decode(secret)
			return ok && !slices.ContainsFunc(document.Routes, func(route routes.Route) bool {
				return routes.Webhook(route.Name) != RouteName(webhook)
			}), nil
		},
		Valid: func(secret *corev1.Secret) bool { _, ok := decode(secret); return ok },
	}
}
