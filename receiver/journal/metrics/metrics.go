// Package metrics has the metrics of the buffer.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/natsfiles"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/removals"
)

// Metrics of the buffer. Labels are from closed sets.
type Metrics struct {
	Available      prometheus.Gauge
	Failures       prometheus.Counter
	AppendDuration prometheus.Histogram
	Duplicates     prometheus.Counter
	Damaged        prometheus.Counter
	RepairsSkipped *prometheus.CounterVec
	Removals       *removals.Metrics
	Stored         *prometheus.GaugeVec
	Limit          *prometheus.GaugeVec
	Lost           *prometheus.GaugeVec
	Partitions     prometheus.Gauge
	Free           *prometheus.GaugeVec // without labels; it has no value where the volume is not ours
}

// New makes the metrics and registers them; with nil they are not registered.
func New(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		Available: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_available", Help: "1 while the buffer can be written.",
		}),
		Failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_failures_total", Help: "How often the buffer failed and was opened again.",
		}),
		AppendDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mandrill_receiver_buffer_append_duration_seconds", Help: "Time until a batch is on disk, or storing it has failed.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 3, 10),
		}),
		Duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_duplicates_total", Help: "Batches that Mandrill sent again and that were stored before.",
		}),
		Damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_damaged_total", Help: "Damaged places found in the buffer, at each of which a message was lost.",
		}),
		RepairsSkipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_repairs_skipped_total",
			Help: "Repairs of the buffer's files that were skipped because the files may be good ones of another layout, by reason.",
		}, []string{"reason"}),
		Removals: removals.NewMetrics(registerer),
		Stored: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_stored_bytes", Help: "Bytes stored, by stream.",
		}, []string{"stream"}),
		Limit: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_limit_bytes", Help: "Bytes that may be stored, by stream.",
		}, []string{"stream"}),
		Lost: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_lost_messages", Help: "Stored messages that were found to be gone when the buffer was opened, in the last day, by stream.",
		}, []string{"stream"}),
		Free: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_free_bytes", Help: "Bytes of the buffer's volume that are free for batches, apart from the limits.",
		}, nil),
		Partitions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_partitions", Help: "Partitions of the buffer that this process delivers, of 12. All of a buffer that only it uses.",
		}),
	}
	for _, reason := range []natsfiles.Reason{natsfiles.UnknownVersion, natsfiles.TooMuchDamage} { // so that rate() sees the first
		m.RepairsSkipped.WithLabelValues(string(reason))
	}
	if registerer != nil {
		registerer.MustRegister(m.Available, m.Failures, m.AppendDuration, m.Duplicates, m.Damaged, m.RepairsSkipped, m.Stored, m.Limit, m.Lost, m.Partitions, m.Free)
	}
	return m
}
