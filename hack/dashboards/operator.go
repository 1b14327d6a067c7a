package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// Expressions about the objects, as the operator that leads sees them.
const (
	notReady    = `count(min by (webhook) (mandrill_operator_webhook_condition{condition="Ready"}) < 1) or vector(0)`
	certificate = `min(mandrill_operator_certificate_expiry_timestamp_seconds{}) - time()`
)

const day = 24 * 60 * 60

var certificateSteps = []dashboard.Threshold{
	{Color: "red"}, from(7*day, "orange"), from(14*day, "green"),
}

// conditionColumn has a row for each condition that is not True.
var conditionColumn = column{
	name: "Status", unit: count, expr: "max by (webhook, condition, reason) (mandrill_operator_webhook_condition{}) < 1",
	names: map[string]string{"0": "False", "-1": "Unknown"},
}

// upstream are the counters that Mandrill has of a webhook.
var upstream = []query{
	{"sum(increase(mandrill_operator_upstream_batches_total{}[$__rate_interval]))", "batches"},
	{"sum(increase(mandrill_operator_upstream_events_total{}[$__rate_interval]))", "events"},
}

// operator shows the objects, the calls of Mandrill's API, and the reports of receivers.
func operator() *dashboard.DashboardBuilder {
	b := newDashboard("operator", "Mandrill / Operator", "The objects, the calls of Mandrill's API, and the reports of receivers.", byNamespace)
	b.row("Now")
	b.number("Objects not ready", "MandrillWebhooks that are not Ready.", count, notReady, from(1, "red"))
	b.number("Orphans", "Webhooks left at Mandrill without an object. Delete them there.", count, `max(mandrill_operator_webhooks{state="orphaned"})`, from(1, "red"))
	b.number("Other webhooks", "Webhooks at Mandrill that are no object's and post to the URL of one.", count, "max(mandrill_operator_other_webhooks{})", from(1, "orange"))
	b.number("Oldest list", "Time since a Mandrill account was last listed. Far above --resync-interval, it cannot be.", seconds,
		"max(mandrill_operator_poll_age_seconds{})", from(600, "orange"), from(900, "red"))
	b.number("Silent receivers", "Receivers that have sent no report for two intervals.", count, `max(mandrill_operator_receivers{state="silent"})`, from(1, "red"))
	b.number("Certificate", "Time until the certificate of a public URL expires.", seconds, certificate, certificateSteps...)
	b.row("Objects")
	b.rows("Conditions", "Conditions that are not True.", half, "/d/mandrill-webhook?var-webhook=${__value.raw}&${datasource:queryparam}", conditionColumn)
	b.lines("Objects", "By state. Degraded are those with a condition that is not True; orphaned are left at Mandrill.", count, half,
		query{"max by (state) (mandrill_operator_webhooks{})", "{{state}}"})
	b.lines("Reconciles", "By result and reason.", perSecond, third,
		query{"sum by (result, reason) (rate(mandrill_operator_reconciles_total{}[$__rate_interval])) > 0", "{{result}} {{reason}}"})
	b.lines("Queue", "Reconciles that wait, that run, and that wait for a slow server.", count, third,
		query{"sum by (state) (mandrill_operator_reconciles{})", "{{state}}"})
	b.lines("Repairs", "Changes by others that were reverted, by cause. Disabled: batches failed.", count, third,
		query{"sum by (cause) (increase(mandrill_operator_drift_repairs_total{}[$__rate_interval])) > 0", "{{cause}}"})
	b.row("Mandrill")
	b.lines("API calls", "Calls of Mandrill's API that succeeded, by call.", perSecond, third,
		query{`sum by (call) (rate(mandrill_operator_api_requests_total{outcome="ok"}[$__rate_interval]))`, "{{call}}"})
	b.lines("Failed API calls", "By call and Mandrill's error.", perSecond, third,
		query{`sum by (call, outcome) (rate(mandrill_operator_api_requests_total{outcome!="ok"}[$__rate_interval])) > 0`, "{{call}} {{outcome}}"})
	b.lines("Duration of API calls", "95 % of the calls take no longer.", seconds, third,
		query{"histogram_quantile(0.95, sum by (le, call) (rate(mandrill_operator_api_request_duration_seconds_bucket{}[$__rate_interval])))", "{{call}}"})
	b.row("Receivers")
	b.lines("Receivers", "Receivers that report, and that do not any more.", count, third,
		query{"max by (state) (mandrill_operator_receivers{})", "{{state}}"})
	b.lines("Reports", "Reports of receivers, by outcome. All except accepted were ignored.", perSecond, third,
		query{"sum by (outcome) (rate(mandrill_operator_reports_total{}[$__rate_interval])) > 0", "{{outcome}}"})
	b.lines("Reports sent", "Reports as the receivers see them, by outcome. Failed: they do not reach the operator.", perSecond, third,
		query{"sum by (outcome) (rate(mandrill_receiver_reports_total{}[$__rate_interval])) > 0", "{{outcome}}"})
	b.lines("Webhooks ignored", "Webhooks of accepted reports that were not believed, by reason.", perSecond, third,
		query{"sum by (reason) (rate(mandrill_operator_report_webhooks_ignored_total{}[$__rate_interval])) > 0", "{{reason}}"})
	b.lines("Token reviews", "Checks of receivers' tokens at the API server, by outcome.", perSecond, third,
		query{"sum by (outcome) (rate(mandrill_operator_token_reviews_total{}[$__rate_interval])) > 0", "{{outcome}}"})
	b.lines("Status writes", "Writes of status.delivery, by outcome.", perSecond, third,
		query{"sum by (outcome) (rate(mandrill_operator_delivery_status_writes_total{}[$__rate_interval])) > 0", "{{outcome}}"})
	b.rows("Versions", "Programs by version.", third, "",
		column{name: "Operators", unit: count, expr: "count by (version, commit) (mandrill_operator_build_info{})"},
		column{name: "Receivers", unit: count, expr: "count by (version, commit) (mandrill_receiver_build_info{})"})
	return b.DashboardBuilder
}
