package delivery

import (
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// Snapshot returns the state of all webhooks, in order of their names.
func (s *State) Snapshot() []reports.Webhook { return s.snapshot(s.all()) }

func (s *State) snapshot(webhooks []*Webhook) []reports.Webhook {
	waiting, now := s.waiting(), s.now()
	list := make([]reports.Webhook, len(webhooks))
	for i, w := range webhooks {
		list[i] = w.report(waiting[w.name], now)
	}
	return list
}

func (w *Webhook) report(waiting Waiting, now time.Time) reports.Webhook {
	report := reports.Webhook{
		Name: w.name, Delivers: w.state.delivers(w.name), WaitingEvents: int64(waiting.Events), WaitingBytes: waiting.Bytes, OldestWaitingAge: age(now, waiting.Oldest),
		ReceivedEvents: w.received.Load(), DeliveredEvents: w.delivered.Load(),
		LastReceivedAge: age(now, w.lastReceived.get()), LastDeliveredAge: age(now, w.lastDelivered.get()),
		DeadLetters: max(w.held.Load(), 0), LostMessages: w.lost.Load(), LastBadSignatureAge: age(now, w.lastBadSignature.get()),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	report.CircuitOpen = w.isCircuitOpen(now)
	report.FailingFor = age(now, w.since)
	if !w.failedAt.IsZero() {
		failure := w.failure
		failure.Age = *age(now, w.failedAt)
		report.Failure = &failure
	}
	return report
}

// isCircuitOpen needs the lock.
func (w *Webhook) isCircuitOpen(now time.Time) bool {
	return w.circuitOpen && now.Sub(w.lastAttempt.get()) < circuitMemory
}

// age returns the seconds since a time, nil for a zero one. A clock that was set back does not make it negative.
func age(now, at time.Time) *float64 {
	if at.IsZero() {
		return nil
	}
	seconds := max(now.Sub(at).Round(time.Millisecond).Seconds(), 0)
	return &seconds
}
