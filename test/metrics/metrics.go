// Package metrics gathers every metric of the receiver and the operator, for the documents and for promtool.
package metrics

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
	"github.com/mandrill-operator/mandrill-operator/controllers/alerts"
	"github.com/mandrill-operator/mandrill-operator/controllers/certificates"
	shown "github.com/mandrill-operator/mandrill-operator/controllers/delivery"
	"github.com/mandrill-operator/mandrill-operator/controllers/mandrillwebhook"
	"github.com/mandrill-operator/mandrill-operator/controllers/metrics"
	"github.com/mandrill-operator/mandrill-operator/receiver"
	"github.com/mandrill-operator/mandrill-operator/receiver/delivery"
	"github.com/mandrill-operator/mandrill-operator/receiver/dispatch"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal"
	"github.com/mandrill-operator/mandrill-operator/receiver/report"
	"github.com/mandrill-operator/mandrill-operator/receiver/routing"
	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
	"github.com/mandrill-operator/mandrill-operator/version/buildinfo"
)

// register registers what cmd/receiver and cmd/operator register.
func register(registerer prometheus.Registerer) {
	events := receiver.NewMetrics(registerer).Events
	routing.NewMetrics(registerer)
	sink.NewMetrics(registerer)
	journal.NewMetrics(registerer)
	dispatch.NewMetrics(registerer, events)
	registerer.MustRegister(dispatch.New(dispatch.Options{}), newState())
	report.NewMetrics(registerer)
	for _, program := range []string{"receiver", "operator", "emulator"} {
		registerer.MustRegister(buildinfo.New(program))
	}
	mandrillwebhook.New(mandrillwebhook.Options{Metrics: metrics.New(registerer)})
	shown.New(shown.Options{Registerer: registerer})
	alerts.New(alerts.Options{Registerer: registerer})
	registerer.MustRegister(certificates.Collector{})
}

// newState returns a state with a sample of each of its metrics.
func newState() *delivery.State {
	state := delivery.New(delivery.Options{Logger: slog.New(slog.DiscardHandler)})
	state.SetWebhooks(slices.Values([]string{"any"}))
	state.SetBacklog(leader{})
	webhook := state.Webhook("any")
	webhook.Arrived()
	webhook.Delivered(1, time.Second)
	webhook.BadSignature()
	state.Attempted("any", reports.ReasonStatus, 500, true)
	state.DeadLettered("any", journal.ReasonExpired, 1)
	return state
}

// leader is the backlog of a process that delivers from the buffer.
type leader struct{}

func (leader) Waiting(func(string, delivery.Waiting)) {}
func (leader) Leading() bool                          { return true }
func (leader) Delivers(string) bool                   { return true }

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
	case prometheus.Metric, *delivery.State: // always has a sample
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
