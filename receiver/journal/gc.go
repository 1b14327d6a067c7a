package journal

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// Objects to which no message refers are garbage: an Append or a process ended after an object was stored and before its message
// was. The leader looks for them every gcInterval, and removes those that it finds twice: by then an Append that was storing one
// has ended, on any member and whatever the clocks say.

// gcAtStart removes what an earlier process has left when it takes up much of the space, before anybody stores an object. In a
// shared buffer others may be storing one.
func (j *Journal) gcAtStart(ctx context.Context, s *session) {
	if !s.store.Exclusive {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, gcAtStartTimeout)
	defer cancel()
	c := j.newConsumer(s, ctx)
	state, err := s.store.State(bounded, s.objects.Stream)
	if err == nil && state.Bytes < uint64(j.limits.Objects/2) { //nolint:gosec // it is positive
		return
	}
	var garbage map[string]bool
	if err == nil {
		garbage, err = c.unreferenced(bounded, store.Headers, true)
	}
	if err == nil {
		err = c.deleteObjects(bounded, garbage)
	}
	c.logFailedGC(ctx, err)
}

func (c *Consumer) logFailedGC(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		c.journal.logger.Warn("Looking for unreferenced large events failed", "error", err.Error())
	}
}

// runGC collects garbage until the context ends.
func (c *Consumer) runGC(ctx context.Context) {
	ticker := time.NewTicker(c.journal.gcInterval)
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
		c.logFailedGC(ctx, err)
	}
}

// collect deletes the candidates of the last time that are still unreferenced, and returns those of the next time: the
// subjects of the others that are unreferenced.
func (c *Consumer) collect(ctx context.Context, before map[string]bool) (map[string]bool, error) {
	exclusive := c.session.store.Exclusive
	candidates, err := c.unreferenced(ctx, store.Headers, exclusive)
	if err != nil {
		return nil, err
	}
	toDelete := maps.Clone(candidates)
	maps.DeleteFunc(toDelete, func(subject string, _ bool) bool { return !before[subject] })
	if len(toDelete) > 0 && !exclusive { // both times a replica may have lacked a message
		confirmed, err := c.unreferenced(ctx, c.session.store.Headers, true)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(toDelete, func(subject string, _ bool) bool { return !confirmed[subject] })
	}
	maps.DeleteFunc(candidates, func(subject string, _ bool) bool { return toDelete[subject] })
	return candidates, c.deleteObjects(ctx, toDelete)
}

func (c *Consumer) deleteObjects(ctx context.Context, subjects map[string]bool) error {
	for subject := range subjects {
		if err := c.session.objects.Purge(ctx, subject); err != nil {
			return fmt.Errorf("removing a large event: %w", err)
		}
	}
	if len(subjects) > 0 {
		c.journal.logger.Info("Removed unreferenced large events, or parts of them", "subjects", len(subjects))
	}
	return nil
}

// unreferenced returns the subjects of objects that no message refers to. Streams are read in the order in which references
// move (batches, remainders, dead letters), so a reference that moves meanwhile is seen. With strict it fails if the server
// skipped messages, as it may when one is damaged.
func (c *Consumer) unreferenced(ctx context.Context, read store.HeaderReading, strict bool) (map[string]bool, error) {
	s := c.session
	state, err := s.store.State(ctx, s.objects.Stream, jetstream.WithSubjectFilter(">"))
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
	for _, stream := range []jetstream.Stream{s.batches, s.remainders, s.dead} {
		names, err := s.references(ctx, stream, read, strict)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			referenced, err := s.objects.Subjects(ctx, name)
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
func (s *session) references(ctx context.Context, stream jetstream.Stream, read store.HeaderReading, strict bool) (names []string, err error) {
	before, err := s.store.State(ctx, stream)
	if err != nil {
		return nil, err
	}
	seen := uint64(0)
	err = read(ctx, stream, func(seq uint64, header nats.Header) {
		if seq <= before.LastSeq {
			seen++
		}
		if name := header.Get(headerObject); name != "" {
			names = append(names, name)
		}
	})
	if err != nil {
		return nil, err
	}
	after, err := s.store.State(ctx, stream)
	if err != nil {
		return nil, err
	}
	if removed := removals(after) - removals(before); strict && seen+removed < before.Msgs {
		return nil, fmt.Errorf("%w: %d of %d messages", errUnreadable, before.Msgs-seen-removed, before.Msgs)
	}
	return names, nil
}

// removals is how many messages were removed from a stream since it was created.
func removals(state jetstream.StreamState) uint64 { return state.LastSeq - state.Msgs }
