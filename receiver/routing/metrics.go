package routing

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the routes in use.
type Metrics struct {
	loads  *prometheus.CounterVec
	routes prometheus.Gauge
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_routes_loads_total", Help: "Routes documents loaded, by outcome; a failed load changed nothing.",
		}, []string{"outcome"}),
		routes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mandrill_receiver_routes", Help: "Routes in use."}),
	}
	for _, outcome := range []string{"succeeded", "failed"} { // so that rate() sees the first
		m.loads.WithLabelValues(outcome)
	}
	registerer.MustRegister(m.loads, m.routes)
	return m
}
