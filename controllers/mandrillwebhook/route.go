package mandrillwebhook

import (
	"context"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
)

// route gives the receiver its route and waits until it is served, because Mandrill requests the URL when it registers
// the webhook. Without a sink the receiver keeps the route that it has, so that a sink that is away for a while does not
// make it refuse batches.
//
// A receiver that answered once is asked again and again, so that the condition follows one that goes away.
func (r *Reconciler) route(ctx context.Context, run *state) error {
	asked := false
	defer func() {
		if !asked {
			r.probes.Forget(run.key())
		}
	}()
	if run.sink == nil {
		return r.updateRoutes(ctx, run)
	}
	if err := r.resolveURL(ctx, run); err != nil {
		return err
	}
	owner, err := r.urlOwner(ctx, run)
	if err != nil {
		return err
	}
	if owner != nil {
		return r.yieldURL(ctx, run, owner)
	}
	if err := r.Scope.CheckQuota(ctx, r.Client, r.MaxWebhooksPerNamespace, run.webhook); err != nil {
		return err
	}
	run.webhook.Status.CloudEventAttributes = cloudEventAttributes(run.webhook)
	changed, err := r.publish(ctx, run)
	if err != nil {
		return err
	}
	asked = true
	err = r.served(ctx, run, v1alpha1.ConditionReceiverReady, "", changed)
	if err == nil || changed || !wasTrue(run.webhook, v1alpha1.ConditionRegistered) {
		return err
	}
	// The webhook is registered, and stays so while its receiver is away. The other steps keep it in order.
	if wasTrue(run.webhook, v1alpha1.ConditionReceiverReady) {
		r.warn(run.webhook, controllers.Reason(err), err.Error())
	}
	return controllers.Tolerated(err)
}

// cloudEventAttributes are the types that the subscribed events become. Events without a name may come as well,
// whatever is subscribed.
func cloudEventAttributes(webhook *v1alpha1.MandrillWebhook) []v1alpha1.CloudEventAttributes {
	var types []string
	for _, event := range webhook.Spec.Events {
		types = append(types, eventtypes.Subscribed(string(event))...)
	}
	if webhook.Spec.Inbound != nil {
		types = append(types, eventtypes.Subscribed("inbound")...)
	}
	var attributes []v1alpha1.CloudEventAttributes
	for _, eventType := range types {
		attributes = append(attributes, v1alpha1.CloudEventAttributes{Type: eventType, Source: publisher.EventSource(webhook)})
	}
	return attributes
}
