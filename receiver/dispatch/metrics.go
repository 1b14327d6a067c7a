package dispatch

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/telemetry"
)

// Metrics of delivery from the buffer. Labels are from closed sets.
type Metrics struct {
	events       *telemetry.EventMetrics
	redeliveries prometheus.Counter
}

// NewMetrics makes the metrics and registers them. Outcomes of events are counted in those of all modes.
func NewMetrics(registerer prometheus.Registerer, events *telemetry.EventMetrics) *Metrics {
	m := &Metrics{
		events: events,
		redeliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_redeliveries_total", Help: "Events from the buffer that were sent again after a failed attempt.",
		}),
	}
	registerer.MustRegister(m.redeliveries)
	return m
}

// The backlog, by webhook, and the limit of its age.
var (
	maxAge        = prometheus.NewDesc("mandrill_receiver_delivery_max_age_seconds", "Value of --delivery-max-age: the age at which a failing event in the buffer is given up.", nil, nil)
	backlogEvents = prometheus.NewDesc("mandrill_receiver_backlog_events", "Events in the buffer that are not delivered yet, by webhook.", []string{"webhook"}, nil)
	backlogBytes  = prometheus.NewDesc("mandrill_receiver_backlog_bytes", "Bytes in the buffer of events that are not delivered yet, by webhook.", []string{"webhook"}, nil)
	backlogAge    = prometheus.NewDesc("mandrill_receiver_backlog_oldest_age_seconds", "Age of the oldest event in the buffer that is not delivered yet, by webhook.", []string{"webhook"}, nil)
)

// Describe and Collect make a dispatcher a collector of metrics of its backlog.
func (d *Dispatcher) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- maxAge
	descriptions <- backlogEvents
	descriptions <- backlogBytes
	descriptions <- backlogAge
}

// Collect implements [prometheus.Collector].
func (d *Dispatcher) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.MustNewConstMetric(maxAge, prometheus.GaugeValue, d.maxAge.Seconds())
	d.Waiting(func(webhook string, waiting delivery.Waiting) {
		metrics <- prometheus.MustNewConstMetric(backlogEvents, prometheus.GaugeValue, float64(waiting.Events), webhook)
		metrics <- prometheus.MustNewConstMetric(backlogBytes, prometheus.GaugeValue, float64(waiting.Bytes), webhook)
		if waiting.Events > 0 {
			metrics <- prometheus.MustNewConstMetric(backlogAge, prometheus.GaugeValue, d.now().Sub(waiting.Oldest).Seconds(), webhook)
		}
	})
}

// Leading reports whether this dispatcher delivers.
func (d *Dispatcher) Leading() bool { return len(d.leaderships()) > 0 }

// Delivers reports whether this dispatcher delivers a webhook, and knows all that waits of it.
func (d *Dispatcher) Delivers(webhook string) bool {
	return slices.ContainsFunc(d.leaderships(), func(l *leadership) bool { return l.allKnown.Load() && l.consumer.Delivers(webhook) })
}

// Waiting calls yield for each webhook with a backlog that this dispatcher delivers.
func (d *Dispatcher) Waiting(yield func(webhook string, waiting delivery.Waiting)) {
	for _, l := range d.leaderships() {
		l.mu.Lock()
		queues := slices.Collect(maps.Values(l.queues))
		l.mu.Unlock()
		for _, q := range queues {
			events, bytes, oldest := q.backlog()
			yield(q.webhook, delivery.Waiting{Events: events, Bytes: bytes, Oldest: oldest})
		}
	}
}
