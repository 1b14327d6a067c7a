package sink

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts requests to sinks. All labels have closed sets of values.
type Metrics struct {
	attempts     *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	deadLetters  *prometheus.CounterVec
	openCircuits prometheus.Gauge
}

// NewMetrics returns the metrics, registered unless registerer is nil.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_sink_requests_total", Help: "Requests to sinks and dead letter sinks, by content mode and outcome.",
		}, []string{"mode", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mandrill_receiver_sink_request_duration_seconds", Help: "Time from a request to a sink to its answer or timeout.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"mode"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_letter_sink_events_total", Help: "Events sent to dead letter sinks, by outcome.",
		}, []string{"outcome"}),
		openCircuits: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mandrill_receiver_open_circuits", Help: "Open circuits, one per webhook and sink: after repeated failures only circuit probes are sent.",
		}),
	}
	for _, mode := range []ContentMode{Binary, Structured, Batched} { // so that rate() sees the first of each
		for _, outcome := range []string{"accepted", "refused", "timeout", "no_answer", "overloaded", "failed", outcomeAborted} {
			m.attempts.WithLabelValues(string(mode), outcome)
		}
	}
	for _, outcome := range []string{"accepted", "failed"} {
		m.deadLetters.WithLabelValues(outcome)
	}
	if registerer != nil {
		registerer.MustRegister(m.attempts, m.duration, m.deadLetters, m.openCircuits)
	}
	return m
}

// count adds a request to a sink.
func (m *Metrics) count(mode ContentMode, outcome string, took time.Duration) {
	m.attempts.WithLabelValues(string(mode), outcome).Inc()
	m.duration.WithLabelValues(string(mode)).Observe(took.Seconds())
}

// outcomeAborted is that of a request that was given up: the receiver stops, or the time of its batch is over.
const outcomeAborted = "aborted"

// outcomeOf returns the outcome of a request as the metrics name it.
func outcomeOf(err error) string {
	if err == nil {
		return "accepted"
	}
	failure := asError(err)
	switch {
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
