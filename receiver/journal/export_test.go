package journal

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// EncodeEvents and DecodeEvents are how events are in a message, and Compress what is done to it.
var (
	EncodeEvents = encodeEvents
	DecodeEvents = decodeEvents
	Compress     = compress
)

// OlderThan compares versions.
var OlderThan = olderThan

// Redact takes addresses out of a text.
var Redact = redact

// Intercept puts something between a journal that does not run yet and its server.
func Intercept(j *Journal, wrap func(jetstream.JetStream) jetstream.JetStream) { j.intercept = wrap }

// CollectEvery has a journal that does not run yet collect garbage more often.
func CollectEvery(j *Journal, interval time.Duration) { j.gcInterval = interval }

// Kill ends the server of a member as abruptly as that is possible in one process.
func (c *Cluster) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		c.running.server.Shutdown()
	}
}

// Crowd leaves no space on the volume, as far as a journal sees, until the returned function is called.
func Crowd(j *Journal) (end func()) {
	disk := j.current.Load().disk
	disk.storing.Add(1 << 60)
	return func() { disk.storing.Add(-1 << 60) }
}
