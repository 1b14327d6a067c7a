package mandrillwebhook

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// A receiver that runs beside the consumer, as a sidecar in its pod, reads its routes from a Secret beside the object,
// which the pod mounts.

func isSidecar(webhook *v1alpha1.MandrillWebhook) bool {
	return webhook.Spec.Receiver == v1alpha1.ReceiverSidecar
}

func sidecarSecretName(webhook *v1alpha1.MandrillWebhook) string { return webhook.Name + "-receiver" }

func (p *publisher) sidecarRoutes(ctx context.Context, webhook *v1alpha1.MandrillWebhook) ([]routes.Route, error) {
	secret, err := p.sidecarSecret(ctx, webhook)
	if err != nil || secret == nil {
		return nil, err
	}
	document, err := routes.Decode(secret.Data[routes.Key])
	if err != nil {
		return nil, nil //nolint:nilerr // somebody damaged it: the next write replaces it
	}
	return document.Routes, nil
}

func (p *publisher) setSidecarRoutes(ctx context.Context, webhook *v1alpha1.MandrillWebhook, list []routes.Route) (bool, error) {
	lines, err := routes.Lines(routes.Named(routeName(webhook), list...)...)
	if err != nil {
		return false, fmt.Errorf("encoding routes: %w", err)
	}
	secret, err := p.sidecarSecret(ctx, webhook)
	if err != nil {
		return false, err
	}
	document := routes.Join(lines)
	if secret == nil && len(list) == 0 || secret != nil && bytes.Equal(secret.Data[routes.Key], document) {
		return false, nil
	}
	return true, p.secrets.apply(ctx, webhook, sidecarSecretName(webhook), map[string][]byte{routes.Key: document})
}

func (p *publisher) sidecarSecret(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (*corev1.Secret, error) {
	return p.secrets.get(ctx, webhook, sidecarSecretName(webhook), "delete or rename it, or give the MandrillWebhook another name")
}
