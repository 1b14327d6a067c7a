package main

import (
	"context"
	"errors"
	"log/slog"
)

// shutdownHandler lowers errors of requests that the shutdown has cancelled to debug: they are its regular end. client-go logs one when
// it is writing an Event, for example.
type shutdownHandler struct {
	slog.Handler
	running context.Context //nolint:containedctx // ends when the shutdown begins
}

// Handle implements [slog.Handler].
func (h shutdownHandler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelError && h.running.Err() != nil && isCancelled(record) {
		record.Level = slog.LevelDebug
		if !h.Enabled(ctx, record.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, record)
}

// isCancelled reports whether a record has an error that a cancelled context has caused.
func isCancelled(record slog.Record) (cancelled bool) {
	record.Attrs(func(attr slog.Attr) bool {
		err, isError := attr.Value.Any().(error)
		cancelled = isError && errors.Is(err, context.Canceled)
		return !cancelled
	})
	return cancelled
}

// WithAttrs implements [slog.Handler].
func (h shutdownHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return shutdownHandler{h.Handler.WithAttrs(attrs), h.running}
}

// WithGroup implements [slog.Handler].
func (h shutdownHandler) WithGroup(name string) slog.Handler {
	return shutdownHandler{h.Handler.WithGroup(name), h.running}
}
