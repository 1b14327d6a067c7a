package report

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// patience is how many reports in a row must fail before it is logged: operators are restarted, and one of two is not the leader.
const patience = 3

// outage logs when reports begin to fail, and when they are accepted again.
type outage struct {
	logger   *slog.Logger
	failures int // in a row
	logged   bool
}

func (o *outage) record(err error) {
	if err == nil {
		if o.logged {
			o.logger.Info("The operator accepts reports again", "failedReports", o.failures)
		}
		o.failures, o.logged = 0, false
		return
	}
	o.failures++
	if o.logged || o.failures < patience && !isUnsupported(err) {
		return
	}
	o.logged = true
	if isUnsupported(err) {
		o.logger.Warn("The operator takes no reports, so the objects do not show delivery; is it older than this receiver, or is --operator-url wrong?",
			"error", err.Error())
		return
	}
	o.logger.Warn("Reports do not reach the operator, so the objects do not show delivery; delivery goes on, and reports are tried again",
		"failedReports", o.failures, "error", err.Error())
}

// Metrics of reports.
type Metrics struct{ reports *prometheus.CounterVec }

// The outcomes of reports.
const (
	outcomeAccepted    = "accepted"
	outcomeRefused     = "refused"
	outcomeUnsupported = "unsupported"
	outcomeFailed      = "failed"
)

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mandrill_receiver_reports_total",
		Help: "Reports of the state of delivery to the operator, by outcome: accepted, refused (another status), unsupported (404) or failed (no answer).",
	}, []string{"outcome"})}
	for _, outcome := range []string{outcomeAccepted, outcomeRefused, outcomeUnsupported, outcomeFailed} {
		m.reports.WithLabelValues(outcome)
	}
	registerer.MustRegister(m.reports)
	return m
}

func outcomeOf(err error) string {
	var answer answerError
	switch {
	case err == nil:
		return outcomeAccepted
	case isUnsupported(err):
		return outcomeUnsupported
	case errors.As(err, &answer):
		return outcomeRefused
	}
	return outcomeFailed
}
