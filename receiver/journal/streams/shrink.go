package streams

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mandrill-operator/mandrill-operator/receiver/journal/store"
)

// shrinkInterval is how often a stream that holds more than its new limit is looked at.
const shrinkInterval = 2 * time.Second

// Shrink lowers the limits of streams that hold more than their new limit, as soon as they hold less. It returns when there are none,
// or the context ends.
func (l *Layout) Shrink(ctx context.Context, s *store.Store, logger *slog.Logger) {
	if l.KeepLimits {
		return
	}
	for waiting, first := l.configs(), true; len(waiting) > 0; first = false {
		var above []jetstream.StreamConfig
		for _, want := range waiting {
			limit, shrunk, err := l.shrink(ctx, s, want)
			switch {
			case err != nil:
				above = append(above, want) // tried again
			case shrunk && !first:
				logger.Info("Lowered the limit of a stream of the buffer", "natsStream", want.Name, "limit", want.MaxBytes)
			case !shrunk:
				above = append(above, want)
				if first {
					logger.Warn("Buffer holds more than its new limit, which applies as soon as it holds less",
						"natsStream", want.Name, "limit", limit, "newLimit", want.MaxBytes)
				}
			}
		}
		if waiting = above; len(waiting) > 0 && store.Sleep(ctx, shrinkInterval) != nil {
			return
		}
	}
}

// shrink lowers the limit of a stream if that is possible. It reports whether nothing is left to do, and the limit before.
func (l *Layout) shrink(ctx context.Context, s *store.Store, want jetstream.StreamConfig) (limit int64, done bool, err error) {
	ctx, cancel := s.WithTimeout(ctx)
	defer cancel()
	found, err := s.JetStream.Stream(ctx, want.Name)
	if err != nil {
		return 0, false, err
	}
	info := found.CachedInfo()
	limit = info.Config.MaxBytes
	if limit <= want.MaxBytes {
		return limit, true, nil
	}
	if int64(info.State.Bytes) > want.MaxBytes { //nolint:gosec // far below
		return limit, false, nil
	}
	changed := info.Config
	changed.MaxBytes = want.MaxBytes
	_, err = s.JetStream.UpdateStream(ctx, changed)
	return limit, err == nil, err
}
