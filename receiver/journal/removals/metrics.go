// Package removals counts the dead letters that the buffer removed by itself.
package removals

import (
	"iter"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts removed dead letters by the webhook that they belong to.
type Metrics struct {
	evicted, agedOut *prometheus.CounterVec

	mu    sync.Mutex      // guards known
	known map[string]bool // nil: all are counted by name
}

// NewMetrics makes the metrics and registers them; with nil they are not registered.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		evicted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_letters_evicted_total", Help: "Dead letters that were removed because newer ones needed the space, by their webhook.",
		}, []string{"webhook"}),
		agedOut: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_letters_aged_out_total", Help: "Dead letters that were removed because they were older than --dead-letter-max-age, by their webhook.",
		}, []string{"webhook"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.evicted, m.agedOut)
	}
	return m
}

// Evicted counts a dead letter that was removed to make space.
func (m *Metrics) Evicted(webhook string) { m.count(m.evicted, webhook) }

// AgedOut counts a dead letter that was removed because of its age.
func (m *Metrics) AgedOut(webhook string) { m.count(m.agedOut, webhook) }

// count counts the dead letters of webhooks that have no route without their name: so the series are bounded by the routes.
func (m *Metrics) count(removed *prometheus.CounterVec, webhook string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known != nil && !m.known[webhook] {
		webhook = ""
	}
	removed.WithLabelValues(webhook).Inc()
}

// SetWebhooks gives each webhook that has a route its series, so that rate() sees the first removal, and removes the series of those
// that lost theirs.
func (m *Metrics) SetWebhooks(names iter.Seq[string]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.known
	m.known = map[string]bool{}
	for name := range names {
		m.known[name] = true
		m.evicted.WithLabelValues(name)
		m.agedOut.WithLabelValues(name)
	}
	for name := range before {
		if !m.known[name] {
			m.evicted.DeleteLabelValues(name)
			m.agedOut.DeleteLabelValues(name)
		}
	}
}
