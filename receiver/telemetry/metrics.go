// Package telemetry has the spans of batches and events, and the metrics that direct delivery and delivery from the buffer
// share.
package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/eventtypes"
)

// EventMetrics counts events by what became of them.
type EventMetrics struct{ events *prometheus.CounterVec }

// NewEventMetrics makes the metrics and registers them.
func NewEventMetrics(registerer prometheus.Registerer) *EventMetrics {
	m := &EventMetrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mandrill_receiver_events_total", Help: "Events of verified batches, by CloudEvents type and outcome.",
	}, []string{"type", "outcome"})}
	for _, row := range eventtypes.Table { // so that rate() sees the first of each
		label := row.Type
		if row.IsPrefix() {
			label += "*"
		}
		for _, outcome := range []string{"accepted", "dead_letter_sink", "dead_lettered", "failed", "duplicate"} {
			m.events.WithLabelValues(label, outcome)
		}
	}
	registerer.MustRegister(m.events)
	return m
}

// Count adds an event. The label of its type is from a closed set.
func (m *EventMetrics) Count(label, outcome string) { m.events.WithLabelValues(label, outcome).Inc() }
