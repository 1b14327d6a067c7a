// Package repeatedlogs keeps the log of a program short whose faults repeat.
package repeatedlogs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// A warning or error that repeats is logged again after minLogPause, and then after twice as long each time, up to
	// maxLogPause: a receiver that is broken for a week must not fill a disk with the news.
	minLogPause = time.Minute
	maxLogPause = time.Hour
	// forgetLogAfter is how long a message must not occur to be new again. What is tried again is tried more often.
	forgetLogAfter = 2 * time.Minute
	// maxLogTexts bounds the messages that are remembered.
	maxLogTexts = 200
)

// repeatedLogs is a handler that leaves out warnings and errors that repeat. The lines of requests are never left out: there is
// one for each.
type repeatedLogs struct {
	next  slog.Handler
	texts *logTexts
}

// New returns a handler that passes to the next one what does not repeat.
func New(next slog.Handler, now func() time.Time) slog.Handler {
	return repeatedLogs{next, &logTexts{now: now, known: map[string]*logText{}}}
}

// Enabled reports whether a level is logged.
func (l repeatedLogs) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// Handle logs a record, unless it repeats one.
func (l repeatedLogs) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelWarn {
		return l.next.Handle(ctx, record)
	}
	text, isRequest := textOf(record)
	if isRequest {
		return l.next.Handle(ctx, record)
	}
	omitted, due := l.texts.due(text)
	if !due {
		return nil
	}
	if omitted > 0 {
		record = record.Clone()
		record.Add("repeated", omitted)
	}
	return l.next.Handle(ctx, record)
}

// WithAttrs returns a handler with attributes.
func (l repeatedLogs) WithAttrs(attributes []slog.Attr) slog.Handler {
	return repeatedLogs{l.next.WithAttrs(attributes), l.texts}
}

// WithGroup returns a handler with a group.
func (l repeatedLogs) WithGroup(name string) slog.Handler {
	return repeatedLogs{l.next.WithGroup(name), l.texts}
}

// textOf returns what a record says, and whether it is the line of a request.
func textOf(record slog.Record) (text string, isRequest bool) {
	var said strings.Builder
	said.WriteString(record.Message)
	record.Attrs(func(attribute slog.Attr) bool {
		isRequest = isRequest || attribute.Key == "outcome"
		said.WriteString("\x00" + attribute.Key + "\x00" + attribute.Value.String())
		return true
	})
	return said.String(), isRequest
}

// logTexts remembers what was logged.
type logTexts struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]*logText
}

type logText struct {
	last, next time.Time // when it occurred last, and when it is logged next
	pause      time.Duration
	omitted    int // since it was logged
}

// due reports whether a text is to be logged now, and how often it was left out.
func (l *logTexts) due(text string) (omitted int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	known := l.known[text]
	if known == nil || now.Sub(known.last) > forgetLogAfter {
		l.forget(now)
		l.known[text] = &logText{last: now, next: now.Add(minLogPause), pause: minLogPause}
		return 0, true
	}
	known.last = now
	if now.Before(known.next) {
		known.omitted++
		return 0, false
	}
	omitted, known.omitted = known.omitted, 0
	known.pause = min(2*known.pause, maxLogPause)
	known.next = now.Add(known.pause)
	return omitted, true
}

// forget makes room for a text. The lock must be held.
func (l *logTexts) forget(now time.Time) {
	for text, known := range l.known {
		if now.Sub(known.last) > forgetLogAfter {
			delete(l.known, text)
		}
	}
	if len(l.known) >= maxLogTexts {
		clear(l.known)
	}
}
