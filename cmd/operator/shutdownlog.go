package main

import (
	"context"
	"errors"
	"log/slog"
)

// shutdownHandler lowers errors that a shutdown causes to debug: requests that it has cancelled, as client-go logs one when it is writing
// an Event, and the end of leader election.
type shutdownHandler struct {
	slog.Handler
	running context.Context //nolint:containedctx // ends when the shutdown begins
}

// Handle implements [slog.Handler].
func (h shutdownHandler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelError && h.running.Err() != nil && isOfShutdown(record) {
		record.Level = slog.LevelDebug
		if !h.Enabled(ctx, record.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, record)
}

// leaderElectionEnded is the error that controller-runtime logs when the leader stops. It has no name.
const leaderElectionEnded = "leader election lost"

// isOfShutdown reports whether a record has an error that a shutdown causes.
func isOfShutdown(record slog.Record) (found bool) {
	record.Attrs(func(attr slog.Attr) bool {
		err, isError := attr.Value.Any().(error)
		found = isError && (errors.Is(err, context.Canceled) || err.Error() == leaderElectionEnded)
		return !found
	})
	return found
}

// WithAttrs implements [slog.Handler].
func (h shutdownHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return shutdownHandler{h.Handler.WithAttrs(attrs), h.running}
}

// WithGroup implements [slog.Handler].
func (h shutdownHandler) WithGroup(name string) slog.Handler {
	return shutdownHandler{h.Handler.WithGroup(name), h.running}
}
