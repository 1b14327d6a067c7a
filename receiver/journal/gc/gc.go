// Package gc removes objects to which no message of the buffer refers. An Append or a process ended after an object was stored and
// before its message was. The leader looks for them at intervals, and removes those that it finds twice: by then an Append that was
// storing one has ended, on any member and whatever the clocks say.
package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// errIncomplete means that the server did not hand over all messages that it has.
var errIncomplete = errors.New("the buffer's server does not find a message that it has")

// Collector collects garbage. All fields are required.
type Collector struct {
	Store   *store.Store
	Objects *store.Objects
	// Streams have the messages that refer to objects. They are read in this order, which must be that in which references move.
	Streams []jetstream.Stream
	Header  string // of a message, with the name of its object
	Logger  *slog.Logger
}

// AtStart removes what an earlier process has left when it takes up at least some bytes. Nobody else may store objects meanwhile.
func (c *Collector) AtStart(ctx context.Context, least int64) {
	state, err := c.Store.State(ctx, c.Objects.Stream)
	if err == nil && state.Bytes < uint64(least) { //nolint:gosec // it is positive
		return
	}
	var garbage map[string]bool
	if err == nil {
		garbage, err = c.unreferenced(ctx, store.Headers, true)
	}
	if err == nil {
		err = c.deleteObjects(ctx, garbage)
	}
	c.logFailure(ctx, err)
}

func (c *Collector) logFailure(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		c.Logger.Warn("Looking for unreferenced large events failed", "error", err.Error())
	}
}

// Run collects garbage until the context ends.
func (c *Collector) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var candidates map[string]bool
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		found, err := c.collect(ctx, candidates)
		candidates = found
		c.logFailure(ctx, err)
	}
}

// collect deletes the candidates of the last time that are still unreferenced, and returns those of the next time: the
// subjects of the others that are unreferenced.
func (c *Collector) collect(ctx context.Context, before map[string]bool) (map[string]bool, error) {
	exclusive := c.Store.Exclusive
	candidates, err := c.unreferenced(ctx, store.Headers, exclusive)
	if err != nil {
		return nil, err
	}
	toDelete := maps.Clone(candidates)
	maps.DeleteFunc(toDelete, func(subject string, _ bool) bool { return !before[subject] })
	if len(toDelete) > 0 && !exclusive { // both times a replica may have lacked a message
		confirmed, err := c.unreferenced(ctx, c.Store.Headers, true)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(toDelete, func(subject string, _ bool) bool { return !confirmed[subject] })
	}
	maps.DeleteFunc(candidates, func(subject string, _ bool) bool { return toDelete[subject] })
	return candidates, c.deleteObjects(ctx, toDelete)
}

func (c *Collector) deleteObjects(ctx context.Context, subjects map[string]bool) error {
	for subject := range subjects {
		if err := c.Objects.Purge(ctx, subject); err != nil {
			return fmt.Errorf("removing a large event: %w", err)
		}
	}
	if len(subjects) > 0 {
		c.Logger.Info("Removed unreferenced large events, or parts of them", "subjects", len(subjects))
	}
	return nil
}

// unreferenced returns the subjects of objects that no message refers to. Streams are read in the order in which references
// move, so a reference that moves meanwhile is seen. With strict it fails if the server skipped messages, as it may when one is
// damaged.
func (c *Collector) unreferenced(ctx context.Context, read store.HeaderReading, strict bool) (map[string]bool, error) {
	state, err := c.Store.State(ctx, c.Objects.Stream, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil, err
	}
	subjects := make(map[string]bool, len(state.Subjects))
	for subject := range state.Subjects {
		subjects[subject] = true
	}
	if len(subjects) == 0 {
		return nil, nil
	}
	for _, stream := range c.Streams {
		names, err := c.references(ctx, stream, read, strict)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			referenced, err := c.Objects.Subjects(ctx, name)
			if err != nil {
				return nil, err
			}
			for _, subject := range referenced {
				delete(subjects, subject)
			}
		}
	}
	return subjects, nil
}

// references returns the names of the objects that a stream's messages refer to.
func (c *Collector) references(ctx context.Context, stream jetstream.Stream, read store.HeaderReading, strict bool) (names []string, err error) {
	before, err := c.Store.State(ctx, stream)
	if err != nil {
		return nil, err
	}
	seen := uint64(0)
	err = read(ctx, stream, func(seq uint64, header nats.Header) {
		if seq <= before.LastSeq {
			seen++
		}
		if name := header.Get(c.Header); name != "" {
			names = append(names, name)
		}
	})
	if err != nil {
		return nil, err
	}
	after, err := c.Store.State(ctx, stream)
	if err != nil {
		return nil, err
	}
	if removed := removals(after) - removals(before); strict && seen+removed < before.Msgs {
		return nil, fmt.Errorf("%w: %d of %d messages", errIncomplete, before.Msgs-seen-removed, before.Msgs)
	}
	return names, nil
}

// removals is how many messages were removed from a stream since it was created.
func removals(state jetstream.StreamState) uint64 { return state.LastSeq - state.Msgs }
