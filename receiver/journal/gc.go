package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// sweepInterval is how often it is looked for large events that nothing refers to, because an Append or a process ended in
// between. What is found twice is taken away: who was about to refer to it has done so by then, on any member and whatever
// the clocks say. Who is alone does so before anything else too, when nobody is about to.
const gcInterval = 15 * time.Minute

// clearTime bounds how long batches wait for it.
const gcAtStartTimeout = 10 * time.Second

// clear takes away what an earlier process has left when it takes the room of others. Else that is done later.
func (j *Journal) gcAtStart(ctx context.Context, s *session) {
	if !s.alone {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, gcAtStartTimeout)
	defer cancel()
	w := &Consumer{session: s, journal: j}
	state, err := w.stateOf(bounded, s.objects)
	if err == nil && state.Bytes < uint64(j.limits.Objects/2) { //nolint:gosec // it is positive
		return
	}
	var loose map[string]bool
	if err == nil {
		loose, err = w.unreferenced(bounded, w.headers, true)
	}
	if err == nil {
		err = w.deleteObjects(bounded, loose)
	}
	if err != nil && ctx.Err() == nil {
		j.logger.Warn("Could not look for large events that belong to nothing", "error", err.Error())
	}
}

// sweeping sweeps until the context ends.
func (w *Consumer) runGC(ctx context.Context) {
	ticker := time.NewTicker(w.journal.sweepInterval)
	defer ticker.Stop()
	var loose map[string]bool
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		found, err := w.collect(ctx, loose)
		if loose = found; err != nil && ctx.Err() == nil {
			w.journal.logger.Warn("Could not look for large events that belong to nothing", "error", err.Error())
		}
	}
}

// sweep returns the subjects of large events that nothing refers to, after it has taken away those of before.
func (w *Consumer) collect(ctx context.Context, before map[string]bool) (map[string]bool, error) {
	loose, err := w.unreferenced(ctx, w.headers, w.alone)
	if err != nil {
		return nil, err
	}
	doomed := maps.Clone(loose)
	maps.DeleteFunc(doomed, func(subject string, _ bool) bool { return !before[subject] })
	if len(doomed) > 0 && !w.alone { // a replica may have lacked something both times
		sure, err := w.unreferenced(ctx, w.messages, true)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(doomed, func(subject string, _ bool) bool { return !sure[subject] })
	}
	maps.DeleteFunc(loose, func(subject string, _ bool) bool { return doomed[subject] })
	return loose, w.deleteObjects(ctx, doomed)
}

func (w *Consumer) deleteObjects(ctx context.Context, doomed map[string]bool) error {
	for subject := range doomed {
		if err := w.purgeObject(ctx, subject); err != nil {
			return fmt.Errorf("removing a large event: %w", err)
		}
	}
	if len(doomed) > 0 {
		w.journal.logger.Info("Removed large events, or parts of them, that belonged to nothing", "parts", len(doomed))
	}
	return nil
}

// loose looks for them. What is put back or buried is first stored in a stream that is looked at later, and then removed. Who
// is to be sure gets an error when the server did not hand over all messages, as it may do when one is damaged.
func (w *Consumer) unreferenced(ctx context.Context, read reader, sure bool) (map[string]bool, error) {
	state, err := w.stateOf(ctx, w.objects, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil, err
	}
	bucket := w.journal.bucket(kindObjects)
	loose := make(map[string]bool, len(state.Subjects))
	for subject := range state.Subjects {
		loose[subject] = true
	}
	if len(loose) == 0 {
		return nil, nil
	}
	for _, stream := range []jetstream.Stream{w.batches, w.remainders, w.dead} {
		before, err := w.stateOf(ctx, stream)
		if err != nil {
			return nil, err
		}
		var names []string
		got := uint64(0)
		err = read(ctx, stream, func(seq uint64, header nats.Header) {
			if seq <= before.LastSeq {
				got++
			}
			if name := header.Get(headerLarge); name != "" {
				names = append(names, name)
			}
		})
		if err != nil {
			return nil, err
		}
		after, err := w.stateOf(ctx, stream)
		if err != nil {
			return nil, err
		}
		if removed := removals(after) - removals(before); sure && got+removed < before.Msgs {
			return nil, fmt.Errorf("%w: %d of %d messages", errUnreadable, before.Msgs-got-removed, before.Msgs)
		}
		for _, name := range names {
			object, err := w.info(ctx, name)
			if errors.Is(err, jetstream.ErrObjectNotFound) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("looking for a large event: %w", err)
			}
			delete(loose, metaOf(bucket, name))
			delete(loose, chunksOf(object))
		}
	}
	return loose, nil
}

// removals is how many messages a stream has had that it has not any more.
func removals(state jetstream.StreamState) uint64 { return state.LastSeq - state.Msgs }

// reader hands over the places and headers of what a stream has.
type reader func(ctx context.Context, stream jetstream.Stream, each func(uint64, nats.Header)) error

// headers reads them alone, from any replica.
func (w *Consumer) headers(ctx context.Context, stream jetstream.Stream, each func(uint64, nats.Header)) error {
	for next := uint64(0); ; {
		var err error
		next, err = scanHeaders(ctx, stream, ">", next, func(seq uint64, header nats.Header) bool { each(seq, header); return true })
		if err != nil || next == 0 {
			return err
		}
	}
}

// messages reads all, from who knows best.
func (w *Consumer) messages(ctx context.Context, stream jetstream.Stream, each func(uint64, nats.Header)) error {
	return w.scan(ctx, stream, ">", func(msg *jetstream.RawStreamMsg) error { each(msg.Sequence, msg.Header); return nil })
}
