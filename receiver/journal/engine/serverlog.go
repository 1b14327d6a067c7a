package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// storeFailures are parts of the error lines with which nats-server says that it can no longer read or write what it stores.
// Such a store does not recover: it must be opened again. The server has some 270 other error lines, about clients, routes,
// accounts and more, which change nothing here. TestStoreFailures holds this table to the source of the linked server.
var storeFailures = []string{
	"ritical write error",                  // of a block, a stream, a consumer or a Raft log: nothing is written to it any more
	"will be DISABLED",                     // JetStream, because the volume is full
	"disabling JetStream",                  // because writing is not permitted
	"Received an error looking up message", // a consumer cannot read a message and stops there
	"select starting seq failed",           // the same, at its start
	"errored while updating state",         // the state of a consumer could not be written
	"Failed to flush pending data",         // a stream could not be written
	"Failed restoring partial batch write", // a stream could not be recovered completely
}

// memberFailures are those of storeFailures after which a member of a cluster is restarted. What a consumer cannot read may be a matter
// of its peers.
var memberFailures = storeFailures[:3]

// reportsFailure reports whether an error line has one of the texts. It looks at the format, not at what is put into it, which may come
// from others.
func reportsFailure(format string, failures []string) bool {
	return slices.ContainsFunc(failures, func(text string) bool { return strings.Contains(format, text) })
}

// serverLog passes the server's log lines on. Lines for information become debug lines.
type serverLog struct {
	logger   *slog.Logger
	failures []string      // texts of error lines
	failed   chan struct{} // gets a value when there was such a line, if it has none
}

// newServerLog returns a log with room for a failure.
func newServerLog(logger *slog.Logger, failures []string) serverLog {
	return serverLog{logger, failures, make(chan struct{}, 1)}
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
	if !reportsFailure(format, l.failures) {
		return
	}
	select {
	case l.failed <- struct{}{}:
	default: // already reported
	}
}
