package mandrillwebhook

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
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

// Metrics of the operator. Labels are from closed sets: reasons, names of API calls and of Mandrill's errors.
type Metrics struct {
	registerer prometheus.Registerer
	reconciles *prometheus.CounterVec
	repairs    *prometheus.CounterVec
	calls      *prometheus.CounterVec
	latency    *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		registerer: registerer,
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_operator_reconciles_total", Help: "Reconciles of MandrillWebhooks by result (succeeded, waiting, stalled, retrying) and reason, as in their conditions.",
		}, []string{"result", "reason"}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_operator_drift_repairs_total", Help: "Changes by others, at Mandrill or in a Secret, that the operator reverted, by cause.",
		}, []string{"cause"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_operator_api_requests_total", Help: "Calls of Mandrill's API by call and outcome: ok, the name of Mandrill's error, no_answer or other.",
		}, []string{"call", "outcome"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mandrill_operator_api_request_duration_seconds", Help: "Duration of calls of Mandrill's API by call.",
			Buckets: prometheus.ExponentialBuckets(0.01, 3, 10),
		}, []string{"call"}),
	}
	registerer.MustRegister(m.reconciles, m.repairs, m.calls, m.latency)
	return m
}

// ObserveCall counts a call of Mandrill's API. It is what [mandrill.ClientOptions] asks for.
func (m *Metrics) ObserveCall(call string, took time.Duration, err error) {
	m.calls.WithLabelValues(call, outcome(err)).Inc()
	m.latency.WithLabelValues(call).Observe(took.Seconds())
}

// outcome is the label for an error of the API client.
func outcome(err error) string {
	var refused *mandrill.APIError
	var transport *mandrill.TransportError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refused):
		if name, known := mandrill.KnownName(err); known {
			return name
		}
		return "other" // a name that is not documented: labels are from closed sets
	case errors.As(err, &transport):
		return "no_answer"
	}
	return "other"
}

func (m *Metrics) reconciled(err error) {
	m.reconciles.WithLabelValues(controllers.Outcome(err), controllers.Reason(err)).Inc()
}

func (m *Metrics) repaired(cause string) { m.repairs.WithLabelValues(cause).Inc() }

// overview collects the metrics that are computed at each scrape.
type overview struct{ reconciler *Reconciler }

var (
	webhooksDesc = prometheus.NewDesc("mandrill_operator_webhooks",
		"MandrillWebhooks by state: registered at Mandrill; degraded, which are not Ready, or whose events Mandrill cannot deliver or does not accept; orphaned, left at Mandrill without an object since the operator started.",
		[]string{"state"}, nil)
	pollAgeDesc = prometheus.NewDesc("mandrill_operator_poll_age_seconds", "Time since the last successful list of a Mandrill account in use, of the account where that is longest.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (o overview) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- webhooksDesc
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
	if age, ok := o.reconciler.accounts.Age(); ok {
		metrics <- prometheus.MustNewConstMetric(pollAgeDesc, prometheus.GaugeValue, age.Seconds())
	}
}

func isDegraded(webhook *v1alpha1.MandrillWebhook) bool {
	conditions := webhook.Status.Conditions
	return !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) ||
		meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionDelivering) || meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionEventsAccepted)
}
