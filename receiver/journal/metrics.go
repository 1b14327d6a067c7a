package journal

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the buffer. Labels are from closed sets.
type Metrics struct {
	available      prometheus.Gauge
	failures       prometheus.Counter
	appendDuration prometheus.Histogram
	duplicates     prometheus.Counter
	damaged        prometheus.Counter
	repairsSkipped *prometheus.CounterVec
	evicted        *prometheus.CounterVec
	agedOut        *prometheus.CounterVec
	stored         *prometheus.GaugeVec
	limit          *prometheus.GaugeVec
	lost           *prometheus.GaugeVec
	leader         prometheus.Gauge
	free           *prometheus.GaugeVec // without labels; it has no value where the volume is not ours
}

// NewMetrics makes the metrics and registers them; with nil they are not registered.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		available: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_available", Help: "1 while the buffer can be written.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_failures_total", Help: "How often the buffer failed and was opened again.",
		}),
		appendDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mandrill_receiver_buffer_append_duration_seconds", Help: "Time until a batch is on disk, or storing it has failed.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 3, 10),
		}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_duplicates_total", Help: "Batches that Mandrill sent again and that were stored before.",
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_damaged_total", Help: "Damaged places found in the buffer, at each of which a message was lost.",
		}),
		repairsSkipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_buffer_repairs_skipped_total",
			Help: "Repairs of the buffer's files that were skipped because the files may be good ones of another layout, by reason.",
		}, []string{"reason"}),
		evicted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_letters_evicted_total", Help: "Dead letters that were removed because newer ones needed the space, by their webhook.",
		}, []string{"webhook"}),
		agedOut: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_receiver_dead_letters_aged_out_total", Help: "Dead letters that were removed because they were older than --dead-letter-max-age, by their webhook.",
		}, []string{"webhook"}),
		stored: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_stored_bytes", Help: "Bytes stored, by stream.",
		}, []string{"stream"}),
		limit: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_limit_bytes", Help: "Bytes that may be stored, by stream.",
		}, []string{"stream"}),
		lost: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_lost_messages", Help: "Stored messages that were found to be gone when the buffer was opened, in the last day, by stream.",
		}, []string{"stream"}),
		free: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_free_bytes", Help: "Bytes of the buffer's volume that are free for batches, apart from the limits.",
		}, nil),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mandrill_receiver_buffer_leader", Help: "1 while this process delivers what is in the buffer.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.available, m.failures, m.appendDuration, m.duplicates, m.damaged, m.repairsSkipped, m.evicted, m.agedOut, m.stored, m.limit, m.lost, m.leader, m.free)
	}
	return m
}
