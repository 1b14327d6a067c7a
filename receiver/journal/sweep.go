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
// the clocks say.
const sweepInterval = time.Hour

// sweeping sweeps until the context ends.
func (w *Work) sweeping(ctx context.Context) {
	ticker := time.NewTicker(w.journal.sweepInterval)
	defer ticker.Stop()
	var loose map[string]bool
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		found, err := w.sweep(ctx, loose)
		if loose = found; err != nil && ctx.Err() == nil {
			w.journal.logger.Warn("Could not look for large events that belong to nothing", "error", err.Error())
		}
	}
}

// sweep returns the subjects of large events that nothing refers to, after it has taken away those of before.
func (w *Work) sweep(ctx context.Context, before map[string]bool) (map[string]bool, error) {
	loose, err := w.loose(ctx, w.headers)
	if err != nil {
		return nil, err
	}
	doomed := maps.Clone(loose)
	maps.DeleteFunc(doomed, func(subject string, _ bool) bool { return !before[subject] })
	if len(doomed) > 0 && !w.journal.engine.Alone() { // a replica may have lacked something both times
		sure, err := w.loose(ctx, w.messages)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(doomed, func(subject string, _ bool) bool { return !sure[subject] })
	}
	for subject := range doomed {
		if err := w.purgeLarge(ctx, subject); err != nil {
			return nil, fmt.Errorf("removing a large event: %w", err)
		}
		delete(loose, subject)
	}
	if len(doomed) > 0 {
		w.journal.logger.Info("Removed large events, or parts of them, that belonged to nothing", "parts", len(doomed))
	}
	return loose, nil
}

// loose looks for them. What is put back or buried is first stored in a stream that is looked at later, and then removed.
func (w *Work) loose(ctx context.Context, read reader) (map[string]bool, error) {
	bounded, cancel := w.within(ctx)
	defer cancel()
	bucket := w.journal.bucket(kindLarge)
	info, err := w.objects.Info(bounded, jetstream.WithSubjectFilter("$O."+bucket+".>"))
	if err != nil {
		return nil, fmt.Errorf("asking for the state of a stream: %w", err)
	}
	loose := make(map[string]bool, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		loose[subject] = true
	}
	if len(loose) == 0 {
		return nil, nil
	}
	for _, stream := range []jetstream.Stream{w.batches, w.rest, w.dead} {
		var names []string
		err := read(ctx, stream, func(header nats.Header) {
			if name := header.Get(headerLarge); name != "" {
				names = append(names, name)
			}
		})
		if err != nil {
			return nil, err
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

// reader hands over the headers of what a stream has.
type reader func(ctx context.Context, stream jetstream.Stream, each func(nats.Header)) error

// headers reads them alone, from any replica.
func (w *Work) headers(ctx context.Context, stream jetstream.Stream, each func(nats.Header)) error {
	for next := uint64(0); ; {
		var err error
		next, err = eachHeader(ctx, stream, ">", next, func(_ uint64, header nats.Header) bool { each(header); return true })
		if err != nil || next == 0 {
			return err
		}
	}
}

// messages reads all, from who knows best.
func (w *Work) messages(ctx context.Context, stream jetstream.Stream, each func(nats.Header)) error {
	return w.scan(ctx, stream, ">", func(msg *jetstream.RawStreamMsg) error { each(msg.Header); return nil })
}
