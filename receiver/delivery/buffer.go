package delivery

import (
	"context"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

const (
	// bufferInterval is how often the buffer is asked for its state, troubledInterval the same while it takes no batches, and
	// deadLetterInterval how often it is asked for how many dead letters it holds while no event becomes one here.
	bufferInterval     = 5 * time.Second
	troubledInterval   = time.Second
	deadLetterInterval = 30 * time.Second
	// askTimeout bounds one question to a buffer in the network.
	askTimeout = 5 * time.Second
)

// Buffer is asked for its state at intervals.
type Buffer interface {
	// Status returns the state of the buffer. Whether this process delivers from it is added later.
	Status(ctx context.Context) reports.Buffer
	// HeldDeadLetters counts the dead letters in the buffer, by webhook.
	HeldDeadLetters(ctx context.Context) (map[string]int64, error)
}

// Watch keeps what is known of the buffer up to date until the context ends.
func (s *State) Watch(ctx context.Context, buffer Buffer) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last count
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		s.ask(ctx, buffer, &last)
		if seen := s.buffer.Load(); seen != nil && seen.State == reports.BufferAvailable {
			timer.Reset(bufferInterval)
		} else {
			timer.Reset(troubledInterval)
		}
	}
}

// count is when dead letters were counted last, and how many events had become dead letters here before.
type count struct {
	at     time.Time
	before int64
}

func (s *State) ask(ctx context.Context, buffer Buffer, last *count) {
	bounded, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	status := buffer.Status(bounded)
	if ctx.Err() != nil { // the answer may be due to that
		return
	}
	s.SetBuffer(status)
	// A count may have included events that were added to it afterwards. The next one shows that.
	now, before := s.now(), s.deadLettered.Load()
	if recent := now.Sub(last.at) < deadLetterInterval && now.After(last.at); status.State == reports.BufferUnavailable || recent && before == last.before {
		return
	}
	held, err := buffer.HeldDeadLetters(bounded)
	if err != nil { // the next time tells
		return
	}
	*last = count{now, before}
	for name, w := range *s.webhooks.Load() {
		if before := w.held.Swap(held[name]); before <= 0 && held[name] > 0 {
			s.changes.add(w)
		}
	}
}

// SetBuffer says what the state of the buffer is, until the buffer was asked.
func (s *State) SetBuffer(status reports.Buffer) {
	status.Delivers = s.leading()
	before := s.buffer.Swap(&status)
	if before == nil || before.State != status.State || before.Delivers != status.Delivers {
		s.changes.signal()
	}
}

// Refused says that the buffer did not store a batch: it is full, or not available. It is asked again within the interval.
func (s *State) Refused(state reports.BufferState) {
	if s == nil {
		return
	}
	if seen := s.buffer.Load(); seen != nil && seen.State != state {
		changed := *seen
		changed.State = state
		s.SetBuffer(changed)
	}
}
