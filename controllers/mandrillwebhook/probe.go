package mandrillwebhook

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/probe"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

func newProbes(options Options, urls webhookurl.URLs, changed func(context.Context, types.NamespacedName)) (pool *probe.Pool, atURLs *probe.AtURLs) {
	probing := probe.Options{
		PublicURL: urls.Public, ReceiverURL: options.ReceiverURL, AllowHosts: options.AllowSinkHosts,
		Client: options.HTTPClient, Resolver: options.Resolver, Connected: options.Connected,
	}
	pool = probe.NewPool(probe.PoolOptions{Prober: probe.New(probing), Changed: changed, Interval: options.ProbeInterval, Wait: options.ProbeWait})
	return pool, probe.NewAtURLs(probing)
}

// served asks the receiver for the object's URL, with a key if there is one, as Mandrill does before it registers the URL. It
// returns an error unless the URL is served. After a change of the routes nothing counts that was known before; without one,
// a condition that was True is trusted until probes fail.
func (r *Reconciler) served(ctx context.Context, run *state, condition, key string, changed bool) error {
	webhook := run.webhook
	question := probe.Question{
		Object: run.key(), UID: webhook.UID, Generation: webhook.Generation, URL: run.url, Key: key, Sidecar: publisher.IsSidecar(webhook),
	}
	if changed {
		r.probes.Renew(question)
	}
	receiver := probe.Receiver{
		URL: r.urls.Shown(webhook), Secret: r.RoutesSecret.String(), Sidecar: question.Sidecar,
		Buffered: webhook.Spec.Delivery != nil && webhook.Spec.Delivery.Mode == v1alpha1.ModeBuffered,
	}
	if question.Sidecar {
		receiver.Secret = publisher.SidecarSecretName(webhook)
	}
	return r.probes.Ask(ctx, question, !changed && wasTrue(webhook, condition)).StepError(receiver)
}
