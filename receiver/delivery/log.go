package delivery

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// warningPause is the shortest time between two warnings about one webhook: a sink may fail and recover many times a minute.
	warningPause = time.Minute
	// maxWarnings bounds the warnings about all webhooks in warningPause. Thousands may have the same sink.
	maxWarnings = 100
)

// sinkLog logs when a sink starts failing and when it has recovered.
type sinkLog struct {
	logger *slog.Logger
	now    func() time.Time

	mu    sync.Mutex // guards what follows; taken after the lock of a webhook
	begun time.Time  // of the time for which warnings are counted
	count int
}

// warning is what was logged about the sink of a webhook. Its lock is that of the webhook.
type warning struct {
	logged   bool // the sink fails, and that was logged
	next     time.Time
	attempts uint64 // failed ones since the last recovery that was logged
}

// failed logs that the sink of a webhook fails, unless that was said. The webhook is locked.
func (l *sinkLog) failed(w *Webhook, now time.Time) {
	w.warning.attempts++
	if w.warning.logged || now.Before(w.warning.next) || !l.admits(now) {
		return
	}
	w.warning.logged, w.warning.next = true, now.Add(warningPause)
	l.logger.Warn("A sink started failing", "webhook", w.name, "reason", w.failure.Reason, "status", w.failure.Status,
		"failedAttempts", w.warning.attempts, "failingSeconds", now.Sub(w.since).Seconds(), "circuitOpen", w.circuitOpen)
}

// recovered logs that the sink of a webhook works again, if it was logged that it fails. The webhook is locked.
func (l *sinkLog) recovered(w *Webhook, now time.Time) {
	if !w.warning.logged {
		return
	}
	l.logger.Info("A sink recovered", "webhook", w.name, "reason", w.failure.Reason, "status", w.failure.Status,
		"failedAttempts", w.warning.attempts, "failingSeconds", now.Sub(w.since).Seconds())
	w.warning.logged, w.warning.attempts = false, 0
}

// admits counts a warning, and reports whether it may be logged.
func (l *sinkLog) admits(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.begun) >= warningPause {
		l.begun, l.count = now, 0
	}
	if l.count++; l.count == maxWarnings+1 {
		l.logger.Log(context.Background(), slog.LevelWarn, "Many sinks fail; only the first are logged for a minute", "logged", maxWarnings)
	}
	return l.count <= maxWarnings
}
