package receiver

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// Metrics of the receiver. Labels are from closed sets.
type Metrics struct {
	Sinks *sink.Metrics // for the sender

	requests *prometheus.CounterVec
	duration prometheus.Histogram
	inflight prometheus.Gauge
	bytes    prometheus.Counter
	events   *prometheus.CounterVec
	reloads  *prometheus.CounterVec
	hints    *prometheus.CounterVec
	routes   prometheus.Gauge

	buffered     *prometheus.CounterVec
	redeliveries prometheus.Counter
	deadLettered *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		Sinks: sink.NewMetrics(registerer),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_requests_total", Help: "Requests by outcome; all but accepted and probe were refused.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mandrill_receiver_request_duration_seconds", Help: "Time from a request to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mandrill_receiver_requests_inflight", Help: "Requests that are being answered."}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_received_bytes_total", Help: "Bytes of bodies that were read, those of refused requests included.",
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_events_total", Help: "Events of verified batches, by CloudEvents type and what became of them.",
		}, []string{"type", "outcome"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_routes_loads_total", Help: "Routes documents loaded, by outcome; a failed one changed nothing.",
		}, []string{"outcome"}),
		hints: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_signature_hints_total", Help: "Requests that tell the operator of bad signatures, by outcome.",
		}, []string{"outcome"}),
		routes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mandrill_receiver_routes", Help: "Routes in use."}),
		buffered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffered_events_total", Help: "Events of batches that were put into the buffer, or were there before, by which of both.",
		}, []string{"outcome"}),
		redeliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_redeliveries_total", Help: "Events from the buffer that were sent again because they had failed.",
		}),
		deadLettered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_lettered_total", Help: "Events that were given up and kept as dead letters in the buffer, by reason.",
		}, []string{"reason"}),
	}
	registerer.MustRegister(m.buffered, m.redeliveries, m.deadLettered, m.requests, m.inflight, m.bytes, m.duration, m.events, m.reloads, m.hints, m.routes)
	return m
}
