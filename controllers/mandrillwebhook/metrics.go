package mandrillwebhook

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
)

// Causes of drift repairs: what had changed since the operator last wrote it.
const (
	causeURL         = registration.CauseURL
	causeDescription = registration.CauseDescription
	causeEvents      = registration.CauseEvents
	causeDisabled    = "disabled"
	causeDeleted     = "deleted"
	causeKey         = "key"
	causeSecret      = "secret"
	causeInbound     = "inbound"
)

// States of webhooks.
const (
	stateRegistered = "registered"
	stateDegraded   = "degraded"
	stateOrphaned   = "orphaned"
)

// collectTimeout bounds reading the cache during a scrape.
const collectTimeout = 5 * time.Second

// overview collects the metrics that are computed at each scrape.
type overview struct{ reconciler *Reconciler }

var (
	webhooksDesc = prometheus.NewDesc("mandrill_operator_webhooks",
		"MandrillWebhooks by state: registered at Mandrill; degraded, which are not Ready, or whose events Mandrill cannot deliver or does not accept; orphaned, left at Mandrill without an object since the operator started.",
		[]string{"state"}, nil)
	othersDesc = prometheus.NewDesc("mandrill_operator_other_webhooks",
		"Webhooks at Mandrill that are no object's and post to the URL of one, in the accounts in use.", nil, nil)
	pollAgeDesc = prometheus.NewDesc("mandrill_operator_poll_age_seconds", "Time since the last successful list of a Mandrill account in use, of the account where that is longest.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (o overview) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- webhooksDesc
	descriptions <- othersDesc
	descriptions <- pollAgeDesc
}

// Collect implements [prometheus.Collector].
func (o overview) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	var list v1alpha1.MandrillWebhookList
	if err := o.reconciler.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err == nil { // an error means that the cache has not started
		counts := map[string]int{stateRegistered: 0, stateDegraded: 0, stateOrphaned: o.reconciler.orphans.Count()}
		for _, webhook := range list.Items {
			if !o.reconciler.Scope.Handles(&webhook) {
				continue
			}
			if webhook.Status.WebhookID != 0 {
				counts[stateRegistered]++
			}
			if isDegraded(&webhook) {
				counts[stateDegraded]++
			}
		}
		for state, count := range counts {
			metrics <- prometheus.MustNewConstMetric(webhooksDesc, prometheus.GaugeValue, float64(count), state)
		}
	}
	metrics <- prometheus.MustNewConstMetric(othersDesc, prometheus.GaugeValue, float64(o.reconciler.accounts.Others()))
	if age, ok := o.reconciler.accounts.Age(); ok {
		metrics <- prometheus.MustNewConstMetric(pollAgeDesc, prometheus.GaugeValue, age.Seconds())
	}
}

func isDegraded(webhook *v1alpha1.MandrillWebhook) bool {
	conditions := webhook.Status.Conditions
	return !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) ||
		meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionDelivering) || meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionEventsAccepted) ||
		meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionURLExclusive)
}
