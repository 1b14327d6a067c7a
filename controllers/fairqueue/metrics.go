package fairqueue

import "github.com/prometheus/client_golang/prometheus"

var reconcilesDesc = prometheus.NewDesc("mandrill_operator_reconciles",
	"Reconciles of MandrillWebhooks by state: waiting for their turn; running; and slow, those of the running ones that wait for Mandrill or another server and hold no worker.",
	[]string{"state"}, nil)

// collector shows how many reconciles a queue has.
type collector struct{ queue *Queue }

// Collect returns a collector of how many reconciles a queue has.
func Collect(queue *Queue) prometheus.Collector { return collector{queue} }

// Describe implements [prometheus.Collector].
func (c collector) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- reconcilesDesc }

// Collect implements [prometheus.Collector].
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	counts := c.queue.Count()
	for state, count := range map[string]int{"waiting": counts.Waiting, "running": counts.Running, "slow": counts.Slow} {
		metrics <- prometheus.MustNewConstMetric(reconcilesDesc, prometheus.GaugeValue, float64(count), state)
	}
}
