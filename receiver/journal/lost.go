package journal

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/checkpoint"
)

// measured are the streams that hold events, which have metrics and a checkpoint, by the label of the metrics.
func (s *session) measured() map[string]jetstream.Stream {
	return map[string]jetstream.Stream{checkpoint.Batches: s.batches, checkpoint.Remainders: s.remainders, checkpoint.DeadLetters: s.dead}
}

// Lost returns how many messages were found to be gone in the last day, by stream.
func (j *Journal) Lost() map[string]uint64 { return j.checkpoint.Lost() }

// showLost sets the metric of some streams.
func (j *Journal) showLost(streams ...string) {
	lost := j.checkpoint.Lost()
	for _, name := range streams {
		j.metrics.Lost.WithLabelValues(name).Set(float64(lost[name]))
	}
}

func (j *Journal) checkpointKeeper(s *session) *checkpoint.Keeper {
	return &checkpoint.Keeper{Tracker: j.checkpoint, Store: s.store, Streams: s.measured(), Finished: s.finished.Stream, ObjectMarks: s.finished.ObjectsAfter,
		Back: func(ctx context.Context) (uint64, error) { return s.finished.Back(ctx, s.batches, headerID) }}
}

// keeperInterval is how often checkpoints are written. In a shared buffer each is a request to another server.
func (s *session) keeperInterval() time.Duration {
	if s.store.Exclusive {
		return checkpointInterval
	}
	return checkInterval
}
