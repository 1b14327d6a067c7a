package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// overview answers whether events arrive, and which webhook has a problem.
func overview() *dashboard.DashboardBuilder {
	b := newDashboard("overview", "Mandrill / Overview", "Whether events arrive, and which webhook has a problem.", byNamespace)
	b.row("Now")
	b.number("Objects not ready", "MandrillWebhooks that are not Ready.", count, notReady, from(1, "red"))
	b.number("Sinks that fail", "Webhooks whose sink has accepted nothing since an attempt failed.", count,
		"count(min by (webhook) (mandrill_receiver_failing_since_timestamp_seconds{})) or vector(0)", from(1, "red"))
	b.number("Events waiting", "Events in the buffers that are not delivered yet.", count, "sum(mandrill_receiver_backlog_events{}) or vector(0)")
	b.number("Oldest event", "Age of the oldest event that waits. Events are given up at --delivery-max-age.", seconds,
		"max(mandrill_receiver_backlog_oldest_age_seconds{}) or vector(0)", from(60, "orange"), from(600, "red"))
	b.number("Dead letters", "Dead letters that the buffers hold.", count, "sum(mandrill_receiver_dead_letters{}) or vector(0)", from(1, "orange"))
	b.number("Certificate", "Time until the certificate of the public URL expires.", seconds, certificate, certificateSteps...)
	b.rows("Webhooks", "One line per webhook. Failing for is empty while the sink accepts events.", full, "/d/mandrill-webhook?var-webhook=${__value.raw}&${datasource:queryparam}",
		column{name: "Received/s", unit: perSecond, expr: "sum by (webhook) (rate(mandrill_receiver_received_events_total{}[$__rate_interval]))"},
		column{name: "Delivered/s", unit: perSecond, expr: "sum by (webhook) (rate(mandrill_receiver_delivered_events_total{}[$__rate_interval]))"},
		column{name: "Failing for", unit: seconds, expr: "time() - min by (webhook) (mandrill_receiver_failing_since_timestamp_seconds{})"},
		column{name: "Waiting", unit: count, expr: "sum by (webhook) (mandrill_receiver_backlog_events{})"},
		column{name: "Oldest", unit: seconds, expr: "max by (webhook) (mandrill_receiver_backlog_oldest_age_seconds{})"},
		column{name: "Dead letters", unit: count, expr: "sum by (webhook) (mandrill_receiver_dead_letters{})"},
		column{name: "Last received", unit: unixMillis, expr: "1000 * max by (webhook) (mandrill_receiver_last_received_timestamp_seconds{})"},
		column{name: "Last delivered", unit: unixMillis, expr: "1000 * max by (webhook) (mandrill_receiver_last_delivered_timestamp_seconds{})"},
	)
	b.row("Events")
	b.lines("Events", "Events of batches with a good signature, and events that sinks accepted.", perSecond, half,
		query{"sum(rate(mandrill_receiver_received_events_total{}[$__rate_interval]))", "received"},
		query{"sum(rate(mandrill_receiver_delivered_events_total{}[$__rate_interval]))", "delivered"},
		query{"sum(rate(mandrill_receiver_dead_lettered_total{}[$__rate_interval]))", "dead lettered"},
	)
	b.lines("Time to delivery", "From the arrival of an event's batch until its sink accepted it, by quantile.", seconds, half,
		quantiles("mandrill_receiver_delivery_latency_seconds")...)
	b.lines("Events waiting", "The ten webhooks with the most events in the buffer.", count, half,
		query{"topk(10, sum by (webhook) (mandrill_receiver_backlog_events{}) > 0)", "{{webhook}}"})
	b.lines("Oldest event", "The ten webhooks whose oldest event has waited longest.", seconds, half,
		query{"topk(10, max by (webhook) (mandrill_receiver_backlog_oldest_age_seconds{}))", "{{webhook}}"})
	b.row("Requests")
	b.lines("Requests of Mandrill", "By outcome. All except accepted and probe were refused, and Mandrill sends them again.", perSecond, third,
		query{"sum by (outcome) (rate(mandrill_receiver_requests_total{}[$__rate_interval])) > 0", "{{outcome}}"})
	b.lines("Failed attempts", "Requests to sinks that failed, by reason.", perSecond, third,
		query{"sum by (reason) (rate(mandrill_receiver_failed_attempts_total{}[$__rate_interval])) > 0", "{{reason}}"})
	b.lines("Answers of sinks", "Time until sinks answered, by quantile. Near delivery.timeout they are too slow.", seconds, third,
		quantiles("mandrill_receiver_sink_request_duration_seconds")...)
	return b.DashboardBuilder
}
