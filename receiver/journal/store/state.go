package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// State is the bucket with the state of the buffer.
type State struct {
	KeyValue jetstream.KeyValue
	Stream   jetstream.Stream // under KeyValue
	store    *Store
}

// OpenState opens a bucket, whose stream exists.
func (s *Store) OpenState(ctx context.Context, bucket string, stream jetstream.Stream) (*State, error) {
	opened, err := s.JetStream.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("opening the store of the buffer's state: %w", err)
	}
	return &State{KeyValue: opened, Stream: stream, store: s}, nil
}

// Subject is the subject of a key, which may end in a wildcard.
func (s *State) Subject(key string) string { return "$KV." + s.KeyValue.Bucket() + "." + key }

// Remove removes a key. The client's Delete leaves a marker forever.
func (s *State) Remove(ctx context.Context, key string) error {
	return s.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		return s.Stream.Purge(ctx, jetstream.WithPurgeSubject(s.Subject(key)))
	})
}

// GetOrCreate returns the value of a key, which is fresh unless another process has set it.
func (s *State) GetOrCreate(ctx context.Context, key string, fresh []byte) (value []byte, err error) {
	err = s.store.RetryWhileNoLeader(ctx, func(ctx context.Context) error {
		entry, err := s.KeyValue.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			if _, err = s.KeyValue.Create(ctx, key, fresh); err == nil {
				value = fresh
				return nil
			}
			if errors.Is(err, jetstream.ErrKeyExists) { // another process was faster
				entry, err = s.KeyValue.Get(ctx, key)
			}
		}
		if err == nil {
			value = entry.Value()
		}
		return err
	})
	return value, err
}
