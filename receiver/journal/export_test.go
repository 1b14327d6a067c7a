package journal

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/codec"
)

// EncodeEvents and DecodeEvents are how events are in a message, and Compress what is done to it.
var (
	EncodeEvents = codec.Encode
	DecodeEvents = codec.Decode
	Compress     = codec.Compress
)

// Intercept puts something between a journal that does not run yet and its server.
func Intercept(j *Journal, wrap func(jetstream.JetStream) jetstream.JetStream) { j.intercept = wrap }

// PartitionOf returns the partition of a consumer.
func PartitionOf(c *Consumer) int { return c.partition }

// Repeats reports whether a journal that is available may make several attempts at an append.
func Repeats(j *Journal) bool {
	s := j.current.Load()
	return s != nil && s.store.RetryFor > 0
}

// CollectEvery has a journal that does not run yet collect garbage more often.
func CollectEvery(j *Journal, interval time.Duration) { j.gcInterval = interval }

// AgeEvery has a journal that does not run yet look at the age of dead letters more often, and by another clock.
func AgeEvery(j *Journal, interval time.Duration, elapsed func() time.Duration) {
	j.ageInterval, j.elapsed = interval, elapsed
}
