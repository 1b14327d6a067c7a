package checkpoint

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Keeper keeps the checkpoint of an open buffer. All fields are required.
type Keeper struct {
	Tracker  *Tracker
	Store    *store.Store
	Streams  map[string]jetstream.Stream // by the label of the metric
	Finished jetstream.Stream
	// ObjectMarks counts what is in Finished after a sequence and is no batch.
	ObjectMarks func(ctx context.Context, after uint64) (uint64, error)
	// Back counts the batches that were removed and have come back. It reads all of them.
	Back func(ctx context.Context) (uint64, error)
}

// FindLost compares a buffer that was just opened with its last checkpoint. Damaged has the messages that were found damaged, by the
// name of the stream.
func (k *Keeper) FindLost(ctx context.Context, path string, damaged map[string]int) error {
	k.Tracker.Load(path)
	now, err := k.sample(ctx)
	if err != nil {
		return err
	}
	if after, known := k.Tracker.finished(); known && k.Store.Exclusive {
		if now.ObjectMarks, err = k.ObjectMarks(ctx, after); err != nil {
			return err
		}
	}
	if k.Store.Exclusive && k.Tracker.misses(now) {
		back, err := k.Back(ctx)
		if err != nil {
			return err
		}
		batches := now.Streams[Batches]
		batches.Messages -= min(back, batches.Messages)
		now.Streams[Batches] = batches
	}
	byLabel := map[string]int{}
	for label, stream := range k.Streams {
		byLabel[label] = damaged[store.NameOf(stream)]
	}
	for label, last := range k.Tracker.Compare(now, k.Store.Exclusive, byLabel) {
		if err := k.Streams[label].Purge(ctx, jetstream.WithPurgeSequence(last+1)); err != nil {
			return fmt.Errorf("continuing the sequence of a stream: %w", err)
		}
	}
	return nil
}

// sample returns the state of the streams, of which all is durable.
func (k *Keeper) sample(ctx context.Context) (Sample, error) {
	sample := Sample{Streams: map[string]Stream{}, Begun: time.Now()}
	removing := k.Tracker.Removing()
	finished, err := k.Store.State(ctx, k.Finished)
	if err != nil {
		return sample, err
	}
	sample.Finished = finished.LastSeq
	for label, stream := range k.Streams {
		state, err := k.Store.State(ctx, stream)
		if err == nil {
			err = k.Store.SyncDir(store.NameOf(stream))
		}
		if err != nil {
			return sample, err
		}
		sample.Streams[label] = Stream{LastSeq: state.LastSeq, Messages: state.Msgs}
	}
	sample.Removing = removing()
	return sample, nil
}

// Run writes checkpoints until the context ends.
func (k *Keeper) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now, err := k.sample(ctx); err == nil { // else the buffer is checked by others
			k.Tracker.Write(now, false, k.Store.Exclusive)
		}
	}
}

// WriteLast writes the checkpoint of a receiver that stops.
func (k *Keeper) WriteLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.Store.Attempt)
	defer cancel()
	if now, err := k.sample(ctx); err == nil {
		k.Tracker.Write(now, true, k.Store.Exclusive)
	}
}

// BeforeRemoval is to be called before a message of a stream is removed.
func (k *Keeper) BeforeRemoval(stream string) {
	for _, label := range []string{Remainders, DeadLetters} {
		if store.NameOf(k.Streams[label]) == stream {
			k.Tracker.BeforeRemoval(label)
		}
	}
}
