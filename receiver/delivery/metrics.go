package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// reasonLabels are what the metrics call [reports.Reasons].
var reasonLabels = [reasonCount]string{
	"unresolved", "unreachable", "tls", "timeout", "no_answer", "status", "overloaded", "refused", "forbidden", "token", "other",
}

// deadLetterReasons are those of package journal. The first usualReasons of them have a series from the start.
var deadLetterReasons = []string{"refused", "exhausted", "expired", "quarantined", "set_aside", reasonDeleted}

const (
	reasonCount           = 11
	deadLetterReasonCount = 6
	usualReasons          = 3
	// reasonDeleted is the reason of the dead letters of webhooks that have no route.
	reasonDeleted = "webhook_deleted"
)

var byWebhook = []string{"webhook"}

// The metrics. Each webhook with a route has its series, from the moment at which the route is loaded.
var (
	receivedEvents = prometheus.NewDesc("mandrill_receiver_received_events_total",
		"Events that Mandrill sent in batches with a good signature, without those that were stored or delivered before, by webhook.", byWebhook, nil)
	deliveredEvents = prometheus.NewDesc("mandrill_receiver_delivered_events_total",
		"Events that the sink accepted, by webhook.", byWebhook, nil)
	failedAttempts = prometheus.NewDesc("mandrill_receiver_failed_attempts_total",
		"Requests that the sink did not accept, by webhook and reason.", []string{"webhook", "reason"}, nil)
	deadLettered = prometheus.NewDesc("mandrill_receiver_dead_lettered_total",
		"Events that were given up and kept as dead letters in the buffer, by webhook and reason. Those of deleted webhooks have no webhook.",
		[]string{"webhook", "reason"}, nil)
	circuitOpen = prometheus.NewDesc("mandrill_receiver_circuit_open",
		"1 while the circuit of the webhook's sink is open: after repeated failures only circuit probes are sent.", byWebhook, nil)
	failingSince = prometheus.NewDesc("mandrill_receiver_failing_since_timestamp_seconds",
		"Unix time of the first failed attempt that no success followed, by webhook. Absent while the sink accepts.", byWebhook, nil)
	lastReceived = prometheus.NewDesc("mandrill_receiver_last_received_timestamp_seconds",
		"Unix time at which the last batch with a good signature arrived since the receiver started, by webhook.", byWebhook, nil)
	lastDelivered = prometheus.NewDesc("mandrill_receiver_last_delivered_timestamp_seconds",
		"Unix time at which the sink last accepted an event since the receiver started, by webhook.", byWebhook, nil)
	lastBadSignature = prometheus.NewDesc("mandrill_receiver_last_bad_signature_timestamp_seconds",
		"Unix time of the last batch whose signature matched no key since the receiver started, by webhook.", byWebhook, nil)
	heldDeadLetters = prometheus.NewDesc("mandrill_receiver_dead_letters",
		"Dead letters that the buffer holds, by webhook. Only the receiver that delivers from the buffer has it.", byWebhook, nil)
	deliveryLatency = prometheus.NewDesc("mandrill_receiver_delivery_latency_seconds",
		"Time from the arrival of an event's batch to the sink's acceptance of the event, by webhook.", byWebhook, nil)
)

var descriptions = []*prometheus.Desc{
	receivedEvents, deliveredEvents, failedAttempts, deadLettered, circuitOpen, failingSince, lastReceived, lastDelivered, lastBadSignature,
	heldDeadLetters, deliveryLatency,
}

// Describe and Collect make a state a collector of metrics.
func (s *State) Describe(all chan<- *prometheus.Desc) {
	for _, description := range descriptions {
		all <- description
	}
}

// Collect implements [prometheus.Collector].
func (s *State) Collect(metrics chan<- prometheus.Metric) {
	now := s.now()
	for _, w := range *s.webhooks.Load() {
		w.collect(metrics, now)
	}
	deleted := []*dto.LabelPair{label("reason", reasonDeleted), label("webhook", "")}
	metrics <- sample{deadLettered, deleted, counter, float64(s.deletedDeadLettered.Load())}
}

func (w *Webhook) collect(metrics chan<- prometheus.Metric, now time.Time) {
	send := func(desc *prometheus.Desc, labels []*dto.LabelPair, kind kind, value float64) {
		metrics <- sample{desc, labels, kind, value}
	}
	at := func(desc *prometheus.Desc, at time.Time) {
		if !at.IsZero() {
			send(desc, w.labels.webhook, gauge, float64(at.UnixMilli())/1000)
		}
	}
	send(receivedEvents, w.labels.webhook, counter, float64(w.received.Load()))
	send(deliveredEvents, w.labels.webhook, counter, float64(w.delivered.Load()))
	for i := range w.failures {
		send(failedAttempts, w.labels.failures[i], counter, float64(w.failures[i].Load()))
	}
	for i := range w.deadLetters {
		if events := w.deadLetters[i].Load(); events > 0 || i < usualReasons {
			send(deadLettered, w.labels.deadLetters[i], counter, float64(events))
		}
	}
	if held := w.held.Load(); held > 0 && w.state.delivers(w.name) {
		send(heldDeadLetters, w.labels.webhook, gauge, float64(held))
	}
	at(lastReceived, w.lastReceived.get())
	at(lastDelivered, w.lastDelivered.get())
	at(lastBadSignature, w.lastBadSignature.get())
	w.latency.collect(metrics, w.labels.webhook)
	w.mu.Lock()
	open, since := 0.0, w.since
	if w.isCircuitOpen(now) {
		open = 1
	}
	w.mu.Unlock()
	send(circuitOpen, w.labels.webhook, gauge, open)
	at(failingSince, since)
}
