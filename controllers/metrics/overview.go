package metrics

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// States of webhooks.
const (
	stateRegistered = "registered"
	stateDegraded   = "degraded"
	stateOrphaned   = "orphaned"
)

// collectTimeout bounds reading the cache during a scrape.
const collectTimeout = 5 * time.Second

// Overview collects the metrics that are computed at each scrape.
type Overview struct {
	Objects  client.Reader
	Handles  func(*v1alpha1.MandrillWebhook) bool // whether an object is the installation's
	Orphans  func() int                           // webhooks left behind
	Accounts interface {
		Others() int
		Age() (age time.Duration, ok bool)
	}
}

var (
	webhooksDesc = prometheus.NewDesc("mandrill_operator_webhooks",
		"MandrillWebhooks by state: registered at Mandrill; degraded, which are not Ready, or of which another condition is False; orphaned, left at Mandrill without an object since the operator started.",
		[]string{"state"}, nil)
	othersDesc = prometheus.NewDesc("mandrill_operator_other_webhooks",
		"Webhooks at Mandrill that are no object's and post to the URL of one, in the accounts in use.", nil, nil)
	pollAgeDesc = prometheus.NewDesc("mandrill_operator_poll_age_seconds", "Time since the last successful list of a Mandrill account in use, of the account where that is longest.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (o Overview) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- webhooksDesc
	descriptions <- othersDesc
	descriptions <- pollAgeDesc
}

// Collect implements [prometheus.Collector].
func (o Overview) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	var list v1alpha1.MandrillWebhookList
	if err := o.Objects.List(ctx, &list, client.UnsafeDisableDeepCopy); err == nil { // an error means that the cache has not started
		counts := map[string]int{stateRegistered: 0, stateDegraded: 0, stateOrphaned: o.Orphans()}
		for _, webhook := range list.Items {
			if !o.Handles(&webhook) {
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
	metrics <- prometheus.MustNewConstMetric(othersDesc, prometheus.GaugeValue, float64(o.Accounts.Others()))
	if age, ok := o.Accounts.Age(); ok {
		metrics <- prometheus.MustNewConstMetric(pollAgeDesc, prometheus.GaugeValue, age.Seconds())
	}
}

// counted are the conditions besides Ready that make an object degraded when they are False.
var counted = []string{
	v1alpha1.ConditionDelivering, v1alpha1.ConditionDelivered, v1alpha1.ConditionReceiving, v1alpha1.ConditionEventsAccepted, v1alpha1.ConditionURLExclusive,
}

func isDegraded(webhook *v1alpha1.MandrillWebhook) bool {
	conditions := webhook.Status.Conditions
	return !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) ||
		slices.ContainsFunc(counted, func(name string) bool { return meta.IsStatusConditionFalse(conditions, name) })
}
