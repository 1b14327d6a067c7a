package sink

import "github.com/prometheus/client_golang/prometheus"

// Metrics of what is sent to sinks. Labels are from closed sets.
type Metrics struct {
	attempts    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	deadLetters *prometheus.CounterVec
	circuits    prometheus.Gauge
}

// NewMetrics makes the metrics and registers them; with nil they are not registered.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_sink_requests_total", Help: "Requests to sinks and dead letter sinks, by content mode and outcome.",
		}, []string{"mode", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mandrill_receiver_sink_request_duration_seconds", Help: "Time from a request to a sink to its answer, or to giving up.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"mode"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_letter_sink_events_total", Help: "Events for dead letter sinks, by whether they were accepted there.",
		}, []string{"outcome"}),
		circuits: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mandrill_receiver_open_circuits", Help: "Sinks that failed so often that they are left alone for a while.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.attempts, m.duration, m.deadLetters, m.circuits)
	}
	return m
}

// outcomeOf names how a request went.
func outcomeOf(err error) string {
	failure := asError(err)
	switch {
	case err == nil:
		return "accepted"
	case !Temporary(err):
		return "refused"
	case failure.timeout():
		return "timeout"
	case failure.Status == 0:
		return "no_answer"
	case failure.overloaded():
		return "overloaded"
	}
	return "failed"
}
