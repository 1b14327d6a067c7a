package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// Metrics of delivery from the buffer. Labels are from closed sets.
type Metrics struct {
	events       *telemetry.EventMetrics
	redeliveries prometheus.Counter
	deadLettered *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them. Outcomes of events are counted in those of all modes.
func NewMetrics(registerer prometheus.Registerer, events *telemetry.EventMetrics) *Metrics {
	m := &Metrics{
		events: events,
		redeliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_redeliveries_total", Help: "Events from the buffer that were sent again after a failed attempt.",
		}),
		deadLettered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_lettered_total", Help: "Events that were given up and kept as dead letters in the buffer, by reason.",
		}, []string{"reason"}),
	}
	registerer.MustRegister(m.redeliveries, m.deadLettered)
	return m
}

// The backlog, by webhook.
var (
	backlogEvents = prometheus.NewDesc("mandrill_receiver_backlog_events", "Events in the buffer that are not delivered yet, by webhook.", []string{"webhook"}, nil)
	backlogBytes  = prometheus.NewDesc("mandrill_receiver_backlog_bytes", "Bytes in the buffer of events that are not delivered yet, by webhook.", []string{"webhook"}, nil)
	backlogAge    = prometheus.NewDesc("mandrill_receiver_backlog_oldest_age_seconds", "Age of the oldest event in the buffer that is not delivered yet, by webhook.", []string{"webhook"}, nil)
)

// Describe and Collect make a dispatcher a collector of metrics of its backlog.
func (d *Dispatcher) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- backlogEvents
	descriptions <- backlogBytes
	descriptions <- backlogAge
}

// Collect implements [prometheus.Collector].
func (d *Dispatcher) Collect(metrics chan<- prometheus.Metric) {
	d.mu.Lock()
	l := d.current
	d.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for webhook, q := range l.queues {
		events, bytes, oldest := q.backlog()
		metrics <- prometheus.MustNewConstMetric(backlogEvents, prometheus.GaugeValue, float64(events), webhook)
		metrics <- prometheus.MustNewConstMetric(backlogBytes, prometheus.GaugeValue, float64(bytes), webhook)
		if events > 0 {
			metrics <- prometheus.MustNewConstMetric(backlogAge, prometheus.GaugeValue, d.now().Sub(oldest).Seconds(), webhook)
		}
	}
}
