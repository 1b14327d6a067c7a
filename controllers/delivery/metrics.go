package delivery

import (
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
)

// Metrics of the writer.
type Metrics struct {
	writes *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{writes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mandrill_operator_delivery_status_writes_total",
		Help: "Writes of what receivers report into the status of MandrillWebhooks, by outcome: written, failed.",
	}, []string{"outcome"})}
	m.writes.WithLabelValues("written")
	m.writes.WithLabelValues("failed")
	registerer.MustRegister(m.writes)
	return m
}

func (m *Metrics) written(err error) {
	if err != nil {
		m.writes.WithLabelValues("failed").Inc()
		return
	}
	m.writes.WithLabelValues("written").Inc()
}

var (
	conditionDesc = prometheus.NewDesc("mandrill_operator_webhook_condition",
		"Conditions of a MandrillWebhook: 1 for True, 0 for False, -1 for Unknown. Ready is there for each, the others only while they are not True.",
		[]string{"webhook", "condition", "reason"}, nil)
	batchesDesc = prometheus.NewDesc("mandrill_operator_upstream_batches_total",
		"Batches that Mandrill says it sent for a webhook since the webhook was created.", []string{"webhook"}, nil)
	eventsDesc = prometheus.NewDesc("mandrill_operator_upstream_events_total",
		"Events that Mandrill says it sent for a webhook since the webhook was created.", []string{"webhook"}, nil)
	lastSentDesc = prometheus.NewDesc("mandrill_operator_upstream_last_sent_timestamp_seconds",
		"When Mandrill says it last sent a batch for a webhook. Absent if it never did.", []string{"webhook"}, nil)
	receiversDesc = prometheus.NewDesc("mandrill_operator_receivers",
		"Receivers that report to the operator, by state: reporting, and silent for those that have not reported for two intervals.", []string{"state"}, nil)
)

// shownConditions are the conditions that mandrill_operator_webhook_condition shows while they are not True. The others are
// summed up by Ready.
var shownConditions = map[string]bool{
	v1alpha1.ConditionDelivered: true, v1alpha1.ConditionDelivering: true, v1alpha1.ConditionReceiving: true,
	v1alpha1.ConditionEventsAccepted: true, v1alpha1.ConditionURLExclusive: true, v1alpha1.ConditionAlertSinkReady: true,
}

// Collector collects what is shown of each object, on the leader only.
type Collector struct {
	Objects *Objects
	Handles func(*v1alpha1.MandrillWebhook) bool
	Store   *Store
	Elected <-chan struct{}
}

// Describe implements [prometheus.Collector].
func (c Collector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{conditionDesc, batchesDesc, eventsDesc, lastSentDesc, receiversDesc} {
		descriptions <- description
	}
}

// Collect implements [prometheus.Collector].
func (c Collector) Collect(metrics chan<- prometheus.Metric) {
	select {
	case <-c.Elected:
	default:
		return
	}
	for _, object := range c.Objects.All() {
		if c.Handles(object) {
			collect(object, metrics)
		}
	}
	reporting, silent := c.Store.Count()
	metrics <- prometheus.MustNewConstMetric(receiversDesc, prometheus.GaugeValue, float64(reporting), "reporting")
	metrics <- prometheus.MustNewConstMetric(receiversDesc, prometheus.GaugeValue, float64(silent), "silent")
}

func collect(object *v1alpha1.MandrillWebhook, metrics chan<- prometheus.Metric) {
	name := object.Namespace + "/" + object.Name
	for _, condition := range object.Status.Conditions {
		if condition.Type == v1alpha1.ConditionReady || shownConditions[condition.Type] && condition.Status != metav1.ConditionTrue {
			value := map[metav1.ConditionStatus]float64{metav1.ConditionTrue: 1, metav1.ConditionUnknown: -1}[condition.Status]
			metrics <- prometheus.MustNewConstMetric(conditionDesc, prometheus.GaugeValue, value, name, condition.Type, condition.Reason)
		}
	}
	upstream := object.Status.Upstream
	if upstream == nil {
		return
	}
	metrics <- prometheus.MustNewConstMetric(batchesDesc, prometheus.CounterValue, float64(upstream.BatchesSent), name)
	metrics <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(upstream.EventsSent), name)
	if upstream.LastSentAt != nil {
		metrics <- prometheus.MustNewConstMetric(lastSentDesc, prometheus.GaugeValue, float64(upstream.LastSentAt.Unix()), name)
	}
}
