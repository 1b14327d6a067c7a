package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// webhook shows the way of the events of one webhook, hop by hop.
func webhook() *dashboard.DashboardBuilder {
	b := newDashboard("webhook", "Mandrill / Webhook", "The way of the events of one webhook: Mandrill, receiver, buffer, sink.", byWebhook)
	b.WithVariable(valuesOf("webhook", "Webhook", `label_values(mandrill_receiver_received_events_total{namespace=~"$namespace"}, webhook)`))
	b.row("Now")
	b.number("Last received", "When the last batch with a good signature came.", unixMillis,
		"1000 * max(mandrill_receiver_last_received_timestamp_seconds{})")
	b.number("Last delivered", "When the sink last accepted an event.", unixMillis,
		"1000 * max(mandrill_receiver_last_delivered_timestamp_seconds{})")
	b.number("Failing for", "Time since the first failed attempt that no success followed.", seconds,
		"time() - min(mandrill_receiver_failing_since_timestamp_seconds{})", from(60, "orange"), from(300, "red"))
	b.number("Circuit", "1 while nothing but circuit probes is sent to the sink.", count, "max(mandrill_receiver_circuit_open{})", from(1, "red"))
	b.number("Events waiting", "Events in the buffer that are not delivered yet.", count, "sum(mandrill_receiver_backlog_events{}) or vector(0)")
	b.number("Oldest event", "Age of the oldest event that waits.", seconds,
		"max(mandrill_receiver_backlog_oldest_age_seconds{}) or vector(0)", from(60, "orange"), from(600, "red"))
	b.row("Mandrill and receiver")
	b.rows("Conditions", "Conditions of the object that are not True.", half, "", conditionColumn)
	b.lines("Events", "Events of batches with a good signature, and events that the sink accepted.", perSecond, half,
		query{"sum(rate(mandrill_receiver_received_events_total{}[$__rate_interval]))", "received"},
		query{"sum(rate(mandrill_receiver_delivered_events_total{}[$__rate_interval]))", "delivered"},
	)
	b.lines("Sent by Mandrill", "Mandrill's own counters: batches, events and events of failed batches in the time shown. Received without sent, or the other way, is a fault.", count, half,
		upstream...)
	b.lines("Bad signatures", "Time since the last batch whose signature matched no key. Low for long: the key was reset, or a proxy changes the URL.", seconds, half,
		query{"time() - max(mandrill_receiver_last_bad_signature_timestamp_seconds{})", "since the last"})
	b.row("Buffer and sink")
	b.lines("Events waiting", "Events in the buffer that are not delivered yet.", count, third,
		query{"sum(mandrill_receiver_backlog_events{})", "events"})
	b.lines("Bytes waiting", "Bytes of these events.", size, third, query{"sum(mandrill_receiver_backlog_bytes{})", "bytes"})
	b.lines("Oldest event", "Age of the oldest event that waits.", seconds, third,
		query{"max(mandrill_receiver_backlog_oldest_age_seconds{})", "oldest"})
	b.lines("Failed attempts", "Requests to the sink that failed, by reason.", perSecond, third,
		query{"sum by (reason) (rate(mandrill_receiver_failed_attempts_total{}[$__rate_interval])) > 0", "{{reason}}"})
	b.lines("Time to delivery", "From the arrival of an event's batch until its sink accepted it, by quantile.", seconds, third,
		quantiles("mandrill_receiver_delivery_latency_seconds")...)
	b.lines("Dead letters", "Events that became dead letters, by reason, and dead letters that were removed.", count, third,
		query{"sum by (reason) (increase(mandrill_receiver_dead_lettered_total{}[$__rate_interval])) > 0", "{{reason}}"},
		query{"sum(increase(mandrill_receiver_dead_letters_evicted_total{}[$__rate_interval])) > 0", "evicted"},
		query{"sum(increase(mandrill_receiver_dead_letters_aged_out_total{}[$__rate_interval])) > 0", "aged out"},
	)
	return b.DashboardBuilder
}
