package publisher

import (
	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
)

// Route returns what all routes of an object have in common. The dead letter sink may be nil.
func Route(webhook *v1alpha1.MandrillWebhook, sink, deadLetter *sinks.Sink) routes.Route {
	spec := webhook.Spec
	base := routes.Route{
		Object: ObjectID(webhook),
		Source: EventSource(webhook), Suspend: spec.Suspend,
		Sink: sink.Route(), Delivery: delivery(spec.Delivery, deadLetter),
	}
	if spec.CloudEventOverrides != nil {
		base.CEOverrides.Extensions = map[string]string{}
		for name, value := range spec.CloudEventOverrides.Extensions {
			base.CEOverrides.Extensions[name] = string(value)
		}
	}
	return base
}

// delivery is how the receiver sends the object's events.
func delivery(spec *v1alpha1.Delivery, deadLetter *sinks.Sink) routes.Delivery {
	if spec == nil {
		return routes.Delivery{}
	}
	options := routes.Delivery{
		Mode: string(spec.Mode), ContentMode: string(spec.ContentMode), DataSchema: string(spec.DataSchema), Payload: string(spec.Payload), Timeout: spec.Timeout,
		BackoffPolicy: spec.BackoffPolicy, BackoffDelay: spec.BackoffDelay,
	}
	if spec.Retry != nil {
		retry := int(*spec.Retry)
		options.Retry = &retry
	}
	if deadLetter != nil {
		to := deadLetter.Route()
		options.DeadLetterSink = &to
	}
	return options
}

// ObjectID is what tells the routes of an object from those of one with the same name and URL in another cluster.
func ObjectID(webhook *v1alpha1.MandrillWebhook) string {
	return routes.ObjectID(string(webhook.UID))
}

// RouteName is the name of an object's routes.
func RouteName(webhook *v1alpha1.MandrillWebhook) string {
	return webhook.Namespace + "/" + webhook.Name
}

// EventSource is the source of the events of an object.
func EventSource(webhook *v1alpha1.MandrillWebhook) string {
	return "/apis/mandrill-operator.io/namespaces/" + webhook.Namespace + "/mandrillwebhooks/" + webhook.Name
}
