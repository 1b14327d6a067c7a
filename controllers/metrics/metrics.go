// Package metrics has the operator's counters: of reconciles, of repairs and of calls of Mandrill's API.
package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/mandrill"
)

// Metrics of the operator. Labels are from closed sets: reasons, names of API calls and of Mandrill's errors.
type Metrics struct {
	Registerer prometheus.Registerer // where they are registered
	reconciles *prometheus.CounterVec
	repairs    *prometheus.CounterVec
	calls      *prometheus.CounterVec
	latency    *prometheus.HistogramVec
}

// New makes the metrics and registers them.
func New(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		Registerer: registerer,
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

// Reconciled counts a reconcile by its outcome.
func (m *Metrics) Reconciled(err error) {
	m.reconciles.WithLabelValues(controllers.Outcome(err), controllers.Reason(err)).Inc()
}

// Repaired counts a change by others that was reverted.
func (m *Metrics) Repaired(cause string) { m.repairs.WithLabelValues(cause).Inc() }
