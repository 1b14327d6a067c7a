package alerts

import "github.com/prometheus/client_golang/prometheus"

// The outcomes of alerts.
const (
	outcomeAccepted = "accepted"
	outcomeFailed   = "failed"
	outcomeRefused  = "refused"
	outcomeReplaced = "replaced"
	outcomeExpired  = "expired"
	outcomeUnwanted = "unwanted"
)

type metrics struct{ alerts *prometheus.CounterVec }

// newMetrics makes the metrics and registers them.
func newMetrics(registerer prometheus.Registerer, waiting func() float64) *metrics {
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mandrill_operator_alerts_total",
		Help: "Requests with alerts to spec.alertSink by outcome: accepted, failed (sent again), refused (given up); and alerts that were given up " +
			"otherwise: replaced by a newer one, expired after a day, or unwanted because the object is gone or has no alert sink any more.",
	}, []string{"outcome"})}
	for _, outcome := range []string{outcomeAccepted, outcomeFailed, outcomeRefused, outcomeReplaced, outcomeExpired, outcomeUnwanted} {
		m.alerts.WithLabelValues(outcome)
	}
	registerer.MustRegister(m.alerts, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mandrill_operator_alerts_waiting",
		Help: "Alerts that wait to be sent to spec.alertSink, for the first time or again.",
	}, waiting))
	return m
}

func (m *metrics) count(outcome string, n int) { m.alerts.WithLabelValues(outcome).Add(float64(n)) }
