package receiver

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// Metrics of requests. Labels are from closed sets.
type Metrics struct {
	Events *telemetry.EventMetrics // shared with delivery from the buffer

	requests *prometheus.CounterVec
	duration prometheus.Histogram
	inflight prometheus.Gauge
	bytes    prometheus.Counter
	buffered *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		Events: telemetry.NewEventMetrics(registerer),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_requests_total", Help: "Requests by outcome; all except accepted and probe were refused.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mandrill_receiver_request_duration_seconds", Help: "Time from a request to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mandrill_receiver_requests_inflight", Help: "Requests that are being answered."}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_received_bytes_total", Help: "Bytes of request bodies that were read, including those of refused requests.",
		}),
		buffered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffered_events_total", Help: "Events of batches for the buffer, by outcome: stored, or duplicate when the batch had been stored before.",
		}, []string{"outcome"}),
	}
	for _, answer := range answers { // so that rate() sees the first of each
		m.requests.WithLabelValues(answer.outcome)
	}
	for _, outcome := range []string{outcomeAccepted, outcomeProbe} {
		m.requests.WithLabelValues(outcome)
	}
	for _, outcome := range []string{"stored", "duplicate"} {
		m.buffered.WithLabelValues(outcome)
	}
	registerer.MustRegister(m.requests, m.duration, m.inflight, m.bytes, m.buffered)
	return m
}
