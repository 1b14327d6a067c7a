package delivery

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// badSignaturePause is the shortest time between two changes because of bad signatures of one webhook: anybody can send them.
const badSignaturePause = time.Minute

// Webhook is the state of one webhook. A nil one ignores all that it is told.
type Webhook struct {
	name   string
	state  *State
	labels labels

	received, delivered atomic.Uint64 // events
	lost                atomic.Int64
	held                atomic.Int64 // dead letters in the buffer
	failures            [reasonCount]atomic.Uint64
	deadLetters         [deadLetterReasonCount]atomic.Uint64
	latency             latency

	lastReceived, lastDelivered, lastBadSignature, lastAttempt moment

	troubled atomic.Bool // failing or circuitOpen: a success finds out without the lock that nothing changes

	mu          sync.Mutex // guards what follows
	failure     reports.Failure
	failedAt    time.Time // zero: never
	since       time.Time // of the first failed attempt that no success followed; zero: none
	circuitOpen bool
	warning     warning
}

// moment is a time that is set without a lock. Its zero value is never.
type moment struct{ nanos atomic.Int64 }

func (m *moment) set(at time.Time) { m.nanos.Store(at.UnixNano()) }

func (m *moment) get() time.Time {
	if nanos := m.nanos.Load(); nanos != 0 {
		return time.Unix(0, nanos)
	}
	return time.Time{}
}

func newWebhook(name string, state *State) *Webhook {
	return &Webhook{name: name, state: state, labels: labelsOf(name)}
}

// Arrived says that a batch with a good signature arrived, whatever becomes of it.
func (w *Webhook) Arrived() {
	if w != nil {
		w.lastReceived.set(w.state.now())
	}
}

// Received counts events that were not stored or delivered before.
func (w *Webhook) Received(events int) {
	if w != nil {
		w.received.Add(uint64(max(events, 0)))
	}
}

// Delivered counts events that the sink accepted, and how long that took since their batch was received.
func (w *Webhook) Delivered(events int, took time.Duration) {
	if w == nil || events <= 0 {
		return
	}
	w.delivered.Add(uint64(events))
	w.lastDelivered.set(w.state.now())
	w.latency.observe(events, took)
}

// BadSignature says that a batch arrived whose signature matches no key.
func (w *Webhook) BadSignature() {
	if w == nil {
		return
	}
	now := w.state.now()
	before := w.lastBadSignature.get()
	w.lastBadSignature.set(now)
	if now.Sub(before) >= badSignaturePause {
		w.state.changes.add(w)
	}
}

// Lost counts messages of the buffer that vanished.
func (w *Webhook) Lost(messages int) {
	if w != nil && messages > 0 {
		w.lost.Add(int64(messages))
		w.state.changes.add(w)
	}
}

// deadLetter counts events that became dead letters. The count of those held is corrected when the buffer is asked.
func (w *Webhook) deadLetter(reason string, events int) {
	if i := slices.Index(deadLetterReasons, reason); i >= 0 {
		w.deadLetters[i].Add(uint64(max(events, 0)))
	}
	if w.held.Add(int64(events)) == int64(events) { // the first ones
		w.state.changes.add(w)
	}
}

// succeeded says that the sink accepted a request.
func (w *Webhook) succeeded(circuitOpen bool) {
	now := w.state.now()
	w.lastAttempt.set(now)
	if !w.troubled.Load() && !circuitOpen {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := !w.since.IsZero() || w.circuitOpen != circuitOpen
	if !w.since.IsZero() {
		w.state.log.recovered(w, now)
	}
	w.since, w.circuitOpen = time.Time{}, circuitOpen
	w.troubled.Store(circuitOpen)
	if changed {
		w.state.changes.add(w)
	}
}

// failed says that the sink did not accept a request.
func (w *Webhook) failed(reason reports.Reason, status int, circuitOpen bool) {
	now := w.state.now()
	w.lastAttempt.set(now)
	i := slices.Index(reports.Reasons, reason)
	if i < 0 {
		reason, i = reports.ReasonOther, len(reports.Reasons)-1
	}
	w.failures[i].Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.troubled.Store(true)
	changed := w.since.IsZero() || w.circuitOpen != circuitOpen || w.failure.Reason != reason
	w.failure, w.failedAt, w.circuitOpen = reports.Failure{Reason: reason, Status: status}, now, circuitOpen
	if w.since.IsZero() {
		w.since = now
	}
	w.state.log.failed(w, now)
	if changed {
		w.state.changes.add(w)
	}
}
