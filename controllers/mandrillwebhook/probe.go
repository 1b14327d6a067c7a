package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/api/routes"
	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/probe"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

const (
	// How soon to probe again. A watch brings the receiver a route in milliseconds; a receiver that does not get it, or
	// does not run, is probed less and less often: the next pause is as long as the wait so far.
	firstProbeRetry = 100 * time.Millisecond
	lastProbeRetry  = 30 * time.Second
)

// prober asks receivers whether they serve a webhook's URL, as Mandrill does before it registers the URL.
type prober struct {
	urls         webhookurl.URLs
	receivers    *probe.Prober
	routesSecret types.NamespacedName
	now          func() time.Time
}

func newProber(options Options, urls webhookurl.URLs) *prober {
	receivers := probe.New(probe.Options{
		PublicURL: urls.Public, ReceiverURL: options.ReceiverURL, AllowHosts: options.AllowSinkHosts, Client: options.HTTPClient,
	})
	return &prober{urls: urls, receivers: receivers, routesSecret: options.RoutesSecret, now: options.Now}
}

// probeUntilServed probes the receiver once and returns Waiting, so that the step runs again, as long as the URL is not
// served with the key, if there is one. The pause grows with the time that the step's condition has been False.
func (p *prober) probeUntilServed(ctx context.Context, run *state, condition, key string) error {
	err := p.receivers.Probe(ctx, run.url, key, isSidecar(run.webhook))
	if err == nil {
		return nil
	}
	retry := firstProbeRetry
	if since := meta.FindStatusCondition(run.webhook.Status.Conditions, condition); since != nil && since.Status == metav1.ConditionFalse {
		retry = min(max(p.now().Sub(since.LastTransitionTime.Time), firstProbeRetry), lastProbeRetry)
	}
	first := ""
	if lacksBuffer(run.webhook, err) {
		first = "delivery.mode Buffered needs a receiver with a buffer: run it with --buffer, or leave delivery.mode out or write Direct; if it has one, "
	}
	if isSidecar(run.webhook) {
		return controllers.Waiting(v1alpha1.ReasonRouteNotServed, retry,
			fmt.Errorf("the sidecar does not serve %s yet (%w): %scheck that its pod mounts the Secret %s, that it runs the receiver with --config on the Secret's %s, and that the URL leads there from here too",
				p.urls.Shown(run.webhook), err, first, sidecarSecretName(run.webhook), routes.Key))
	}
	return controllers.Waiting(v1alpha1.ReasonRouteNotServed, retry,
		fmt.Errorf("the receiver does not serve %s yet (%w): %scheck that it runs, that it reads the Secret %s, and that the operator reaches it, by --receiver-url or at the URL itself",
			p.urls.Shown(run.webhook), err, first, p.routesSecret))
}

// lacksBuffer reports whether a probe failed as it does at a receiver that should buffer and has no buffer. A proxy
// without a receiver behind it answers the same. Only HEAD is conclusive: a batch gets 503 for other reasons too.
func lacksBuffer(webhook *v1alpha1.MandrillWebhook, err error) bool {
	var status *probe.StatusError
	return errors.As(err, &status) && status.Method == http.MethodHead && status.Status == http.StatusServiceUnavailable &&
		webhook.Spec.Delivery != nil && webhook.Spec.Delivery.Mode == v1alpha1.ModeBuffered
}
