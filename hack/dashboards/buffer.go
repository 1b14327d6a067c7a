package main

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// buffer shows what the buffers hold, and whether their disks keep up.
func buffer() *dashboard.DashboardBuilder {
	b := newDashboard("buffer", "Mandrill / Buffer", "What the buffers hold, whether they can be written, and what they lost.", byNamespace)
	b.row("Now")
	b.number("Unavailable", "Receivers that cannot write their buffer. They refuse all batches.", count,
		"count(mandrill_receiver_buffer_available{} == 0) or vector(0)", from(1, "red"))
	b.number("Delivering", "Receivers that deliver from their buffer.", count,
		"count(mandrill_receiver_buffer_partitions{} > 0) or vector(0)")
	b.number("Fullest", "The fullest part of a buffer, of its limit. Batches are refused at 100 %.", percent,
		`max(mandrill_receiver_buffer_stored_bytes{stream!="dead_letters"} / mandrill_receiver_buffer_limit_bytes{stream!="dead_letters"})`, from(0.6, "orange"), from(0.8, "red"))
	b.number("Lost messages", "Stored messages that were found to be gone in the last day.", count,
		"sum(mandrill_receiver_buffer_lost_messages{}) or vector(0)", from(1, "red"))
	b.number("Damage", "Damaged places found since the receivers started.", count, "sum(mandrill_receiver_buffer_damaged_total{})", from(1, "red"))
	b.number("Repairs skipped", "Repairs that were skipped because the files may be good ones of another layout.", count,
		"sum(mandrill_receiver_buffer_repairs_skipped_total{}) or vector(0)", from(1, "red"))
	b.row("Room")
	b.lines("Used", "Part of the limit that each stream takes. Dead letters above it are evicted; for others, batches are refused.", percent, third,
		query{"max by (pod, instance, stream) (mandrill_receiver_buffer_stored_bytes{} / mandrill_receiver_buffer_limit_bytes{})", "{{instance}} {{stream}}"})
	b.lines("Stored", "Bytes that each stream takes.", size, third,
		query{"max by (pod, instance, stream) (mandrill_receiver_buffer_stored_bytes{})", "{{instance}} {{stream}}"})
	b.lines("Free on the volume", "Bytes that batches may still take on the volume, after all that fills it.", size, third,
		query{"min by (pod, instance) (mandrill_receiver_buffer_free_bytes{})", "{{instance}}"})
	b.lines("Waiting", "The ten webhooks with the most bytes in the buffer.", size, half,
		query{"topk(10, sum by (webhook) (mandrill_receiver_backlog_bytes{}) > 0)", "{{webhook}}"})
	b.lines("Oldest event", "Part of --delivery-max-age that the oldest event has waited for: at 100 % it is given up.", percent, half,
		query{"topk(10, max by (webhook) (mandrill_receiver_backlog_oldest_age_seconds{} / on (namespace, job, instance) group_left () mandrill_receiver_delivery_max_age_seconds{}))", "{{webhook}}"})
	b.row("Writing")
	b.lines("Time to store a batch", "By quantile. Above some 100 ms the disk is slow.", seconds, third,
		quantiles("mandrill_receiver_buffer_append_duration_seconds")...)
	b.lines("Events of batches", "Events stored, and those of batches that Mandrill sent again.", perSecond, third,
		query{"sum by (outcome) (rate(mandrill_receiver_buffered_events_total{}[$__rate_interval]))", "{{outcome}}"})
	b.lines("Trouble", "Failures of the buffer, and batches that were stored before. Many of these: Mandrill does not see our answers.", count, third,
		query{"sum(increase(mandrill_receiver_buffer_failures_total{}[$__rate_interval]))", "failures"},
		query{"sum(increase(mandrill_receiver_buffer_duplicates_total{}[$__rate_interval]))", "duplicates"})
	b.row("Reading")
	b.lines("Sent again", "Events that were sent again after a failed attempt.", perSecond, third,
		query{"sum(rate(mandrill_receiver_redeliveries_total{}[$__rate_interval]))", "events"})
	b.lines("Partitions", "How many of the 12 partitions of its buffer each receiver delivers: all of a buffer that it has for itself.", count, third,
		query{"max by (pod, instance) (mandrill_receiver_buffer_partitions{})", "{{instance}}"})
	b.lines("Dead letters", "Events that became dead letters, by reason, and dead letters that were removed.", count, third,
		query{"sum by (reason) (increase(mandrill_receiver_dead_lettered_total{}[$__rate_interval])) > 0", "{{reason}}"},
		query{"sum(increase(mandrill_receiver_dead_letters_evicted_total{}[$__rate_interval])) > 0", "evicted"},
		query{"sum(increase(mandrill_receiver_dead_letters_aged_out_total{}[$__rate_interval])) > 0", "aged out"})
	return b.DashboardBuilder
}
