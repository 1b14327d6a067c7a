package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// serverLog passes the server's log lines on. Lines for information become debug lines.
type serverLog struct {
	logger      *slog.Logger
	storeFailed func() // called for errors; may be nil
}

func (l serverLog) log(level slog.Level, format string, args ...any) {
	message := strings.TrimSpace(fmt.Sprintf(format, args...))
	if level > slog.LevelDebug {
		message = redact(message)
	}
	l.logger.Log(context.Background(), level, "NATS server", "message", message)
}

func (l serverLog) Noticef(format string, args ...any) { l.log(slog.LevelDebug, format, args...) }
func (l serverLog) Warnf(format string, args ...any)   { l.log(slog.LevelWarn, format, args...) }
func (l serverLog) Fatalf(format string, args ...any)  { l.log(slog.LevelError, format, args...) }
func (l serverLog) Debugf(string, ...any)              {} // for developers of the server
func (l serverLog) Tracef(string, ...any)              {} // holds the messages

func (l serverLog) Errorf(format string, args ...any) {
	l.log(slog.LevelError, format, args...)
	if l.storeFailed != nil {
		l.storeFailed()
	}
}
