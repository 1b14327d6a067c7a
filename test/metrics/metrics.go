// Package metrics gathers every metric of the receiver and the operator, for the documents and for promtool.
package metrics

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	shown "github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/metrics"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// register registers what cmd/receiver and cmd/operator register.
func register(registerer prometheus.Registerer) {
	events := receiver.NewMetrics(registerer).Events
	routing.NewMetrics(registerer)
	sink.NewMetrics(registerer)
	journal.NewMetrics(registerer)
	dispatch.NewMetrics(registerer, events)
	registerer.MustRegister(dispatch.New(dispatch.Options{}))
	mandrillwebhook.New(mandrillwebhook.Options{Metrics: metrics.New(registerer)})
	shown.New(shown.Options{Registerer: registerer})
}

// Gatherer returns the metrics of both programs. Each has at least one sample, with placeholders as the values of labels.
func Gatherer() (prometheus.Gatherer, error) {
	collected := &collectors{}
	register(collected)
	registry := prometheus.NewPedanticRegistry()
	for _, collector := range collected.list {
		if err := registry.Register(withSamples(collector)); err != nil {
			return nil, err
		}
	}
	return registry, nil
}

// collectors remembers what is registered.
type collectors struct {
	prometheus.Registerer
	list []prometheus.Collector
}

func (c *collectors) MustRegister(list ...prometheus.Collector) { c.list = append(c.list, list...) }

// withSamples makes a collector of samples from one that may have none yet.
func withSamples(collector prometheus.Collector) prometheus.Collector {
	switch vector := collector.(type) {
	case *prometheus.CounterVec:
		vector.WithLabelValues(placeholders(describe(vector)[0])...)
	case *prometheus.GaugeVec:
		vector.WithLabelValues(placeholders(describe(vector)[0])...)
	case *prometheus.HistogramVec:
		vector.WithLabelValues(placeholders(describe(vector)[0])...)
	case prometheus.Metric: // always has a sample
	default:
		return described{collector}
	}
	return collector
}

// described has a sample for each description of a collector that computes its metrics from a state that is not there.
// A description does not give the type: by the convention, names of counters end in _total.
type described struct{ prometheus.Collector }

func (d described) Collect(metrics chan<- prometheus.Metric) {
	for _, description := range describe(d) {
		kind := prometheus.GaugeValue
		if strings.Contains(description.String(), `_total", help:`) {
			kind = prometheus.CounterValue
		}
		metrics <- prometheus.MustNewConstMetric(description, kind, 0, placeholders(description)...)
	}
}

func describe(collector prometheus.Collector) []*prometheus.Desc {
	found := make(chan *prometheus.Desc, 100)
	collector.Describe(found)
	close(found)
	var list []*prometheus.Desc
	for description := range found {
		list = append(list, description)
	}
	return list
}

var labels = regexp.MustCompile(`variableLabels: \{([^}]*)\}`)

// placeholders returns a value for each label, whose names a description has in its text only.
func placeholders(description *prometheus.Desc) []string {
	found := labels.FindStringSubmatch(description.String())
	if found == nil {
		panic(fmt.Sprint("no labels in the text of a description: ", description))
	}
	var values []string
	for name := range strings.SplitSeq(found[1], ",") {
		if name != "" {
			values = append(values, "any")
		}
	}
	return values
}
