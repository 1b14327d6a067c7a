package reports

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the reports. The values of labels are closed sets.
type Metrics struct {
	reports *prometheus.CounterVec
	ignored *prometheus.CounterVec
	reviews *prometheus.CounterVec
}

// Why a webhook of a report was ignored.
const (
	IgnoredUnknown    = "unknown"     // there is no such object
	IgnoredNotAllowed = "not_allowed" // the reporter cannot be a receiver of the object
	IgnoredInvalid    = "invalid"     // what is reported is impossible
	IgnoredTooMany    = "too_many"    // more than is remembered
)

// NewMetrics makes the metrics and registers them, each with all values of its label.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_operator_reports_total",
			Help: "Reports of receivers to the operator by outcome: accepted, out_of_order, and the refused ones.",
		}, []string{"outcome"}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_operator_report_webhooks_ignored_total",
			Help: "Webhooks in accepted reports of receivers that the operator ignored, by reason: unknown, not_allowed, invalid, too_many.",
		}, []string{"reason"}),
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mandrill_operator_token_reviews_total",
			Help: "Tokens of receivers that the operator asked the API server about, by outcome: authenticated, refused, failed, and limited for those that it did not ask about.",
		}, []string{"outcome"}),
	}
	m.reports.WithLabelValues("accepted")
	for _, answer := range answers {
		m.reports.WithLabelValues(answer.outcome)
	}
	for _, reason := range []string{IgnoredUnknown, IgnoredNotAllowed, IgnoredInvalid, IgnoredTooMany} {
		m.ignored.WithLabelValues(reason)
	}
	for _, outcome := range []string{"authenticated", "refused", "failed", "limited"} {
		m.reviews.WithLabelValues(outcome)
	}
	registerer.MustRegister(m.reports, m.ignored, m.reviews)
	return m
}

// Ignored counts webhooks of a report that were ignored.
func (m *Metrics) Ignored(reason string, count int) {
	m.ignored.WithLabelValues(reason).Add(float64(count))
}
