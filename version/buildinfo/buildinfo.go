// Package buildinfo makes the metric that says which build of a program runs.
package buildinfo

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mandrill-operator/mandrill-operator/version"
)

// New returns the metric of a program: receiver, operator or emulator. Its value is always 1.
func New(program string) prometheus.Collector {
	build := version.Get()
	metric := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mandrill_" + program + "_build_info", Help: "Always 1. The labels say which build of the " + program + " runs.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "go": build.Go},
	})
	metric.Set(1)
	return metric
}
