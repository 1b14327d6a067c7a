package delivery

import (
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mandrill-operator/mandrill-operator/api/reports"
)

// circuitMemory is how long the state of a circuit is believed without an attempt. A sink to which nothing is sent is forgotten
// after that time, with its circuit (package sink).
const circuitMemory = 10 * time.Minute

// Waiting is what waits in the buffer for the sink of a webhook.
type Waiting struct {
	Events int
	Bytes  int64
	Oldest time.Time // when the oldest batch was received, or redriven
}

// Backlog knows what waits in the buffer. The dispatcher implements it.
type Backlog interface {
	// Waiting calls yield for each webhook with a backlog. It yields none that another process delivers.
	Waiting(yield func(webhook string, waiting Waiting))
	// Leading reports whether this process delivers what is in the buffer, or some of it. Delivers reports whether it delivers a webhook, and
	// knows all that waits of it.
	Leading() bool
	Delivers(webhook string) bool
}

// Options configures a [State].
type Options struct {
	Logger *slog.Logger     // default: slog.Default()
	Now    func() time.Time // default time.Now
}

// State is the state of delivery of all webhooks that have a route. Its methods are safe for concurrent use.
type State struct {
	now      func() time.Time
	log      *sinkLog
	changes  changes
	webhooks atomic.Pointer[map[string]*Webhook] // replaced, never changed
	buffer   atomic.Pointer[reports.Buffer]      // nil: none, or not known yet
	backlog  atomic.Pointer[Backlog]

	deadLettered        atomic.Int64  // events of webhooks with a route that became dead letters
	deletedDeadLettered atomic.Uint64 // the same of webhooks without one

	mu sync.Mutex // held while webhooks is replaced
}

// New returns a state without webhooks.
func New(options Options) *State {
	s := &State{now: options.Now, changes: newChanges()}
	if s.now == nil {
		s.now = time.Now
	}
	logger := options.Logger
	if logger == nil {
		logger = slog.Default()
	}
	s.log = &sinkLog{logger: logger, now: s.now}
	s.webhooks.Store(&map[string]*Webhook{})
	return s
}

// SetBacklog says who knows what waits in the buffer.
func (s *State) SetBacklog(backlog Backlog) { s.backlog.Store(&backlog) }

// SetWebhooks replaces the webhooks that have a route. Those that stay keep their state, the others are forgotten. New ones count as
// changed: somebody may wait for a receiver that has them.
func (s *State) SetWebhooks(names iter.Seq[string]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, after := *s.webhooks.Load(), map[string]*Webhook{}
	for name := range names {
		if w := before[name]; w != nil {
			after[name] = w
		} else if after[name] == nil {
			after[name] = newWebhook(name, s)
			s.changes.add(after[name])
		}
	}
	s.webhooks.Store(&after)
	s.changes.keepOnly(after)
}

// Webhook returns the state of a webhook. It is nil, which ignores all that it is told, for one that has no route.
func (s *State) Webhook(name string) *Webhook {
	if s == nil {
		return nil
	}
	return (*s.webhooks.Load())[name]
}

// all returns the webhooks in order of their names.
func (s *State) all() []*Webhook {
	webhooks := *s.webhooks.Load()
	list := make([]*Webhook, 0, len(webhooks))
	for _, name := range slices.Sorted(maps.Keys(webhooks)) {
		list = append(list, webhooks[name])
	}
	return list
}

// Attempted implements the observer of package sink.
func (s *State) Attempted(webhook string, reason reports.Reason, status int, circuitOpen bool) {
	w := s.Webhook(webhook)
	switch {
	case w == nil:
	case reason == "":
		w.succeeded(circuitOpen)
	default:
		w.failed(reason, status, circuitOpen)
	}
}

// DeadLettered counts events that became dead letters in the buffer, for one of the reasons of package journal.
func (s *State) DeadLettered(webhook, reason string, events int) {
	if s == nil {
		return
	}
	if w := s.Webhook(webhook); w != nil {
		w.deadLetter(reason, events)
		s.deadLettered.Add(int64(events))
		return
	}
	s.deletedDeadLettered.Add(uint64(max(events, 0)))
}

// waiting returns what waits, by webhook.
func (s *State) waiting() map[string]Waiting {
	backlog := s.backlog.Load()
	if backlog == nil {
		return nil
	}
	found := map[string]Waiting{}
	(*backlog).Waiting(func(webhook string, waiting Waiting) {
		if waiting.Events > 0 {
			found[webhook] = waiting
		}
	})
	return found
}

// Buffer returns the state of the buffer as it was seen last, nil without one.
func (s *State) Buffer() *reports.Buffer {
	seen := s.buffer.Load()
	if seen == nil {
		return nil
	}
	buffer := *seen
	buffer.Delivers = s.leading()
	return &buffer
}

// leading reports whether this process delivers from the buffer.
func (s *State) leading() bool {
	backlog := s.backlog.Load()
	return backlog != nil && (*backlog).Leading()
}

// delivers reports whether this process delivers a webhook from the buffer.
func (s *State) delivers(webhook string) bool {
	backlog := s.backlog.Load()
	return backlog != nil && (*backlog).Delivers(webhook)
}
