package sinks

import (
	"context"
	"errors"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
)

// errNoTokens refuses alert sinks that ask for a token.
var errNoTokens = errors.New("the sink asks for an OIDC token, and the operator has none: name an object that asks for none")

// ResolveAlerts finds the address of an object's spec.alertSink. The operator itself sends alerts, so what holds for the Shared receiver
// holds for it, whichever receiver the object has: no loopback address, and short names are those of the installation's namespace.
func (r *Resolver) ResolveAlerts(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (*Sink, error) {
	shared := *webhook
	shared.Spec.Receiver = v1alpha1.ReceiverShared
	found, err := r.Resolve(ctx, &shared, *webhook.Spec.AlertSink)
	if step := new(controllers.StepError); errors.As(err, &step) && step.Reason() == v1alpha1.ReasonSinkUnsupported || err == nil && found.Audience != "" {
		return nil, controllers.Stalled(v1alpha1.ReasonSinkUnsupported, errNoTokens)
	}
	return found, err
}
