package delivery

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// labels are the labels of a webhook's series. They are made once: with thousands of webhooks they are most of the work of a scrape.
type labels struct {
	webhook     []*dto.LabelPair
	failures    [reasonCount][]*dto.LabelPair
	deadLetters [deadLetterReasonCount][]*dto.LabelPair
}

func label(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)}
}

// The labels of reasons are the same for all webhooks.
var (
	failurePairs    = pairsOf(reasonLabels[:])
	deadLetterPairs = pairsOf(deadLetterReasons)
)

func pairsOf(reasons []string) (pairs []*dto.LabelPair) {
	for _, reason := range reasons {
		pairs = append(pairs, label("reason", reason))
	}
	return pairs
}

func labelsOf(webhook string) (l labels) {
	l.webhook = []*dto.LabelPair{label("webhook", webhook)}
	for i := range l.failures {
		l.failures[i] = []*dto.LabelPair{failurePairs[i], l.webhook[0]}
	}
	for i := range l.deadLetters {
		l.deadLetters[i] = []*dto.LabelPair{deadLetterPairs[i], l.webhook[0]}
	}
	return l
}

type kind bool

const (
	counter kind = true
	gauge   kind = false
)

// sample is a value of a counter or a gauge.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	kind   kind
	value  float64
}

// Desc implements [prometheus.Metric].
func (s sample) Desc() *prometheus.Desc { return s.desc }

// Write implements [prometheus.Metric].
func (s sample) Write(metric *dto.Metric) error {
	metric.Label = s.labels
	if s.kind == counter {
		metric.Counter = &dto.Counter{Value: &s.value}
	} else {
		metric.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// latencyBounds are few: each is a series for each webhook. They tell a sink that works from one that is slow, was down, or was
// down for long.
var latencyBounds = [latencyBuckets]float64{0.25, 1, 5, 30, 300, 3600}

const latencyBuckets = 6

// latency is a histogram of seconds.
type latency struct {
	counts [latencyBuckets + 1]atomic.Uint64 // by bucket, not cumulative; the last one has no bound
	millis atomic.Uint64                     // the sum
}

func (l *latency) observe(events int, took time.Duration) {
	seconds, i := max(took.Seconds(), 0), 0
	for i < latencyBuckets && seconds > latencyBounds[i] {
		i++
	}
	l.counts[i].Add(uint64(events))                                 //nolint:gosec // the caller has checked it
	l.millis.Add(uint64(events) * uint64(math.Round(seconds*1000))) //nolint:gosec // it is positive
}

// collect sends the histogram when it has observations: nobody needs its zeros for a rate.
func (l *latency) collect(metrics chan<- prometheus.Metric, labels []*dto.LabelPair) {
	var counts [latencyBuckets]uint64
	total := uint64(0)
	for i := range counts {
		total += l.counts[i].Load()
		counts[i] = total
	}
	total += l.counts[latencyBuckets].Load()
	if total > 0 {
		metrics <- histogram{labels, counts, total, float64(l.millis.Load()) / 1000}
	}
}

// histogram is a value of the histogram.
type histogram struct {
	labels []*dto.LabelPair
	counts [latencyBuckets]uint64 // cumulative
	total  uint64
	sum    float64
}

// Desc implements [prometheus.Metric].
func (h histogram) Desc() *prometheus.Desc { return deliveryLatency }

// Write implements [prometheus.Metric].
func (h histogram) Write(metric *dto.Metric) error {
	metric.Label = h.labels
	metric.Histogram = &dto.Histogram{SampleCount: &h.total, SampleSum: &h.sum}
	for i := range h.counts {
		metric.Histogram.Bucket = append(metric.Histogram.Bucket, &dto.Bucket{UpperBound: &latencyBounds[i], CumulativeCount: &h.counts[i]})
	}
	return nil
}
