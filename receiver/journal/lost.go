package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/checkpoint"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/engine"
	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// measured are the streams that have metrics and a checkpoint, by the label of the metrics.
func (s *session) measured() map[string]jetstream.Stream {
	return map[string]jetstream.Stream{checkpoint.Batches: s.batches, checkpoint.Remainders: s.remainders, checkpoint.DeadLetters: s.dead}
}

// Lost returns how many messages were found to be gone in the last day, by stream.
func (j *Journal) Lost() map[string]uint64 { return j.checkpoint.Lost() }

// findLost compares a buffer that was just opened with its last checkpoint.
func (j *Journal) findLost(ctx context.Context, s *session, connection *engine.Connection) error {
	j.checkpoint.Load(connection.Checkpoint)
	now, err := j.sample(ctx, s)
	if err != nil {
		return err
	}
	damaged := map[string]int{}
	for name, stream := range s.measured() {
		damaged[name] = connection.Repairs.Lost[store.NameOf(stream)]
	}
	for name, last := range j.checkpoint.Compare(now, s.store.Exclusive, damaged) {
		if err := s.measured()[name].Purge(ctx, jetstream.WithPurgeSequence(last+1)); err != nil {
			return fmt.Errorf("continuing the sequence of a stream: %w", err)
		}
	}
	j.showLost(checkpoint.Streams...)
	return nil
}

// showLost sets the metric.
func (j *Journal) showLost(streams ...string) {
	lost := j.checkpoint.Lost()
	for _, name := range streams {
		j.metrics.lost.WithLabelValues(name).Set(float64(lost[name]))
	}
}

// sample returns the state of the streams, of which all is durable.
func (j *Journal) sample(ctx context.Context, s *session) (checkpoint.Sample, error) {
	sample := checkpoint.Sample{Streams: map[string]checkpoint.Stream{}, Begun: time.Now()}
	removing := j.checkpoint.Removing()
	finished, err := s.store.State(ctx, s.finished)
	if err != nil {
		return sample, err
	}
	sample.Finished = finished.LastSeq
	for name, stream := range s.measured() {
		state, err := s.store.State(ctx, stream)
		if err == nil {
			err = s.store.SyncDir(store.NameOf(stream))
		}
		if err != nil {
			return sample, err
		}
		sample.Streams[name] = checkpoint.Stream{LastSeq: state.LastSeq, Messages: state.Msgs}
	}
	sample.Removing = removing()
	return sample, nil
}

// keepCheckpoint writes checkpoints until the context ends. In a shared buffer each is a request to another server.
func (j *Journal) keepCheckpoint(ctx context.Context, s *session) {
	interval := checkpointInterval
	if !s.store.Exclusive {
		interval = checkInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now, err := j.sample(ctx, s); err == nil { // else the buffer is checked by others
			j.checkpoint.Write(now, false, s.store.Exclusive)
		}
	}
}

// writeLastCheckpoint writes the checkpoint of a receiver that stops.
func (j *Journal) writeLastCheckpoint(ctx context.Context, s *session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.store.Attempt)
	defer cancel()
	if now, err := j.sample(ctx, s); err == nil {
		j.checkpoint.Write(now, true, s.store.Exclusive)
	}
}

// checkpointRemovals returns what is to be called before a message of a stream is removed.
func (j *Journal) checkpointRemovals(s *session) func(stream string) {
	names := map[string]string{store.NameOf(s.remainders): checkpoint.Remainders, store.NameOf(s.dead): checkpoint.DeadLetters}
	return func(stream string) {
		if name, ok := names[stream]; ok {
			j.checkpoint.BeforeRemoval(name)
		}
	}
}
